"""Trust in a device as a story: what it shows each second, and what that makes of it."""

import pytest

from control.watch import BATTERY_HOLD, METER_HOLD, UNSEEN, Hold, Trust, Watch, look
from models.units import NS_PER_S

T0 = 1_000 * NS_PER_S
D, P, T = Trust.DEAD, Trust.PROVING, Trust.TRUSTED


def story(hold: Hold, seconds: list[tuple[bool, float | None]], start: Watch = UNSEEN) -> list[Trust]:
    """What a device is after each second in which it was (present, beat)."""
    out, watch = [], start
    for k, (present, beat) in enumerate(seconds):
        watch = look(watch, present, beat, hold, T0 + k * NS_PER_S)
        out.append(Trust(watch.trust))
    return out


def beating(count: int, first: int = 1) -> list[tuple[bool, float | None]]:
    return [(True, float(first + k)) for k in range(count)]


STORIES = [
    ("a counter that moves earns trust in two seconds", beating(4), [P, P, T, T]),
    ("a device without a counter earns it by answering", [(True, None)] * 4, [P, P, T, T]),
    ("a counter that never moved is not trusted, and dead after 3 s", [(True, 5.0)] * 5, [P, P, P, P, D]),
    ("silence is death at once", [*beating(3), (False, 4.0), (False, None)], [P, P, T, D, D]),
    (
        "a counter that freezes is death after 3 s",
        [*beating(3), *[(True, 3.0)] * 5],
        [P, P, T, T, T, T, D, D],
    ),
    (
        "silence before it was trusted costs no long hold",
        [*beating(2), (False, None), *beating(3, 5)],
        [P, P, D, P, P, T],
    ),
    ("a counter that wraps around moves", [(True, 65535.0), (True, 0.0), (True, 1.0)], [P, P, T]),
    ("a counter of -1 never counts as moving", [(True, -1.0)] * 2, [D, D]),
]


@pytest.mark.parametrize(("seconds", "expected"), [r[1:] for r in STORIES], ids=[r[0] for r in STORIES])
def test_story(seconds: list[tuple[bool, float | None]], expected: list[Trust]) -> None:
    assert story(BATTERY_HOLD, seconds) == expected


def test_what_was_lost_after_it_was_trusted_comes_back_after_30_s_without_a_break() -> None:
    lost = [*beating(3), (False, None)]
    assert story(BATTERY_HOLD, lost + beating(32, 10)) == [P, P, T, D] + [P] * 30 + [T, T]
    broken = [*beating(20, 10), (False, None), *beating(32, 40)]
    assert story(BATTERY_HOLD, lost + broken) == [P, P, T, D] + [P] * 20 + [D] + [P] * 30 + [T, T]


def test_a_lost_device_with_a_frozen_counter_does_not_come_back() -> None:
    told = story(BATTERY_HOLD, [*beating(3), (False, None), *[(True, 3.0)] * 40])
    assert T not in told[3:]


def test_a_meter_is_trusted_at_once_and_again_two_seconds_after_a_loss() -> None:
    assert story(METER_HOLD, [(True, None), (False, None), *[(True, None)] * 3]) == [T, D, P, P, T]


def test_the_holds_are_what_the_decision_says() -> None:
    assert Hold(2 * NS_PER_S, 30 * NS_PER_S) == BATTERY_HOLD
    assert Hold(0, 2 * NS_PER_S) == METER_HOLD
