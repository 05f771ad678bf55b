"""The loop: every period, one pure cycle between a snapshot of the image and the setpoints to the drivers.

It waits for nothing but its own deadline: readings lie in shared memory, setpoints are handed over, the
record goes into a memory-mapped ring. What the cycle decides is in ``control``.
"""

import struct
import threading
import time
import traceback
from collections.abc import Mapping

import numpy as np

from control.cycle import Inputs, Now, Outcome, run_cycle
from control.obey import Verdict
from control.record import dtype as record_dtype
from control.state import State
from drivers.driver import Driver
from edge.controller.deadline import Cadence, notify, sleep_until
from edge.events import Events
from edge.image import SharedImage
from edge.mailbox import Held
from edge.ring import Ring
from models.site import Site
from models.units import NS_PER_MS, NS_PER_S, seconds_to_ns

TIMING = [("lateness_ns", "<i8"), ("busy_ns", "<i8"), ("missed", "<i8")]
"""What the loop adds to each record of the cycle."""
PACK_TIMING = struct.Struct("<qqq").pack
MAX_FAULTS = 3
"""Cycles in a row that may end in an exception before the process gives up and is started anew."""
RING_S = 300.0


def ring_dtype(site: Site) -> np.dtype[np.void]:
    """Return the layout of one record in the ring: the cycle's own, then TIMING."""
    return np.dtype(record_dtype(site).descr + TIMING)


SAID = {
    Verdict.FOLLOWS: "it follows again",
    Verdict.DERATED: "less than told: no more is asked than it gives, and a little",
    Verdict.STOPPED: "more than told, or the opposite: only zero is asked until it has been there for 30 s",
    Verdict.LATCHED: "the third such stop in an hour: only zero is asked until the controller is restarted",
}
"""What a verdict of ``control.obey`` means."""


class Loop:
    """Runs the cycles of one site."""

    def __init__(
        self,
        site: Site,
        image: SharedImage,
        ring: Ring,
        drivers: Mapping[str, Driver],
        held: Held,
        events: Events,
    ) -> None:
        """Args: drivers by the name of the unit whose setpoint they take."""
        self._site = site
        self._image = image
        self._ring = ring
        self._drivers = drivers
        self._held = held
        self._events = events
        self._faults = 0

    def run(self, state: State, stop: threading.Event) -> bool:
        """Turn until ``stop`` is set; False when it had to give up."""
        cadence = Cadence(seconds_to_ns(self._site.cycle_s), time.monotonic_ns())
        watchdog_ns = 0
        while not stop.is_set():
            sleep_until(cadence.next_ns)
            woke_ns = time.monotonic_ns()
            outcome = self._turn(state, woke_ns)
            if outcome is None:
                if self._faults >= MAX_FAULTS:
                    return False
            else:
                state = outcome.state
                done_ns = time.monotonic_ns()
                timing = PACK_TIMING(woke_ns - cadence.next_ns, done_ns - woke_ns, cadence.missed)
                self._ring.append(outcome.record + timing)
                if done_ns > watchdog_ns:
                    notify("WATCHDOG=1")
                    watchdog_ns = done_ns + NS_PER_S
            cadence.advance(time.monotonic_ns())
        return True

    def _turn(self, state: State, now_ns: int) -> Outcome | None:
        """Run one cycle and hand over its setpoints; None when the cycle raised, which is a bug in it."""
        now = Now(now_ns, time.time_ns() // NS_PER_MS)
        try:
            inputs = Inputs(self._held.requests(now_ns))
            outcome = run_cycle(self._site, self._image.snapshot(), state, now, inputs)
        except Exception:  # noqa: BLE001 - the last line of defence: no setpoint goes out, devices fall back
            self._faults += 1
            self._events.emit("CYCLE_FAULT", "controller", traceback.format_exc(limit=4))
            return None
        for setpoint in outcome.setpoints:
            self._drivers[setpoint.unit].offer(setpoint)
        self._faults = 0
        self._tell(state, outcome.state)
        return outcome

    def _tell(self, before: State, after: State) -> None:
        """Emit an event for each battery that begins or ceases to do as it is told."""
        for battery, told_kw, was, now in zip(
            self._site.batteries, before.last_kw, before.follows, after.follows, strict=True
        ):
            if now.verdict != was.verdict:
                code = "NOT_FOLLOWING" if now.verdict else "FOLLOWING"
                figures = f"told {told_kw:.1f} kW, measured {now.p_kw:.1f} kW"
                self._events.emit(code, battery.name, f"{figures}: {SAID[now.verdict]}")
