"""What others ask of the cycle, and what the cycle asks of devices.

A Request comes from outside the cycle (plan, fleet, operator). A Proposal is what one service makes of the
image and the requests. A Setpoint is what is sent to a device. All three expire.
"""

from dataclasses import dataclass
from enum import IntEnum

from models.interval import Interval


class Layer(IntEnum):
    """Who goes first; a lower layer (larger number) may only tighten."""

    SAFETY = 0
    GRID = 1
    """Equipment and grid."""
    OBLIGATION = 2
    """What the site has promised: demand limit, reserve, a committed delivery."""
    MONEY = 3


class Source(IntEnum):
    """Where a request comes from; there is at most one request in force per source."""

    PLAN = 0
    FLEET = 1
    OPERATOR = 2


@dataclass(frozen=True, slots=True)
class Request:
    """A wish for the site's battery power, accepted at a door and in force until it expires."""

    source: Source
    p_kw: float
    """Wanted sum over all batteries, discharge +."""
    expires_ns: int
    """Monotonic time after which it does not count."""
    ref: int
    """Identifies the plan or command that it comes from."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one service asks for in this cycle."""

    layer: Layer
    interval: Interval
    """It may only narrow; ``everything(source)`` when the service has only a wish."""
    wish_kw: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Setpoint:
    """Power for one unit, with its time to live."""

    unit: str
    p_kw: float
    expires_ns: int
    """Monotonic time after which the driver must not send or refresh it any more."""
