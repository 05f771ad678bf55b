"""The generic SunSpec products on simulated devices: every point and every write, through real sockets."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from drivers.catalog.loader import load_product
from drivers.catalog.product import Product
from drivers.modbus.setting import Setting
from drivers.simulator.sunspec import Device, Map, Model, serve
from drivers.sunspec.connect import Resolved, connect
from drivers.sunspec.reference import check
from tests.drivers.sunspec.reader import Wire, drive, values

COMMON = Model(1, {"Mn": "Acme", "Md": "X-9", "Vr": "1.0", "SN": "007"})
PRODUCTS = ("battery", "inverter", "meter", "storage", "storage_704")
INVERTER = {
    "W": -5000,
    "W_SF": 1,
    "VAr": 12,
    "VAr_SF": 2,
    "Hz": 4998,
    "Hz_SF": -2,
    "WH": 123_456,
    "WH_SF": 1,
    "A": 720,
    "A_SF": -1,
    "PhVphA": 2301,
    "V_SF": -1,
    "St": 4,
    "Evt1": 0,
    "TmpCab": 31,
    "Tmp_SF": 0,
}


def product(name: str) -> Product:
    """Return a generic product."""
    return load_product(f"sunspec/{name}", "import_positive" if name == "meter" else "")


@contextmanager
def on(name: str, *models: Model) -> Iterator[tuple[Device, Wire, Resolved]]:
    """Connect a product to a device of these models."""
    device = Device(Map([COMMON, *models]))
    with serve(device) as port, Wire(port) as wire:
        yield device, wire, drive(connect(product(name), 1), wire)


def shown(name: str, *models: Model) -> dict[str, float]:
    """Return the values of the points that the device has."""
    with on(name, *models) as (_, wire, resolved):
        read = values(resolved, 1, wire)
    return {spec.name: read[spec.name] for spec in resolved.product.points if math.isfinite(read[spec.name])}


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_reference_of_a_generic_product_is_right(name: str) -> None:
    known = product(name)
    assert not [check(reference) for spec in known.points for reference in spec.sunspec if check(reference)]
    assert not [
        check(text.sunspec, is_text=True) for text in known.texts if check(text.sunspec, is_text=True)
    ]
    rows = (*known.write.rows, *known.write.release) if known.write else ()
    assert not [r for row in rows for r in row.register.sunspec if check(r, is_written=True)]


@pytest.mark.parametrize("model", [101, 102, 103])
def test_an_inverter_with_integers(model: int) -> None:
    assert shown("inverter", Model(model, INVERTER)) == pytest.approx(
        {
            "p_kw": -50,
            "q_kvar": 1.2,
            "frequency_hz": 49.98,
            "v_l1": 230.1,
            "i_a": 72,
            "cabinet_degc": 31,
            "e_export_kwh": 1234.56,
            "state": 4,
            "events": 0,
        }
    )


@pytest.mark.parametrize("model", [111, 112, 113])
def test_an_inverter_with_floats(model: int) -> None:
    given = {"W": 5000.0, "Hz": 50.5, "WH": 1e6, "St": 2, "Evt1": 1 << 7}
    assert shown("inverter", Model(model, given)) == pytest.approx(
        {"p_kw": 5, "frequency_hz": 50.5, "e_export_kwh": 1000, "state": 2, "events": 128}
    )


def test_an_inverter_of_the_700_series_has_no_state_of_the_old_count() -> None:
    given = {"W": 50, "W_SF": 2, "InvSt": 3, "TotWhInj": 2**40, "TotWh_SF": 0, "Alrm": 1}
    assert shown("inverter", Model(701, given)) == pytest.approx(
        {"p_kw": 5, "state_701": 3, "e_export_kwh": 2**40 / 1000, "events": 1}
    )


@pytest.mark.parametrize("variant, sign", [("import_positive", 1), ("export_positive", -1)])
@pytest.mark.parametrize("model", [201, 202, 203, 204])
def test_a_meter_with_either_sign(model: int, variant: str, sign: int) -> None:
    given = {"W": 777, "W_SF": 1, "TotWhImp": 5, "TotWhExp": 0, "TotWh_SF": 3, "PhVphA": 231, "V_SF": 0}
    device = Device(Map([COMMON, Model(model, given)]))
    with serve(device) as port, Wire(port) as wire:
        resolved = drive(connect(load_product("sunspec/meter", variant), 1), wire)
        read = values(resolved, 1, wire)
    assert read["p_kw"] == pytest.approx(7.77 * sign)
    assert (read["e_import_kwh"], read["v_l1"]) == (5, 231)
    assert math.isnan(read["e_export_kwh"])
    assert not resolved.trouble


def test_a_battery_bank() -> None:
    bank = {
        "State": 3,
        "SoC": 755,
        "SoC_SF": -1,
        "SoH": 99,
        "SoH_SF": 0,
        "V": 7680,
        "V_SF": -1,
        "Evt1": 0,
        "AChaMax": 120,
        "ADisChaMax": 150,
        "AMax_SF": 0,
        "CellVMax": 3401,
        "CellVMin": 3355,
        "CellV_SF": -3,
        "Hb": 17,
        "A": -25,
        "A_SF": 0,
        "LocRemCtl": 0,
    }
    strings = {"ModTmpMax": 31, "ModTmpMin": 24, "ModTmp_SF": 0, "NStr": 0}
    assert shown("battery", Model(802, bank), Model(803, strings)) == pytest.approx(
        {
            "state": 4,
            "soc": 0.755,
            "soh": 0.99,
            "dc_v": 768,
            "charge_limit_a": 120,
            "discharge_limit_a": 150,
            "cell_v_max": 3.401,
            "cell_v_min": 3.355,
            "cell_degc_max": 31,
            "cell_degc_min": 24,
            "heartbeat": 17,
            "current_a": -25,
            "local_control": 0,
            "events": 0,
        }
    )


@pytest.mark.parametrize(
    "p_kw, discharge, charge",
    [(25.0, 5000, -5000), (-12.5, -2500, 2500), (0.0, 0, 0), (50.0, 10_000, -10_000), (1 / 3, 66, -66)],
)
def test_a_setpoint_through_model_124_holds_the_power_from_both_sides(
    p_kw: float, discharge: int, charge: int
) -> None:
    storage = {"WChaMax": 500, "WChaMax_SF": 2, "InOutWRte_SF": -2, "ChaState": 50, "ChaState_SF": 0}
    with on("storage", Model(103, INVERTER), Model(124, storage)) as (device, wire, resolved):
        write = resolved.product.write
        assert write is not None
        read = values(resolved, 1, wire)
        for request in Setting(1, write.rows, read.__getitem__).requests(p_kw):
            assert wire(request) == b""
        again = values(resolved, 1, wire)
        mode = device.map.address("StorCtl_Mod", 2)
        assert [address - mode for address, _ in device.written] == [10, 7, 0]
        assert device.written[1][1] == [discharge & 0xFFFF, charge & 0xFFFF]
        assert device.written[2][1] == [3]
        assert again["discharge_ratio"] == pytest.approx(p_kw / 50, abs=1e-4)
        for request in Setting(1, write.release, read.__getitem__).requests(0.0):
            wire(request)
        assert device.written[-1] == (mode, [0])


def test_no_setpoint_goes_out_while_the_full_power_or_a_scale_factor_is_not_known() -> None:
    for missing in ("WChaMax", "WChaMax_SF", "InOutWRte_SF"):
        storage = {"WChaMax": 500, "WChaMax_SF": 2, "InOutWRte_SF": -2, missing: None}
        with on("storage", Model(103, INVERTER), Model(124, storage)) as (_, wire, resolved):
            write = resolved.product.write
            assert write is not None
            setting = Setting(1, write.rows, values(resolved, 1, wire).__getitem__)
            with pytest.raises(ValueError, match="is not known"):
                setting.requests(5.0)


@pytest.mark.parametrize("p_kw, factor, raw", [(12.3456, 0, 12_345), (-12.3456, 1, -1234), (0.0, -2, 0)])
def test_a_setpoint_through_model_704_is_one_write_behind_its_time_limit(
    p_kw: float, factor: int, raw: int
) -> None:
    models = Model(701, {"W": 1, "W_SF": 0, "InvSt": 3}), Model(704, {"WSet_SF": factor}), Model(713)
    with on("storage_704", *models) as (device, wire, resolved):
        write = resolved.product.write
        assert write is not None
        for request in Setting(1, write.rows, values(resolved, 1, wire).__getitem__).requests(p_kw):
            assert wire(request) == b""
        enable = device.map.address("WSetEna", 2)
        high, low = raw >> 16 & 0xFFFF, raw & 0xFFFF
        assert device.written == [(enable + 8, [1, 0, 30]), (enable, [1, 1, high, low, 0, 0])]
        assert values(resolved, 1, wire)["p_set_kw"] == pytest.approx(raw * 10.0**factor / 1000)


def test_nothing_is_written_to_a_device_without_the_model_for_it() -> None:
    with on("storage", Model(103, INVERTER)) as (_, _wire, resolved):
        assert resolved.product.write is None
        assert "nothing can be written: no model 124" in resolved.trouble
