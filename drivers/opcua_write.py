"""The writing side of an OPC UA device: what is written, when, and whether the device has taken it.

Nothing is written before the first setpoint, nor after the newest one has expired: then the heartbeat stops,
and the values that hand control back to the device, if its product has any, are written once. What was
written is read back; when something else stands there it is told and written again, since somebody else may
write too.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Protocol

from asyncua.client.client import Client

from drivers.catalog.product import SetRow, WriteSpec
from drivers.driver import Counters, Nameplate
from drivers.modbus.wear import Wear
from drivers.opcua_event import EventCode, Tell
from drivers.opcua_nodes import Limits
from drivers.opcua_setting import (
    Raw,
    Target,
    ValueOf,
    beat,
    encode,
    find_targets,
    put,
    read_back,
    same,
    wanted,
)
from models.errors import BadReply, DoorRefused, Refused
from models.proposal import Setpoint
from models.units import NS_PER_S, seconds_to_ns

TICK_S = 0.02
"""A setpoint waits at most this long before it is sent."""
AGAIN_NS = NS_PER_S
"""After a refused write: so long nothing is written, whatever else is wanted."""
SETTLE_NS = NS_PER_S
"""A device may show what it was told this much later."""
TOLERANCE = 1e-3
"""Of the nameplate: a point that is read may be coarser than the value that is written."""
BEATS = 2**15
"""The heartbeat starts again here; a smaller type starts again earlier."""

Values = tuple[tuple[Target, Raw], ...]


class Box(Protocol):
    """Where the newest setpoint lies."""

    @property
    def newest(self) -> Setpoint | None:
        """The newest setpoint, None before the first."""


class Writer:
    """Writes the setpoints of one device; the driver's task alone uses it."""

    def __init__(
        self,
        spec: WriteSpec,
        nameplate: Nameplate | None,
        mail: Box,
        counters: Counters,
        tell: Tell,
        value_of: ValueOf,
    ) -> None:
        self._spec = spec
        self._nameplate = nameplate
        self._mail = mail
        self._counters = counters
        self._tell = tell
        self._value_of = value_of
        self._span_kw = max(abs(nameplate.p_min_kw), abs(nameplate.p_max_kw)) if nameplate else 0.0
        self._wear = Wear(spec.max_writes_per_day, spec.dead_band_kw, self._span_kw)
        self._directed = any(row.value == "by_sign" for row in spec.rows)
        self._targets: dict[tuple[str, ...], Target] = {}
        inherited = mail.newest
        self._held_until_ns = inherited.expires_ns if inherited else 0
        """When the last setpoint that reached the device expires; 0: it is not held by us. What lies there
        from the beginning may have been written by a process that has died."""
        self._judged: Setpoint | None = None
        self._allowed_kw: float | None = None
        self._refusing = False
        self._failing = False
        self._mismatch = False
        self._beat = 0
        self._beat_refused = False
        self._leave_ns = 0
        """The last words are not tried before."""
        self._forget()

    def _forget(self) -> None:
        """What the device was told before counts for nothing."""
        self._shown: Values = ()
        self._p_kw: float | None = None
        """What the device was told completely; None when that is not known."""
        self._told: list[tuple[int, float, Values]] = []
        """What it was told completely and when; the last one and those replaced in the last moment."""
        self._refresh_ns = self._beat_ns = self._halt_ns = self._check_ns = 0

    async def look_up(self, client: Client, uri: str, limits: Limits) -> None:
        """Find the nodes of this session; what cannot be written is told, and setpoints are refused."""
        self._forget()
        spec = self._spec
        registers = [row.register for row in (*spec.rows, *spec.release)]
        try:
            found = registers if spec.heartbeat is None else [*registers, spec.heartbeat]
            self._targets = await find_targets(client, found, uri, limits)
        except BadReply as error:
            self._targets = {}
            self._failed(str(error))

    async def run(self, client: Client) -> None:
        """Follow the setpoints until the session ends."""
        while True:
            await self.step(client)
            await asyncio.sleep(TICK_S)

    async def step(self, client: Client) -> None:
        """Write what is due now."""
        now_ns = time.monotonic_ns()
        setpoint = self._mail.newest
        if setpoint is None or not self._targets:
            return
        try:
            p_kw = self._through_the_door(setpoint, now_ns)
            if p_kw is None:
                if self._held_until_ns and now_ns >= max(self._held_until_ns, self._leave_ns):
                    self._leave_ns = now_ns + AGAIN_NS
                    await self.release(client)
            elif now_ns >= self._halt_ns:
                await self._follow(client, self._clamped(p_kw), setpoint.expires_ns)
        except (Refused, BadReply, ValueError) as error:
            self._forget()
            self._halt_ns = time.monotonic_ns() + AGAIN_NS
            self._failed(str(error))

    async def release(self, client: Client) -> None:
        """Hand control back to the device, if we hold it and its product says how."""
        if not self._held_until_ns or not self._targets:
            return
        for target, raw in self._values(self._spec.release, 0.0):
            await put(client, target, raw)
            self._counters.writes += 1
        self._held_until_ns = 0
        self._forget()
        self._succeeded()
        how = "it was handed back" if self._spec.release else "the product has no words for that"
        self._tell(EventCode.RELEASED, f"no setpoint lives: {how}")

    def _through_the_door(self, setpoint: Setpoint, now_ns: int) -> float | None:
        """Return the power of a living setpoint; what the nameplate does not allow is told and not sent."""
        if setpoint.expires_ns <= now_ns:
            return None
        if setpoint is self._judged:
            return self._allowed_kw
        self._judged, self._allowed_kw = setpoint, None
        try:
            if self._nameplate is None:
                raise DoorRefused(f"{setpoint.p_kw} kW for a device that takes no setpoints")
            self._allowed_kw = self._nameplate.check(setpoint.p_kw)
        except DoorRefused as error:
            self._counters.door_refused += 1
            if not self._refusing:
                self._tell(EventCode.DOOR_REFUSED, str(error))
        self._refusing = self._allowed_kw is None
        return self._allowed_kw

    def _clamped(self, p_kw: float) -> float:
        """Return no more than what the device's own points allow; what is not known allows nothing."""
        name = self._spec.clamp_charge if p_kw < 0.0 else self._spec.clamp_discharge
        if not name:
            return p_kw
        most_kw = self._value_of(name)
        return math.copysign(min(abs(p_kw), max(0.0, most_kw)), p_kw) if most_kw == most_kw else 0.0

    def _values(self, rows: Sequence[SetRow], p_kw: float) -> Values:
        """Return what is to be written; ValueError when a node cannot hold it or a point is not known."""
        targets = [self._targets[row.register.node] for row in rows]
        return tuple(
            (target, encode(wanted(row, p_kw, self._value_of), target))
            for target, row in zip(targets, rows, strict=True)
        )

    async def _follow(self, client: Client, p_kw: float, expires_ns: int) -> None:
        """Bring the device to ``p_kw`` and keep it there."""
        now_ns = time.monotonic_ns()
        if self._held_until_ns:
            self._held_until_ns = expires_ns
        p_kw = self._wear.stepped(p_kw, now_ns)
        values = self._values(self._spec.rows, p_kw)
        if values != self._shown or now_ns >= self._refresh_ns:
            turns = self._p_kw is None or self._p_kw * p_kw < 0.0
            if self._directed and turns and p_kw != 0.0:
                # no moment with the old power in the new direction
                zero = self._values(self._spec.rows, 0.0)
                if not await self._write(client, 0.0, zero, expires_ns):
                    return
            if not await self._write(client, p_kw, values, expires_ns):
                return
            self._shown = values
            self._refresh_ns = now_ns + seconds_to_ns(self._spec.refresh_s)
            self._succeeded()
        await self._heartbeat(client, time.monotonic_ns(), expires_ns)
        if now_ns >= self._check_ns:
            await self._check(client, now_ns)

    async def _write(self, client: Client, p_kw: float, values: Values, expires_ns: int) -> bool:
        """Write in this order, each only while the setpoint lives; False when it has expired meanwhile."""
        self._p_kw = None
        for target, raw in values:
            now_ns = time.monotonic_ns()
            if now_ns >= expires_ns:
                self._forget()
                return False
            self._held_until_ns = expires_ns
            await put(client, target, raw)
            self._counters.writes += 1
            self._wear.wrote(now_ns)
        self._p_kw = p_kw
        self._remember(p_kw, values)
        return True

    def _remember(self, p_kw: float, values: Values) -> None:
        now_ns = time.monotonic_ns()
        if not self._told:
            self._check_ns = now_ns + SETTLE_NS
        if not self._told or self._told[-1][2] != values:
            self._told = [*self._recent(now_ns), (now_ns, p_kw, values)]

    def _recent(self, now_ns: int) -> list[tuple[int, float, Values]]:
        """Return what the device may still show: the last, and each that was replaced in the last moment."""
        ends = [ns for ns, _, _ in self._told[1:]]
        pairs = zip(self._told, [*ends, now_ns], strict=False)
        return [told for told, end in pairs if end > now_ns - SETTLE_NS]

    async def _heartbeat(self, client: Client, now_ns: int, expires_ns: int) -> None:
        """Count up, or toggle, while the setpoint lives."""
        register = self._spec.heartbeat
        if register is None or not self._beat_ns <= now_ns < expires_ns:
            return
        self._beat_ns = now_ns + seconds_to_ns(self._spec.refresh_s)
        self._beat = (self._beat + 1) % BEATS
        target = self._targets[register.node]
        try:
            await put(client, target, beat(self._beat, target))
        except (Refused, BadReply) as error:  # no reason to doubt the setpoint
            self._counters.refused += 1
            if not self._beat_refused:
                self._tell(EventCode.WRITE_FAILED, f"the heartbeat: {error}")
            self._beat_refused = True
            return
        self._counters.writes += 1
        if self._beat_refused:
            self._tell(EventCode.WRITE_BACK, "the heartbeat is confirmed again")
        self._beat_refused = False

    async def _check(self, client: Client, now_ns: int) -> None:
        """Read back; what differs from all that was told lately is an event, and is written again at once."""
        self._check_ns = now_ns + SETTLE_NS
        targets = [target for target, _ in self._shown if target.readable]
        try:
            what = self._difference(targets, await read_back(client, targets), now_ns)
        except BadReply as error:
            what = f"it does not read back: {error}"
        if what and not self._mismatch:
            self._tell(EventCode.NOT_TAKEN, what)
        elif self._mismatch and not what:
            self._tell(EventCode.TAKEN, "what is written reads back again")
        self._mismatch = bool(what)
        if what and not self._wear.spent:
            self._refresh_ns = 0

    def _difference(self, targets: Sequence[Target], found: Sequence[object], now_ns: int) -> str:
        """Say what is not as it was told; empty when everything is."""
        recent = self._recent(now_ns)
        for target, value in zip(targets, found, strict=True):
            told = [raw for _, _, values in recent for at, raw in values if at == target]
            if not any(same(value, raw) for raw in told):
                return f"{target.name} reads {value}, written was {told[-1]}"
        name, last_kw = self._spec.readback, recent[-1][1]
        shows_kw = self._value_of(name) if name else math.nan
        near_kw = TOLERANCE * self._span_kw
        if shows_kw == shows_kw and not any(abs(shows_kw - kw) <= near_kw for _, kw, _ in recent):
            return f"{name} shows {shows_kw:g} kW, written was {last_kw:g} kW"
        return ""

    def _failed(self, what: str) -> None:
        self._counters.refused += 1
        if not self._failing:
            self._tell(EventCode.WRITE_FAILED, what)
        self._failing = True

    def _succeeded(self) -> None:
        if self._failing:
            self._tell(EventCode.WRITE_BACK, "writes are confirmed again")
        self._failing = False
