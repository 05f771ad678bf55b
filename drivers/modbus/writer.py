"""The writing side of a device: what is written, when, and what must hold before.

Nothing is written before the first setpoint was offered. Every write goes out once; what was not confirmed
is repeated by the refresh alone. When the newest setpoint has expired the heartbeat stops, so that the
device's own dead-man timer acts; a device without one gets what the site has configured for the loss.
"""

import math
from collections.abc import Callable

from drivers.catalog.product import Product, Step, WriteSpec
from drivers.driver import Counters, Mail
from drivers.modbus.event import EventCode
from drivers.modbus.frames import Request
from drivers.modbus.job import NEVER_NS
from drivers.modbus.setting import Setting, ValueOf
from drivers.modbus.spec import ModbusSpec, on_loss_of
from drivers.modbus.wear import Wear
from models.errors import DoorRefused
from models.proposal import Setpoint
from models.units import seconds_to_ns

READBACK_TOLERANCE = 1e-3
"""Of the nameplate: registers that are read may be coarser than those that are written."""
RETRY_NS = 1_000_000_000
"""After a failure a new wish waits for this, unless it is for less power."""
SETTLE_NS = 1_000_000_000
"""A device may show what it was told this much later."""


class Writer:
    """Decides what to write next; used by the link thread alone, except for the mail."""

    def __init__(
        self,
        spec: ModbusSpec,
        product: Product,
        mail: Mail,
        counters: Counters,
        value_of: ValueOf,
        tell: Callable[[EventCode, str], None],
    ) -> None:
        self._mail = mail
        self.next_ns = NEVER_NS
        """When to look again, apart from a new setpoint or a new reading."""
        self._spec: WriteSpec | None = product.write
        self._nameplate = spec.nameplate
        self._counters = counters
        self._value_of = value_of
        self._tell = tell
        self._on_loss = spec.on_loss or on_loss_of(product)
        write = product.write
        self._setting = Setting(spec.unit_id, write.rows if write else (), value_of)
        self._release = Setting(spec.unit_id, write.release if write else (), value_of)
        span_kw = max(abs(spec.nameplate.p_min_kw), abs(spec.nameplate.p_max_kw)) if spec.nameplate else 0.0
        self._wear = (
            Wear(write.max_writes_per_day, write.dead_band_kw, span_kw) if write else Wear(0, 0.0, 0.0)
        )
        self._steps = product.prepare
        self._step_ns = dict.fromkeys(range(len(self._steps)), 0)
        self._told_steps: set[int] = set()
        """Steps that are being repeated; told once."""
        self._signed = write is not None and any(row.value == "p_kw" for row in write.rows)
        self._tolerance_kw = READBACK_TOLERANCE * span_kw + _coarsest(write)
        self._judged: Setpoint | None = None
        self._p_kw: float | None = None
        self._refusing = False
        self._shown: list[Request | None] = []
        """What each register was told last; None when that is not known."""
        self._due_ns: list[int] = []
        self._asked_kw: float | None = None
        self._heading: float | None = None
        """Sign of the power that may be told as soon as one more register is written; None when unknown."""
        self._direction: float | None = None
        """Sign of the power that the device was told completely; None when that is not known."""
        self._halt_ns = 0
        self._failed_kw = math.inf
        """Size of the power whose write failed: less may be tried at once, other wishes after a pause."""
        self._retry_ns = 0
        self._now_ns = 0
        self._good_ns = 0
        """Until when the last setpoint that passed the door lives."""
        self._told: list[tuple[int, float]] = []
        """When the device was told which power completely; the last one and those of the last moment."""
        self._telling = False
        """Whether it is being told another one: until that is complete nobody knows what it shows."""
        self._beat = 0
        self._beat_ns = 0
        self._active = False
        self._leaving: list[Request] = []
        self._mismatch = False

    # what the device tells

    def forget(self) -> None:
        """The device was away: what it was told before counts for nothing."""
        self._shown, self._due_ns, self._told, self._direction = [], [], [], None
        self._step_ns = dict.fromkeys(self._step_ns, 0)

    def confirmed(self, request: Request, now_ns: int) -> None:
        """The device has echoed a write."""
        self._wear.wrote(now_ns)
        if self._leaving and self._leaving[0] is request:
            self._leaving.pop(0)
            self._halt_ns = 0

    def failed(self, request: Request) -> None:
        """A write was refused or not confirmed: nobody knows what holds now, so the rest of it must wait."""
        self._halt_ns = max(self._due_ns, default=self._halt_ns)
        self._failed_kw, self._retry_ns = abs(self._asked_kw or 0.0), self._now_ns + RETRY_NS
        self._shown, self._direction, self._told = [None] * len(self._shown), None, []

    def seen(self, now_ns: int) -> None:
        """Compare what was written with what the device shows after it; once it is told again at once."""
        if self._spec is None or not self._spec.readback or not self._told or self._telling:
            return
        if self._told[0][0] > now_ns - SETTLE_NS:
            return  # it may still show what it was told before us
        shows_kw = self._value_of(self._spec.readback)
        if math.isnan(shows_kw):
            return
        told = [kw if self._signed else abs(kw) for _, kw in self._recent(now_ns)]
        differs = all(abs(shows_kw - kw) > self._tolerance_kw for kw in told)
        if differs and not self._mismatch:
            self._due_ns = [now_ns] * len(self._due_ns)
            what = f"told {told[-1]:g} kW, {self._spec.readback} shows {shows_kw:g} kW"
            self._tell(EventCode.NOT_TAKEN, what)
        elif self._mismatch and not differs:
            self._tell(EventCode.TAKEN, f"{self._spec.readback} shows {shows_kw:g} kW")
        self._mismatch = differs

    @property
    def idle(self) -> bool:
        """Whether the device has been told all that it must be told on loss."""
        return not (self._active or self._leaving)

    # what the device asks for

    def next(self, now_ns: int) -> Request | None:
        """Return what must be written now, and take it as written: only its refresh repeats it."""
        self.next_ns, self._now_ns = NEVER_NS, now_ns
        setpoint = self._mail.newest
        if setpoint is None:
            return None
        if setpoint.expires_ns <= now_ns:
            return self._lost(now_ns)
        p_kw = self._through_the_door(setpoint)
        if p_kw is None or self._spec is None:
            return self._lost(now_ns) if now_ns >= self._good_ns else None
        self._good_ns, self._leaving = setpoint.expires_ns, []
        ready, step = self._prepare(now_ns)
        if not ready:
            return step
        self.next_ns = setpoint.expires_ns
        request = self._power(p_kw, now_ns, self._spec)
        if request is None and self._p_kw is not None and now_ns >= self._halt_ns:
            return self._heartbeat(now_ns, self._spec)
        return request

    def _through_the_door(self, setpoint: Setpoint) -> float | None:
        """Check every setpoint against the nameplate; what is refused is counted and never sent."""
        if setpoint is self._judged:
            return self._p_kw
        self._judged, self._p_kw = setpoint, None
        try:
            if self._nameplate is None or self._spec is None:
                raise DoorRefused(f"{setpoint.p_kw} kW for a device that takes no setpoints")
            self._p_kw = self._nameplate.check(setpoint.p_kw)
        except DoorRefused as error:
            self._refuse(str(error))
        return self._p_kw

    def _refuse(self, what: str) -> None:
        self._counters.door_refused += 1
        if not self._refusing:
            self._refusing = True
            self._tell(EventCode.DOOR_REFUSED, what)

    def _prepare(self, now_ns: int) -> tuple[bool, Request | None]:
        """Return whether the device is ready for setpoints, and else the step to write now, if any."""
        for k, step in enumerate(self._steps):
            value = self._value_of(step.point)
            if math.isnan(value):
                return False, None  # not known yet whether it is needed
            if not _wanted(step, value):
                self._told_steps.discard(k)
                continue
            if now_ns >= self._step_ns[k]:
                self._step_ns[k] = now_ns + seconds_to_ns(step.again_s)
                if k not in self._told_steps:
                    self._told_steps.add(k)
                    self._tell(EventCode.PREPARED, f"{step.name}, because {step.point} is {value:g}")
                return False, self._setting.single(step.write, step.value)
            self.next_ns = self._step_ns[k]
            return False, None
        return True, None

    def _power(self, p_kw: float, now_ns: int, spec: WriteSpec) -> Request | None:
        """Return the next register that does not yet say what it must."""
        p_kw = self._wear.stepped(self._clamped(p_kw, spec), now_ns)
        try:
            wanted = self._setting.requests(p_kw)
            if self._setting.directed and self._turns(p_kw):
                wanted = self._setting.requests(0.0)  # no moment with the old power in the new direction
        except ValueError as error:
            self._p_kw = None
            self._refuse(str(error))
            return None
        self._refusing = False
        if p_kw != self._asked_kw:  # the way over zero is no news
            self._asked_kw = p_kw
            self._halt_ns = 0 if abs(p_kw) < self._failed_kw else self._retry_ns
        over_zero = p_kw == 0.0 or (self._setting.directed and self._turns(p_kw))
        self._heading = None if over_zero else math.copysign(1.0, p_kw)
        if now_ns < self._halt_ns:
            self.next_ns = min(self.next_ns, self._halt_ns)
            return None
        request = self._differing(wanted, now_ns, spec)
        if request is None and self._setting.directed and self._turns(p_kw):
            self._direction = 0.0
            return self._power(p_kw, now_ns, spec)
        if request is None:
            self._direction, self._telling = math.copysign(p_kw != 0.0, p_kw), False
            self._failed_kw = math.inf
            if not self._told or self._told[-1][1] != p_kw:
                self._told = [*self._recent(now_ns), (now_ns, p_kw)]
            self.next_ns = min(self.next_ns, *self._due_ns)
        return request

    def _recent(self, now_ns: int) -> list[tuple[int, float]]:
        """Return what the device may still show: the last power, and each that ended in the last moment."""
        ends = [ns for ns, _ in self._told[1:]]
        return [
            told for told, end in zip(self._told, [*ends, now_ns], strict=False) if end > now_ns - SETTLE_NS
        ]

    def _turns(self, p_kw: float) -> bool:
        return p_kw != 0.0 and (self._direction is None or self._direction * p_kw < 0.0)

    def _differing(self, wanted: tuple[Request, ...], now_ns: int, spec: WriteSpec) -> Request | None:
        if len(self._shown) != len(wanted):
            self._shown, self._due_ns = [None] * len(wanted), [now_ns] * len(wanted)
        for i, request in enumerate(wanted):
            if request != self._shown[i] or now_ns >= self._due_ns[i]:
                self._shown[i], self._due_ns[i] = request, now_ns + seconds_to_ns(spec.refresh_s)
                self._active = self._telling = True
                self._direction = self._heading
                return request
        return None

    def _clamped(self, p_kw: float, spec: WriteSpec) -> float:
        """Return no more than what the device's own points allow; what is not known allows nothing."""
        name = spec.clamp_charge if p_kw < 0.0 else spec.clamp_discharge
        if not name:
            return p_kw
        most_kw = self._value_of(name)
        return math.copysign(min(abs(p_kw), max(0.0, most_kw)), p_kw) if most_kw == most_kw else 0.0

    def _heartbeat(self, now_ns: int, spec: WriteSpec) -> Request | None:
        if spec.heartbeat is None:
            return None
        if now_ns < self._beat_ns:
            self.next_ns = min(self.next_ns, self._beat_ns)
            return None
        self._beat = (self._beat + 1) % 0x1_0000
        self._beat_ns = now_ns + seconds_to_ns(spec.refresh_s)
        self.next_ns = min(self.next_ns, self._beat_ns)
        return self._setting.single(spec.heartbeat, float(self._beat))

    def _lost(self, now_ns: int) -> Request | None:
        """Say what was configured for the loss, once; a failed write of it is repeated by the refresh."""
        if self._active:
            words = self._last_words()
            if words is None:
                self.next_ns = now_ns + RETRY_NS
                return None
            self._active, self._halt_ns = False, 0  # what failed before is no reason to wait
            self._leaving = words
            self.forget()
        if not self._leaving or now_ns < self._halt_ns:
            self.next_ns = self._halt_ns if self._leaving else NEVER_NS
            return None
        assert self._spec is not None
        self._halt_ns = now_ns + seconds_to_ns(self._spec.refresh_s)
        return self._leaving[0]

    def _last_words(self) -> list[Request] | None:
        """Return what must be told; None while a point that it depends on is not known."""
        if self._on_loss == "device":
            return []
        try:
            words = self._setting.requests(0.0) if self._on_loss == "zero" else self._release.requests(0.0)
        except ValueError as error:
            self._refuse(f"the last words cannot be told yet: {error}")
            return None
        self._tell(EventCode.RELEASED, f"the setpoint has expired: {self._on_loss}")
        return list(words)


def _wanted(step: Step, value: float) -> bool:
    return (value in step.among) != step.negate


def _coarsest(spec: WriteSpec | None) -> float:
    """Return one step of the coarsest register that holds the power."""
    rows = spec.rows if spec else ()
    steps = (abs(row.register.scale) for row in rows if row.value not in ("constant", "by_sign"))
    return 1.01 * max(steps, default=0.0)
