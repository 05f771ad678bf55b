"""Taking over a running plant without a jump of power.

A controller that starts (again) does not know what the last one asked for, but the PCS does: the first
setpoint goes on from what the device reports. Until the devices have answered, nothing is sent; the
device's own dead-man timer rules meanwhile.
"""

import threading
import time

from control.estimate import ready
from control.state import State, initial
from edge.image import SharedImage
from edge.ring import Ring
from models.point import Role, find
from models.site import Battery, Site

WAIT_S = 3.0
"""Longest wait for the first readings; shorter than the dead-man timers that we set (5 s)."""
LOOK_S = 0.05


def take_over(site: Site, image: SharedImage, ring: Ring, stop: threading.Event) -> State:
    """Wait for the devices that the limits need, then begin with what each PCS reports as its setpoint.

    One that does not report it begins with its measured power.

    A PCS that does not answer in time begins with 0 kW; its limits hold it there until it answers. Cycles are
    numbered on from the last one in the ring.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        snapshot = image.snapshot()
        reported = [find(snapshot, b.points, _told(b)) for b in site.batteries]
        now_ns = time.monotonic_ns()
        told = all(reading.good for reading in reported) and ready(site, snapshot, now_ns)
        if told or time.monotonic() > deadline or stop.is_set():
            break
        time.sleep(LOOK_S)
    setpoints = tuple(reading.value if reading.good else 0.0 for reading in reported)
    newest = ring.newest()
    return initial(site, setpoints, 0 if newest is None else int(newest["cycle"]) + 1)


def _told(battery: Battery) -> Role:
    return Role.P_SET_KW if Role.P_SET_KW in battery.points else Role.P_KW
