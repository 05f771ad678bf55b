"""What a product's references become on a device, and what stays BAD."""

import math
from dataclasses import replace
from typing import Any

import pytest

from drivers.catalog.product import By, LinkSpec, PointSpec, Register, SetRow, Step, TextSpec, WriteSpec
from drivers.modbus.frames import Request
from drivers.modbus.plan import plan_reads
from drivers.simulator.sunspec import Device, Map, Model
from drivers.sunspec.connect import Resolved, connect
from models.errors import BadReply, DriverError, NoReply, Refused
from tests.drivers.sunspec.reader import Memory, drive, memory, point, product, values

COMMON = Model(1, {"Mn": "Acme", "SN": "007"})
INVERTER = Model(103, {"W": -1234, "W_SF": -1, "Hz": 5001, "Hz_SF": -2, "WH": 7, "WH_SF": 3, "St": 4})


def resolve(*models: Model, points: tuple[PointSpec, ...], **more: Any) -> tuple[Resolved, Memory]:
    """Connect a product of these points to a device of these models."""
    ask = memory(COMMON, *models)
    return drive(connect(product(*points, **more), 1), ask), ask


def read(*models: Model, points: tuple[PointSpec, ...]) -> list[float]:
    """Return the values of the points on such a device."""
    resolved, ask = resolve(*models, points=points)
    shown = values(resolved, 1, ask)
    return [shown[point.name] for point in points]


def test_points_keep_their_order_and_become_ordinary_registers() -> None:
    points = point("103:Hz", period_s=0.2), point("103:W", name="p_kw", scale=-0.001), point("103:St")
    resolved, _ = resolve(INVERTER, points=points)
    hz, p_kw, state = resolved.product.points
    assert (hz.name, hz.fn, hz.address, hz.type, hz.na) == ("103_hz", 3, 40_070 + 16, "u16", (0xFFFF,))
    assert (p_kw.name, p_kw.address, p_kw.type, p_kw.na, p_kw.scale) == (
        "p_kw",
        40_084,
        "i16",
        (0x8000,),
        -0.001,
    )
    assert (state.address, state.by, state.type) == (40_070 + 38, (), "u16")
    assert [(factor.name, factor.address, factor.type, factor.na) for factor in resolved.hidden] == [
        ("sf_1_40087", 40_087, "i16", (0x8000,)),
        ("sf_1_40085", 40_085, "i16", (0x8000,)),
    ]
    assert hz.by == (By("sf_1_40087", "power_of_ten"),) and p_kw.by == (By("sf_1_40085", "power_of_ten"),)
    assert not resolved.trouble and resolved.chains[1].texts["Mn"] == "Acme"
    assert all(not spec.sunspec for spec in (*resolved.product.points, *resolved.hidden))


def test_a_scale_factor_of_several_points_is_polled_once_and_as_fast_as_the_fastest() -> None:
    points = (
        point("103:PhVphA", period_s=10.0),
        point("103:PhVphB", period_s=0.2, max_age_s=1.0),
        point("103:PhVphC"),
    )
    resolved, _ = resolve(INVERTER, points=points)
    (factor,) = resolved.hidden
    assert (factor.period_s, factor.max_age_s) == (0.2, 1.0)


@pytest.mark.parametrize(
    "given, shown",
    [
        ({}, -123.4),
        # a scale factor that the device does not have, or that cannot be one
        ({"W_SF": None}, math.nan),
        ({"W_SF": 11}, math.nan),
        ({"W_SF": -11}, math.nan),
        ({"W_SF": 10}, -1234e10),
        # a value that the device does not have
        ({"W": None}, math.nan),
    ],
)
def test_what_is_not_implemented_is_bad(given: dict[str, Any], shown: float) -> None:
    model = Model(103, {**INVERTER.values, **given})
    (value,) = read(model, points=(point("103:W"),))
    assert value == pytest.approx(shown, nan_ok=True)


