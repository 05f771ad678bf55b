"""Whether a device can be trusted: it answers, its counter moves, and it has done so for long enough.

A device that answers with a frozen counter is as dead as one that does not answer. Whatever was lost comes
back only after a hold; until then the unit may keep or lower its power, never raise it.
"""

from enum import IntEnum
from typing import NamedTuple

from models.units import NS_PER_S


class Trust(IntEnum):
    """How far a device may be relied on in this cycle."""

    DEAD = 0
    """Silent, stale, frozen, or something that control needs from it is missing."""
    PROVING = 1
    """Alive, but not yet for long enough: power may only go towards zero."""
    TRUSTED = 2


class Hold(NamedTuple):
    """How long a device must have been alive without a break before it is trusted."""

    first_ns: int
    after_loss_ns: int


FROZEN_NS = 3 * NS_PER_S
"""A counter that has not moved for longer counts as loss of communication."""

BATTERY_HOLD = Hold(2 * NS_PER_S, 30 * NS_PER_S)
"""BMS and PCS. First start: two beats of a 1 Hz counter, so that a start takes seconds. After a loss:
30 s, so that a line that comes and goes cannot swing the site's power."""

METER_HOLD = Hold(0, 2 * NS_PER_S)
"""Meter. None at first, so that a restart takes over without a bump. Short after a loss, because without
the meter the site may be in breach at zero power too."""


class Watch(NamedTuple):
    """What is remembered of one device from cycle to cycle."""

    beat: float
    """Last value of its counter, -1 before the first."""
    beat_ns: int
    """When the counter was last seen to change."""
    good_ns: int
    """Since when it has been alive without a break; 0 when it is not alive."""
    trust: int
    lost: int
    """1 once it has been lost after having been trusted."""


UNSEEN = Watch(-1.0, 0, 0, int(Trust.DEAD), 0)


def look(watch: Watch, present: bool, beat: float | None, hold: Hold, now_ns: int) -> Watch:
    """Return the watch after one more cycle.

    Args:
        watch: of the cycle before.
        present: every reading that control needs from the device is GOOD.
        beat: its counter, None when the device has none (then ``present`` alone decides).
        hold: how long it must be alive before it is trusted.
        now_ns: monotonic time of the cycle.
    """
    value, beat_ns = watch.beat, watch.beat_ns
    if beat is not None and beat != value:
        value, beat_ns = beat, now_ns
    if not present or (beat is not None and now_ns - beat_ns > FROZEN_NS):
        lost = int(watch.lost or watch.trust == Trust.TRUSTED)
        return Watch(value, beat_ns, 0, int(Trust.DEAD), lost)
    good_ns = watch.good_ns or now_ns
    long_enough = now_ns - good_ns >= (hold.after_loss_ns if watch.lost else hold.first_ns)
    has_moved = beat is None or beat_ns > good_ns
    trust = Trust.TRUSTED if long_enough and has_moved else Trust.PROVING
    return Watch(value, beat_ns, good_ns, int(trust), watch.lost)
