"""The contract between a device driver and the controller, and the door that every setpoint passes.

A driver owns one device. It polls in its own time, writes readings with their quality into its slice of the
image, and never raises towards the cycle. It sends a setpoint only while it lives, refreshes it before the
device's own dead-man timer runs out, and refuses whatever the nameplate does not allow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import DoorRefused
from models.point import Point
from models.proposal import Setpoint


class Sink(Protocol):
    """Where a driver puts readings: its own slice of the image, of which it is the one writer."""

    def put(
        self, index: NDArray[np.intp], value: NDArray[np.float64], quality: NDArray[np.uint8], t_ns: int
    ) -> None:
        """Store readings of the device's points.

        Args:
            index: (K,) positions within the device's own points.
            value: (K,) in the points' units.
            quality: (K,) of Quality.
            t_ns: monotonic time of receipt.
        """

    def count(self, counters: "Counters") -> None:
        """Publish the device's counters."""


@dataclass(slots=True)
class Counters:
    """What a driver has seen since it started."""

    polls: int = 0
    """Requests that were answered and used."""
    timeouts: int = 0
    bad_replies: int = 0
    """Replies that did not prove that they answer the open request."""
    refused: int = 0
    """Exception replies."""
    writes: int = 0
    door_refused: int = 0
    reconnects: int = 0
    online: bool = False

    @property
    def errors(self) -> int:
        """All requests that brought nothing usable."""
        return self.timeouts + self.bad_replies + self.refused


@dataclass(frozen=True, slots=True)
class Nameplate:
    """What the device may be asked for at all; the second lock on the door."""

    p_min_kw: float
    p_max_kw: float

    def check(self, p_kw: float) -> float:
        """Return ``p_kw`` unchanged, or raise DoorRefused. It never clamps: clamping is the guard's work."""
        if not math.isfinite(p_kw) or not self.p_min_kw <= p_kw <= self.p_max_kw:
            raise DoorRefused(f"{p_kw} kW is outside the nameplate {self.p_min_kw}…{self.p_max_kw} kW")
        return p_kw


@dataclass(slots=True)
class Mail:
    """One-place box for the newest setpoint; written by the cycle, read by the driver, never blocks."""

    newest: Setpoint | None = field(default=None)


class Driver(Protocol):
    """One device."""

    name: str
    points: Sequence[Point]
    counters: Counters

    def start(self) -> None:
        """Begin to poll in the driver's own time; returns at once, also when the device is not there."""

    def offer(self, setpoint: Setpoint) -> None:
        """Hand over the newest setpoint; returns at once and never raises."""

    def stop(self) -> None:
        """Stop polling and close the line; the device falls back by its own dead-man timer."""