def test_the_first_model_that_is_there_counts_even_when_it_has_no_value_now() -> None:
    alternatives = ("203:W", "213:W", "103:W")
    assert read(Model(213, {"W": 5.5}), INVERTER, points=(point(*alternatives),)) == [5.5]
    assert read(INVERTER, points=(point(*alternatives),)) == [pytest.approx(-123.4)]
    # which register is read never depends on a value: at night it would be another than by day
    assert read(Model(213), INVERTER, points=(point(*alternatives),)) == [
        pytest.approx(math.nan, nan_ok=True)
    ]
    # a model that is too short for the point is not one that has it
    assert read(Model(203, length=10), INVERTER, points=(point(*alternatives),)) == [pytest.approx(-123.4)]


def test_a_point_that_the_device_does_not_have_is_never_read_and_says_why() -> None:
    points = (
        point("203:W", "213:W"),
        point("103:W"),
        point("160:3:DCW"),
        point("103:W", name="w2", instance=2),
    )
    resolved, ask = resolve(INVERTER, Model(160, {"module": [{}, {}]}), points=points)
    assert [spec.fn for spec in resolved.product.points] == [0, 3, 0, 0]
    assert resolved.trouble == (
        "203_w: no model 203; no model 213",
        "160_3_dcw: the device has 2 × module, not 3",
        "w2: no model 103 number 2",
    )
    shown = values(resolved, 1, ask)
    assert [math.isfinite(shown[spec.name]) for spec in points] == [False, True, False, False]


def test_repeating_groups_are_counted_by_length_or_by_the_devices_own_points() -> None:
    curves = [{"ActPt": k, "Pt": [{"V": 10 * k + i} for i in (1, 2)]} for k in (1, 2)]
    models = (
        Model(160, {"DCW_SF": 1, "module": [{"DCW": 11}, {"DCW": 22}, {"DCW": 33}]}),
        Model(705, {"V_SF": 0, "Crv": curves}),
        Model(803, {"SoC_SF": -1, "string": [{"StrSoC": 511}, {"StrSoC": 522}]}),
    )
    references = ("160:3:DCW", "160:1:DCW", "705:2:ActPt", "705:2:1:V", "705:1:2:V", "803:2:StrSoC")
    shown = read(*models, points=tuple(point(reference) for reference in references))
    assert shown == pytest.approx([330, 110, 2, 21, 12, 52.2])


@pytest.mark.parametrize("count", [None, 3, 65_534])
def test_a_count_that_is_missing_or_contradicts_the_length_makes_the_groups_bad(count: int | None) -> None:
    strings = [{"StrSoC": 511}, {"StrSoC": 522}]
    model = Model(803, {"NStr": count, "SoC_SF": 0, "A_SF": 0, "string": strings})
    resolved, _ = resolve(model, points=(point("803:1:StrSoC"), point("803:NStr")))
    assert [spec.fn for spec in resolved.product.points] == [0, 3]
    assert "803_1_strsoc" in resolved.trouble[0]


def test_the_count_is_not_read_when_no_group_is_wanted_and_its_refusal_hurts_only_the_groups() -> None:
    model = Model(803, {"NStr": 1, "SoC_SF": 0, "string": [{"StrSoC": 5}]})
    ask = memory(COMMON, model)
    drive(connect(product(point("803:NStr")), 1), ask)
    assert (1, 40_072, 1) not in ask.asked
    ask.devices[0].refused = {40_072}
    resolved = drive(connect(product(point("803:1:StrSoC")), 1), ask)
    assert (1, 40_072, 1) in ask.asked and resolved.product.points[0].fn == 0


def test_the_second_instance_of_a_model_is_reached_by_its_number() -> None:
    meters = [Model(213, {"W": power}) for power in (1.5, 2.5)]
    points = point("213:W"), point("213:W", name="second", instance=2)
    assert read(*meters, points=points) == [1.5, 2.5]


def test_a_product_may_speak_of_several_units() -> None:
    inverter = Device(Map([COMMON, INVERTER]))
    meter = Device(Map([COMMON, Model(203, {"W": 77, "W_SF": 1})], 0), 240)
    ask = Memory([inverter, meter])
    resolved = drive(connect(product(point("103:W"), point("203:W", unit_id=240)), 1), ask)
    assert set(resolved.chains) == {1, 240}
    assert [factor.unit_id for factor in resolved.hidden] == [None, 240]
    shown = values(resolved, 1, ask)
    assert [shown["103_w"], shown["203_w"]] == pytest.approx([-123.4, 770])


