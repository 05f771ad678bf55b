"""Values that depend on other points: right when everything is known, BAD when anything is not."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalog.product import By, PointSpec
from drivers.modbus.derive import Readings, after, alarm_level, rules_of, run
from models.point import AlarmLevel, Quality, Role

S = 1_000_000_000


def point(name: str, max_age_s: float = 5.0, **more) -> PointSpec:
    return PointSpec(name, Role.OTHER, "", 1.0, max_age_s, fn=more.pop("fn", 3), **more)


def derived(name: str, kind: str, *of: str, **more) -> PointSpec:
    return point(name, fn=0, derivation=kind, of=of, **more)


def final_of(specs, values: dict[str, tuple[float, int]], now_ns: int, bad: frozenset[str] = frozenset()):
    """Read ``values`` (value, time) and return what they mean."""
    plain, final = Readings(specs), Readings(specs)
    read = [i for i, spec in enumerate(specs) if spec.name in values]
    for i in read:
        value, t_ns = values[specs[i].name]
        quality = np.array([Quality.BAD if specs[i].name in bad else Quality.GOOD], np.uint8)
        for readings in (plain,) if specs[i].by else (plain, final):
            readings.put(np.array([i]), np.array([value]), quality, t_ns)
    run(after(rules_of(specs), read), plain, final, now_ns)
    return {
        spec.name: (float(final.value[i]), int(final.quality[i]), int(final.t_ns[i]))
        for i, spec in enumerate(specs)
    }


SIGN = By("dir", "sign", (0,))
CASES = [
    # why, specs, readings, expected value of the point "x"
    (
        "a direction register makes the value negative",
        [point("dir"), point("x", by=(SIGN,))],
        {"dir": 0, "x": 5},
        -5,
    ),
    ("another direction leaves it positive", [point("dir"), point("x", by=(SIGN,))], {"dir": 1, "x": 5}, 5),
    (
        "ten to the power of a register",
        [point("sf"), point("x", by=(By("sf", "power_of_ten"),))],
        {"sf": -2, "x": 1234},
        12.34,
    ),
    (
        "an absurd exponent is no value",
        [point("sf"), point("x", by=(By("sf", "power_of_ten"),))],
        {"sf": 300, "x": 1},
        None,
    ),
    ("a factor from a register", [point("k"), point("x", by=(By("k", "factor"),))], {"k": 3, "x": 2}, 6),
    (
        "outside its range after that",
        [point("k"), point("x", by=(By("k", "factor"),), lo=0, hi=5)],
        {"k": 3, "x": 2},
        None,
    ),
    ("a direction that was never read", [point("dir"), point("x", by=(SIGN,))], {"x": 5}, None),
    (
        "a sum",
        [point("a"), point("b"), derived("x", "sum", "a", "b", scale=0.001)],
        {"a": 1000, "b": 500},
        1.5,
    ),
    ("a sum without one part", [point("a"), point("b"), derived("x", "sum", "a", "b")], {"a": 1000}, None),
    ("a product", [point("a"), point("b"), derived("x", "product", "a", "b")], {"a": 3, "b": -2}, -6),
    ("a ratio", [point("a"), point("b"), derived("x", "ratio", "a", "b")], {"a": 3, "b": 2}, 1.5),
    ("a ratio to zero", [point("a"), point("b"), derived("x", "ratio", "a", "b")], {"a": 3, "b": 0}, None),
    (
        "a sum of a changed value",
        [point("dir"), point("a", by=(SIGN,)), point("b"), derived("x", "sum", "a", "b")],
        {"dir": 0, "a": 5, "b": 1},
        -4,
    ),
]


@pytest.mark.parametrize(("why", "specs", "readings", "expected"), CASES, ids=[case[0] for case in CASES])
def test_what_follows_from_other_points(why, specs, readings, expected) -> None:
    values = {name: (float(value), 10 * S) for name, value in readings.items()}
    value, quality, _ = final_of(specs, values, 11 * S)["x"]
    if expected is None:
        assert math.isnan(value) and quality == Quality.BAD
    else:
        assert value == pytest.approx(expected) and quality == Quality.GOOD


def test_a_part_that_is_too_old_makes_the_whole_bad() -> None:
    specs = [point("a", max_age_s=1.0), point("b"), derived("x", "sum", "a", "b")]
    readings = {"a": (1.0, 8 * S), "b": (2.0, 10 * S)}
    assert final_of(specs, readings, 9 * S)["x"][1] == Quality.GOOD
    assert final_of(specs, readings, 10 * S)["x"][1] == Quality.BAD


def test_a_part_that_is_bad_makes_the_whole_bad() -> None:
    specs = [point("a"), point("b"), derived("x", "sum", "a", "b")]
    readings = {"a": (1.0, 10 * S), "b": (2.0, 10 * S)}
    assert final_of(specs, readings, 10 * S, frozenset({"b"}))["x"][1] == Quality.BAD


def test_a_derived_value_is_as_old_as_its_oldest_part_and_a_changed_one_as_its_own() -> None:
    specs = [
        point("sf", 60.0),
        point("a", by=(By("sf", "power_of_ten"),)),
        point("b"),
        derived("x", "sum", "a", "b"),
    ]
    found = final_of(specs, {"sf": (0.0, 9 * S), "a": (1.0, 9 * S), "b": (1.0, 10 * S)}, 11 * S)
    assert found["a"][2] == 9 * S
    assert found["x"][2] == 9 * S


MOMENTS = [
    # readings (point, value, time), what is known in the end, why
    ([("dir", 0, 1), ("x", 5, 1)], -5, "both in one read"),
    ([("x", 5, 1), ("dir", 0, 2)], None, "the direction was not known before"),
    ([("dir", 0, 1), ("x", 5, 2)], None, "the direction may have changed since"),
    ([("dir", 0, 1), ("x", 5, 2), ("dir", 0, 3)], -5, "it has not"),
    ([("dir", 0, 1), ("x", 5, 2), ("dir", 1, 3)], None, "it has: nobody knows which way it went"),
    ([("dir", 0, 1), ("x", 5, 1), ("x", 7, 2)], -5, "the last settled value stands"),
    (
        [("dir", 0, 1), ("x", 5, 1), ("x", 7, 2), ("dir", 1, 3), ("x", 8, 4), ("dir", 1, 5)],
        8,
        "settled again",
    ),
]


@pytest.mark.parametrize(("readings", "expected", "why"), MOMENTS, ids=[row[2] for row in MOMENTS])
def test_a_power_never_meets_the_direction_of_another_moment(readings, expected, why) -> None:
    specs = [point("dir"), point("x", by=(SIGN,))]
    plain, final = Readings(specs), Readings(specs)
    for t in sorted({t for _, _, t in readings}):
        now = [(0 if name == "dir" else 1, value) for name, value, at in readings if at == t]
        for i, value in now:
            for side in (plain,) if specs[i].by else (plain, final):
                side.put(np.array([i]), np.array([float(value)]), np.array([Quality.GOOD], np.uint8), t * S)
        run(after(rules_of(specs), [i for i, _ in now]), plain, final, t * S)
    assert final.quality[1] == (Quality.BAD if expected is None else Quality.GOOD)
    assert expected is None or final.value[1] == expected


def test_a_slow_factor_is_a_setting_that_must_only_not_have_changed() -> None:
    specs = [point("k"), point("x", by=(By("k", "factor"),))]
    slow = [replace(specs[0], period_s=300.0), specs[1]]
    values = {"k": (2.0, 1 * S), "x": (3.0, 2 * S)}
    assert final_of(specs, values, 2 * S)["x"][1] == Quality.BAD
    assert final_of(slow, values, 2 * S)["x"][:2] == (6.0, Quality.GOOD)


def test_only_what_depends_on_new_readings_runs() -> None:
    specs = [point("a"), point("b"), derived("x", "sum", "a", "a"), derived("y", "sum", "x", "b"), point("c")]
    rules = rules_of(specs)
    assert [rule.target for rule in after(rules, [0])] == [2, 3]
    assert [rule.target for rule in after(rules, [1])] == [3]
    assert after(rules, [4]) == ()


WORD = point("word", alarm_levels={0: AlarmLevel.INFO, 3: AlarmLevel.TRIP}, alarm_by_bit=True)
CODE = point("code", alarm_levels={0: AlarmLevel.NONE, 2: AlarmLevel.WARN})
LEVEL = point("level")
ALARMS = [
    (WORD, 0b0000, AlarmLevel.NONE, "no bit"),
    (WORD, 0b0001, AlarmLevel.INFO, "a hint"),
    (WORD, 0b1001, AlarmLevel.TRIP, "the worst of two"),
    (WORD, 0b0011, AlarmLevel.STOP, "a bit that nobody has mapped"),
    (CODE, 0, AlarmLevel.NONE, "the code for well"),
    (CODE, 2, AlarmLevel.WARN, "a code"),
    (CODE, 7, AlarmLevel.STOP, "a code that nobody has mapped"),
    (LEVEL, 4, AlarmLevel.STOP, "what is a level already"),
    (LEVEL, 9, AlarmLevel.STOP, "no level that there is"),
]


@pytest.mark.parametrize(("spec", "value", "level", "why"), ALARMS, ids=[row[3] for row in ALARMS])
def test_alarms_are_mapped_and_what_is_unknown_stops(spec, value, level, why) -> None:
    assert alarm_level(spec, float(value)) is level


def test_the_worst_of_several_alarm_words() -> None:
    specs = [WORD, CODE, derived("x", "worst", "word", "code")]
    assert final_of(specs, {"word": (1.0, S), "code": (2.0, S)}, S)["x"][0] == AlarmLevel.WARN
    assert final_of(specs, {"word": (1.0, S)}, S)["x"][1] == Quality.BAD


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=3, max_size=3),
    st.integers(0, 30),
)
def test_a_value_is_good_only_when_all_that_it_needs_is(readings: list[tuple[bool, int]], now: int) -> None:
    specs = [point("dir"), point("a", by=(SIGN,)), point("b"), derived("x", "sum", "a", "b")]
    names = ["dir", "a", "b"]
    values = {name: (1.0, t * S) for name, (_, t) in zip(names, readings, strict=True)}
    bad = frozenset(name for name, (good, _) in zip(names, readings, strict=True) if not good)
    usable = all(good and now - t <= 5 for good, t in readings) and readings[0][1] == readings[1][1]
    assert (final_of(specs, values, now * S, bad)["x"][1] == Quality.GOOD) == usable


def test_nothing_read_is_nothing_known() -> None:
    readings = Readings([point("a")])
    assert math.isnan(readings.known(0, S))
    assert not np.any(readings.quality)
