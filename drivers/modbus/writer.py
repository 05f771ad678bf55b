"""The writing side of a device: what is written, when, and what must hold before.

Nothing is written before the first setpoint was offered, nor after the newest one has expired: then the
heartbeat stops too, so that the device's own dead-man timer acts.
"""

import math
from collections.abc import Callable

from cython_ext.registers import KINDS, encode
from drivers.catalog.product import Product, Register, Step, WriteSpec
from drivers.driver import Counters, Mail, Nameplate
from drivers.modbus import frames
from drivers.modbus.event import EventCode
from drivers.modbus.frames import Request
from drivers.modbus.job import NEVER_NS
from models.errors import DoorRefused
from models.proposal import Setpoint
from models.units import seconds_to_ns


def write_request(unit_id: int, register: Register, value: float) -> Request:
    """Build the write of one value, rounded towards zero; ValueError when the register cannot hold it."""
    kind = KINDS.index(register.type)
    data = encode(value, kind, register.scale, register.low_word_first, register.byte_swap)
    write = frames.write_register if register.fn == frames.WRITE_REGISTER else frames.write_registers
    return write(unit_id, register.address, data)


class Writer:
    """Decides what to write next; used by the link thread alone, except for ``mail``."""

    def __init__(
        self,
        unit_id: int,
        product: Product,
        nameplate: Nameplate | None,
        counters: Counters,
        value_of: Callable[[str], float],
        tell: Callable[[EventCode, str], None],
    ) -> None:
        self.mail = Mail()
        self.next_ns = NEVER_NS
        """When to look again, apart from a new setpoint or a new reading."""
        self._unit_id = unit_id
        self._spec: WriteSpec | None = product.write
        self._nameplate = nameplate
        self._counters = counters
        self._value_of = value_of
        self._tell = tell
        self._steps = [(step, write_request(unit_id, step.write, step.value)) for step in product.prepare]
        self._step_ns = dict.fromkeys(range(len(self._steps)), 0)
        self._judged: Setpoint | None = None
        self._refusing = False
        self._request: Request | None = None
        self._sent: Request | None = None
        self._refresh_ns = 0
        self._beat = 0
        self._beat_ns = 0

    def forget(self) -> None:
        """The device was away: what it was told before counts for nothing."""
        self._sent = None
        self._step_ns = dict.fromkeys(self._step_ns, 0)

    def next(self, now_ns: int) -> Request | None:
        """Return what must be written now, and take it as written: only its refresh repeats it."""
        self.next_ns = NEVER_NS
        setpoint = self.mail.newest
        if setpoint is None or setpoint.expires_ns <= now_ns:
            return None
        wanted = self._through_the_door(setpoint)
        if wanted is None or self._spec is None:
            return None
        ready, step = self._prepare(now_ns)
        if not ready:
            return step
        return self._setpoint(wanted, now_ns, self._spec) or self._heartbeat(now_ns, self._spec)

    def _through_the_door(self, setpoint: Setpoint) -> Request | None:
        """Check every setpoint against the nameplate; what is refused is counted and never sent."""
        if setpoint is self._judged:
            return self._request
        self._judged, self._request = setpoint, None
        try:
            if self._nameplate is None or self._spec is None:
                raise DoorRefused(f"{setpoint.p_kw} kW for a device that takes no setpoints")
            p_kw = self._nameplate.check(setpoint.p_kw)
            self._request = write_request(self._unit_id, self._spec.p_set, p_kw)
        except (DoorRefused, ValueError) as error:
            self._counters.door_refused += 1
            if not self._refusing:
                self._tell(EventCode.DOOR_REFUSED, str(error))
        self._refusing = self._request is None
        return self._request

    def _prepare(self, now_ns: int) -> tuple[bool, Request | None]:
        """Return whether the device is ready for setpoints, and else the step to write now, if any."""
        for k, (step, request) in enumerate(self._steps):
            value = self._value_of(step.point)
            if math.isnan(value):
                return False, None  # not known yet whether it is needed
            if not _wanted(step, value):
                continue
            if now_ns >= self._step_ns[k]:
                self._step_ns[k] = now_ns + seconds_to_ns(step.again_s)
                self._tell(EventCode.PREPARED, f"{step.name}, because {step.point} is {value:g}")
                return False, request
            self.next_ns = self._step_ns[k]
            return False, None
        return True, None

    def _setpoint(self, wanted: Request, now_ns: int, spec: WriteSpec) -> Request | None:
        self.next_ns = self._refresh_ns
        if wanted == self._sent and now_ns < self._refresh_ns:
            return None
        self._sent = wanted
        self._refresh_ns = self.next_ns = now_ns + seconds_to_ns(spec.refresh_s)
        return wanted

    def _heartbeat(self, now_ns: int, spec: WriteSpec) -> Request | None:
        if spec.heartbeat is None:
            return None
        if now_ns < self._beat_ns:
            self.next_ns = min(self.next_ns, self._beat_ns)
            return None
        self._beat = (self._beat + 1) % 0x1_0000
        self._beat_ns = now_ns + seconds_to_ns(spec.refresh_s)
        self.next_ns = min(self.next_ns, self._beat_ns)
        return write_request(self._unit_id, spec.heartbeat, float(self._beat))


def _wanted(step: Step, value: float) -> bool:
    return (value in step.among) != step.negate
