"""How much power an alarm level leaves; shared by the limits of the BMS and the PCS."""

from models.point import AlarmLevel

FACTOR: dict[float | None, float] = {
    AlarmLevel.NONE: 1.0,
    AlarmLevel.INFO: 1.0,
    AlarmLevel.WARN: 1.0,
    AlarmLevel.DERATE: 0.5,
}
"""STOP and TRIP leave nothing, and so does a level that is not known or not in the vocabulary. A level does
not say which direction it is about, so it counts for both."""


def factor(level: float | None) -> float:
    """Return the share of power that an alarm level leaves, 0..1."""
    return FACTOR.get(level, 0.0)
