"""One request that a device wants to have asked, and whom to tell what became of it."""

from collections.abc import Callable
from dataclasses import dataclass

from drivers.modbus.exchange import Exchange
from models.errors import DriverError

NEVER_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class Job:
    """A request with its two ends."""

    request: Exchange
    answered: Callable[[bytes, int], None]
    """Called with the data of the proven reply and the monotonic time of its receipt."""
    failed: Callable[[DriverError, int], None]
    """Called with why nothing usable came, and the monotonic time."""
    slack_ns: int = 0
    """How long after it is due a read may be answered before a value of it is too old."""
    aside: bool = False
    """Whether it is asked of somebody who may not be there: silence says nothing of the device."""
