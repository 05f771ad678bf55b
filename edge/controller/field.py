"""What field engineers ask of a running controller: single requests on a line, its load, its frames.

Served on a socket of its own, so that a slow device keeps no proposal waiting. A request takes its turn on
the line like a read. What the controller itself writes, nobody else may write: a device has one writer.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from drivers.driver import Driver
from drivers.guest import Guest, kept_registers, line_of, slowest_s, units_of
from drivers.modbus.frames import WRITE_REGISTER, WRITE_REGISTERS, Request
from drivers.modbus.line import Line
from drivers.modbus.link import Link
from drivers.modbus.poller import LinkPoller
from drivers.talk import request_of, touched, writes
from edge.mailbox import Refusal
from models.errors import BadReply, DriverError, NoReply, Refused
from models.units import NS_PER_S

FRAMES_KEPT = 2000
TAP_NS = 5 * NS_PER_S
"""Who looks at frames must ask for them this often."""


class Tap:
    """Keeps the last frames of one line for as long as somebody looks; called in the link thread."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._kept: deque[tuple[int, str, int, bytes]] = deque(maxlen=FRAMES_KEPT)
        self._count = 0
        self._until_ns = 0

    def __call__(self, way: str, t_ns: int, data: bytes) -> None:
        """Keep what was sent or came; give way when nobody looks any more."""
        if t_ns > self._until_ns:
            self._line.tap = None
            return
        self._count += 1
        self._kept.append((self._count, way, t_ns, data))

    def after(self, number: int) -> dict[str, Any]:
        """Return what is newer: number, "tx" or "rx", monotonic ns, bytes; a negative number: from now on."""
        if self._line.tap is None:
            self._kept.clear()
        self._until_ns = time.monotonic_ns() + TAP_NS
        self._line.tap = self
        newest = self._count
        kept = tuple(self._kept) if number >= 0 else ()
        frames = [[n, way, t_ns, data.hex()] for n, way, t_ns, data in kept if n > number]
        return {"ok": True, "frames": frames, "newest": frames[-1][0] if frames else max(newest, number)}


class FieldDesk:
    """Answers the requests of the field verbs; used by one thread."""

    def __init__(
        self, site: str, drivers: Sequence[Driver], on_event: Callable[[str, str, str], None]
    ) -> None:
        self._site = site
        self._on_event = on_event
        self._lines: dict[str, tuple[LinkPoller, Link, list[Driver]]] = {}
        self._taps: dict[str, Tap] = {}
        for driver in drivers:
            if line := line_of(driver):
                name = line[1].line.endpoint.name
                self._lines.setdefault(name, (*line, []))[2].append(driver)

    def accept(self, message: dict[str, Any], now_ns: int, utc_ms: int) -> dict[str, Any]:
        """Answer one message; see :class:`edge.mailbox.Mailbox`."""
        kind = message.get("kind")
        if message.get("v") != 1:
            raise Refusal("VERSION", "this message version is unknown", "Use the same version on both sides.")
        if kind == "lines":
            return {"ok": True, "site": self._site, "lines": [self._line(name) for name in self._lines]}
        if kind == "ask":
            return self._ask(message)
        if kind == "frames":
            return self._frames(message)
        raise Refusal("UNKNOWN_KIND", "this kind of request is unknown", "Send lines, ask or frames.")

    def _named(self, message: dict[str, Any]) -> tuple[LinkPoller, Link, list[Driver]]:
        name = message.get("line")
        if not isinstance(name, str) or name not in self._lines:
            raise Refusal("NO_LINE", "no such line is served here", f"Served: {', '.join(self._lines)}.")
        return self._lines[name]

    def _line(self, name: str) -> dict[str, Any]:
        """Return load and errors of a line."""
        poller, link, drivers = self._lines[name]
        stats = poller.stats
        units = {
            str(unit): {
                "requests": seen.requests,
                "timeouts": seen.timeouts,
                "bad_replies": seen.bad_replies,
                "refused": seen.refused,
                "slowest_s": slowest_s(link, unit),
                "timeout_s": link.stations[unit].timeout_ns / NS_PER_S,
            }
            for unit, seen in tuple(stats.units.items())
        }
        return {
            "line": name,
            "open": link.line.is_open,
            "devices": [driver.name for driver in drivers],
            "busy": stats.busy(),
            "wait_s": stats.wait_s(),
            "units": units,
        }

    def _frames(self, message: dict[str, Any]) -> dict[str, Any]:
        after = message.get("after", 0)
        if not isinstance(after, int):
            raise Refusal("MALFORMED", "after is not a number", "Send the number of the last frame.")
        line = self._named(message)[1].line
        tap = self._taps.setdefault(line.endpoint.name, Tap(line))
        if line.tap not in (None, tap):
            raise Refusal("TAPPED", "somebody else takes the frames of this line", "Stop that first.")
        return tap.after(after)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        poller, link, drivers = self._named(message)
        unit, pdu = message.get("unit"), message.get("pdu")
        try:
            if not isinstance(unit, int) or not isinstance(pdu, str):
                raise ValueError("unit is no number, or pdu is no text")
            request = request_of(unit, bytes.fromhex(pdu))
        except ValueError as error:
            raise Refusal("MALFORMED", f"this is no request: {error}", "Correct unit and pdu.") from error
        if writes(request):
            self._may_write(request, drivers)
        if message.get("rehearsal"):
            return {"ok": True, "data": ""}
        try:
            data = Guest(poller, link)(request)
            answer: dict[str, Any] = {"ok": True, "data": data.hex()}
        except DriverError as error:
            kind = next((one for one in (Refused, BadReply) if isinstance(error, one)), NoReply)
            answer = {"ok": False, "code": kind.__name__, "what": str(error)}
            answer["exception"] = getattr(error, "code", 0)
        if writes(request):
            self._record(request, message, link.line.endpoint.name, answer.get("what", "confirmed"))
        return answer

    def _may_write(self, request: Request, drivers: Sequence[Driver]) -> None:
        """Refuse what the controller writes itself.

        A unit of which the site knows nothing may be the same device, which then answers on every id, or all
        of them at once (0 on a serial line).
        """
        if request.pdu[0] not in (WRITE_REGISTER, WRITE_REGISTERS):
            return
        known = request.unit in set().union(*map(units_of, drivers))
        for driver in drivers:
            kept = kept_registers(driver)
            mine = {address for unit, address in kept if unit == request.unit or not known}
            if not mine.isdisjoint(touched(request)):
                what = f"{driver.name} is told its power by the controller, and nobody else may write there"
                raise Refusal("ONE_WRITER", what, "Use `edge write DEVICE --p-kw X`, or stop the controller.")

    def _record(self, request: Request, message: dict[str, Any], line: str, outcome: str) -> None:
        who = ascii(message.get("who") or "?")[:80]
        what = f"{who} wrote unit {request.unit}: {request.pdu.hex()}; {outcome}"
        self._on_event("FIELD_WRITE", line, what)