def test_another_unit_that_is_silent_takes_only_its_own_points_with_it() -> None:
    both = product(point("103:W"), point("203:W", unit_id=240))
    ask = memory(COMMON, INVERTER)

    def half(request: Request) -> bytes | DriverError:
        return NoReply("silent") if request.unit == 240 else ask(request)

    resolved = drive(connect(both, 1), half)
    assert [spec.fn for spec in resolved.product.points] == [3, 0]
    assert resolved.lost == (240,) and resolved.trouble == ("203_w: unit 240 does not answer: silent",)
    assert values(resolved, 1, half)["103_w"] == pytest.approx(-123.4)


@pytest.mark.parametrize("units", [(None, 240), (240, 241)])
def test_the_devices_own_unit_or_at_least_one_must_answer(units: tuple[int | None, int]) -> None:
    points = [point("103:W", name=f"p{k}", unit_id=unit) for k, unit in enumerate(units)]
    ask = Memory([Device(Map([COMMON, INVERTER]), 240)])

    def half(request: Request) -> bytes | DriverError:
        return ask(request) if request.unit == 240 and units[0] is None else NoReply("silent")

    with pytest.raises(NoReply):
        drive(connect(product(*points), 1), half)


def test_other_points_than_references_are_left_alone() -> None:
    plain = PointSpec("plain", point("103:W").role, "", 1.0, 5.0, fn=4, address=7)
    derived = PointSpec("total", plain.role, "", 1.0, 5.0, derivation="sum", of=("plain", "plain"))
    resolved, _ = resolve(INVERTER, points=(plain, derived))
    assert resolved.product.points == (plain, derived) and not resolved.hidden


@pytest.mark.parametrize(
    "references",
    [
        ("103:W", "103:St", "120:WRtg", "124:ChaState"),
        # the last registers of a model and the first of the next
        ("103:W", "103:EvtVnd4", "120:DERTyp", "120:WRtg", "120:MaxDisChaRte", "124:WChaMax", "124:OutWRte"),
    ],
)
def test_no_read_goes_over_the_end_of_a_model(references: tuple[str, ...]) -> None:
    models = INVERTER, Model(120, {"WRtg": 5, "WRtg_SF": 0}), Model(124, {"ChaState": 50, "ChaState_SF": 0})
    points = tuple(map(point, references))
    resolved, _ = resolve(*models, points=points)
    specs, link = (*resolved.product.points, *resolved.hidden), resolved.product.link
    bounds = [(at.address + 2, at.address + 2 + at.length) for at in resolved.chains[1].models]
    for planned in plan_reads(specs, link.max_gap, link.max_registers, link.holes):
        assert any(
            first <= planned.address and planned.address + planned.count <= end for first, end in bounds
        )


@pytest.mark.parametrize("protocol, gap", [("sunspec", 125), ("modbus", 0)])
def test_a_value_and_its_scale_factor_may_lie_far_apart_in_one_read(protocol: str, gap: int) -> None:
    wanted = replace(product(point("160:4:DCW")), protocol=protocol, link=LinkSpec(max_gap=0))
    resolved = drive(connect(wanted, 1), memory(COMMON, Model(160, {"module": [{}] * 4})))
    assert resolved.product.link.max_gap == gap


def test_a_header_that_is_wanted_itself_is_no_hole() -> None:
    resolved, ask = resolve(INVERTER, points=(point("103:L"), point("103:EvtVnd4")))
    assert (3, 40_070, 40_071) not in resolved.product.link.holes
    assert values(resolved, 1, ask)["103_l"] == 50


def test_a_scale_factor_that_changes_while_the_device_runs_counts_at_the_next_poll() -> None:
    resolved, ask = resolve(INVERTER, points=(point("103:W"),))
    device = ask.devices[0]
    assert values(resolved, 1, ask)["103_w"] == pytest.approx(-123.4)
    device.map.put("W_SF", 1, model=1)
    assert values(resolved, 1, ask)["103_w"] == pytest.approx(-12_340)
    device.map.put("W_SF", None, model=1)
    assert math.isnan(values(resolved, 1, ask)["103_w"])
    # value and factor come in one read: there is no moment with the new one and the old other
    specs, link = (*resolved.product.points, *resolved.hidden), resolved.product.link
    assert len(plan_reads(specs, link.max_gap, link.max_registers, link.holes)) == 1


def test_texts_become_registers_and_those_that_are_not_there_are_left_out() -> None:
    texts = (
        TextSpec("serial", sunspec="1:SN"),
        TextSpec("string", sunspec="714:1:IDStr"),
        TextSpec("own", 3, 9, 4),
    )
    resolved, _ = resolve(INVERTER, points=(), texts=texts)
    assert resolved.product.texts == (TextSpec("serial", 3, 40_052, 16), TextSpec("own", 3, 9, 4))
    assert resolved.trouble == ("string: no model 714",)


def row(reference: str, **more: Any) -> SetRow:
    """Return a written row."""
    return SetRow(Register(sunspec=(reference,), **more), "p_kw")


def test_written_points_become_registers_with_their_scale_factor() -> None:
    rows = row("124:OutWRte", scale=0.01), row("124:StorCtl_Mod", fn=6)
    write = WriteSpec(rows, 5.0, heartbeat=Register(sunspec=("802:CtrlHb",), fn=6), release=rows[1:])
    step = Step(
        "limit", Register(sunspec=("704:WSet",), fn=6), 0.0, "124_chastate", frozenset({1.0}), False, 1.0
    )
    models = Model(124, {"InOutWRte_SF": -2}), Model(802), Model(704)
    resolved, _ = resolve(*models, points=(point("124:ChaState"),), write=write, prepare=(step,))
    plain = resolved.product.write
    assert plain is not None and plain.heartbeat is not None
    rate, mode = (written.register for written in plain.rows)
    assert (rate.fn, rate.address, rate.type, rate.scale) == (16, 40_082, "i16", 0.01)
    assert rate.power_of_ten == "sf_1_40095" and rate.power_of_ten in {spec.name for spec in resolved.hidden}
    assert (mode.fn, mode.address, mode.type, mode.power_of_ten) == (6, 40_075, "u16", "")
    assert plain.heartbeat.address == 40_096 + 19 and plain.release == (plain.rows[1],)
    (limit,) = resolved.product.prepare
    assert (limit.write.fn, limit.write.type) == (16, "i32")  # two registers cannot go with function 6


def test_nothing_is_written_when_one_of_the_registers_is_missing() -> None:
    write = WriteSpec((row("124:OutWRte"), row("704:WSet")), 5.0)
    resolved, _ = resolve(Model(124), points=(), write=write)
    assert resolved.product.write is None and resolved.product.prepare == ()
    assert resolved.trouble == ("nothing can be written: no model 704",)


@pytest.mark.parametrize(
    "wrong, what",
    [
        ({"points": (point("W"),)}, "not a SunSpec reference"),
        ({"points": (point("1:SN"),)}, "not a number"),
        ({"points": (), "texts": (TextSpec("x", sunspec="103:W"),)}, "no text"),
        ({"points": (), "write": WriteSpec((row("103:W"),), 1.0)}, "cannot be written"),
    ],
)
def test_a_product_that_is_wrong_itself_is_refused(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        resolve(INVERTER, **wrong)


@pytest.mark.parametrize("error", [NoReply("silent"), BadReply("noise"), Refused("exception 6 (busy)", 6)])
def test_a_device_that_cannot_be_walked_now_is_no_device_without_models(error: Exception) -> None:
    ask = memory(COMMON, INVERTER)
    ask.faults = {40_070: [error, error]}  # type: ignore[list-item]
    with pytest.raises(type(error)):
        drive(connect(product(point("103:W")), 1), ask)


def test_what_was_wrong_with_the_chain_is_told() -> None:
    ask = memory(COMMON, INVERTER, end=False)
    resolved = drive(connect(product(point("103:W")), 1), ask)
    assert resolved.trouble == ("unit 1: there is no model at 40122, and no end model before it",)
    assert values(resolved, 1, ask)["103_w"] == pytest.approx(-123.4)
