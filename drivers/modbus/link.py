"""One open request per link: send it, prove the reply, leave nothing behind that could be taken for the next.

On TCP the transaction id tells replies apart, so a late one is simply dropped. On the serial line nothing in
a reply says which address it comes from. Therefore:

- between frames the line is silent for 3.5 characters, and strays are thrown away before a request is sent;
- after a timeout or a bad frame the line stays silent and is drained for the learnt longest reply time;
- a unit that still owes a reply is not asked anything whose reply would look the same (function and length)
  until it has answered something else, or FORGET_NS has passed; a refusal says nothing while a reply is owed,
  since it may be that reply.

Devices answer in order. What no master can see: a second copy of a reply that comes after the next request.
"""

import os
import time
from collections.abc import Hashable
from typing import Protocol

from drivers.modbus import frames
from drivers.modbus.exchange import Exchange
from drivers.modbus.frames import Request
from drivers.modbus.line import Endpoint, Line, LineLost
from models.errors import BadReply, NoReply, Refused
from models.units import seconds_to_ns

FORGET_NS = 10_000_000_000
"""No device and no gateway holds a reply back for longer than this."""
BABBLE_NS = 500_000_000
"""A line that is not silent for this long does not become silent by waiting."""
DEAD = 3
"""After so many failures in a row the unit is not expected to be merely late."""


class Station:
    """What the link has learnt about one unit: how long it takes to answer, and what it still owes."""

    def __init__(self, timeout_min_s: float, timeout_max_s: float, gap_s: float = 0.0) -> None:
        self._min_ns = seconds_to_ns(timeout_min_s)
        self._max_ns = seconds_to_ns(timeout_max_s)
        self.gap_ns = seconds_to_ns(gap_s)
        """Silence that it wants before a request, and before the line turns to another unit."""
        self._slow_ns = 0
        self._misses = 0
        self._owed: dict[Hashable, int] = {}
        self.timeout_ns = self._max_ns

    @property
    def drain_ns(self) -> int:
        """How long after a failed request an answer to it may still come."""
        return 0 if self._misses > DEAD else max(self.timeout_ns, 2 * self._slow_ns)

    def answered(self, took_ns: int) -> None:
        """Learn: four times the slowest answer of late is the timeout, and nothing older is on its way."""
        self._slow_ns = max(took_ns, self._slow_ns - (self._slow_ns >> 7))
        self.timeout_ns = min(max(4 * self._slow_ns, self._min_ns), self._max_ns)
        self._misses = 0
        self._owed.clear()

    def missed(self) -> None:
        """Give it more time: it may have become slower."""
        self._misses += 1
        self.timeout_ns = min(2 * self.timeout_ns, self._max_ns)

    def owe(self, exchange: Exchange, now_ns: int) -> None:
        """Remember that a reply to ``exchange`` may still come."""
        self._owed[exchange.shape] = now_ns

    def owes(self, now_ns: int) -> int:
        """Return how many replies of it may still come."""
        return sum(now_ns - since_ns < FORGET_NS for since_ns in self._owed.values())

    def ambiguous(self, exchange: Exchange, now_ns: int) -> bool:
        """Whether an owed reply could be taken for the answer to ``exchange``."""
        since_ns = self._owed.get(exchange.shape)
        return since_ns is not None and now_ns - since_ns < FORGET_NS


class Link(Protocol):
    """One TCP connection or one serial line with its units; used by one thread."""

    line: Line
    stations: dict[int | str, Station]

    def open(self) -> None:
        """Open the line; raise LineLost."""

    def close(self) -> None:
        """Close the line."""

    def ambiguous(self, exchange: Exchange, now_ns: int) -> bool:
        """Whether ``exchange`` must not be sent now because its reply could be mistaken."""

    def ask(self, exchange: Exchange) -> bytes:
        """Send ``exchange`` once and return the data of the reply that proves to answer it.

        Raises:
            NoReply, BadReply, Refused, LineLost: nothing usable came; the request is never repeated here.
        """


def link_to(endpoint: Endpoint) -> Link:
    """Return the link that speaks as the endpoint wants it, not yet open."""
    line = Line(endpoint)
    return RtuLink(line) if endpoint.serial_frames else TcpLink(line)


class Gap:
    """The silence that devices want, beyond that of the line."""

    def __init__(self) -> None:
        self._before: Station | None = None

    def ns(self, station: Station) -> int:
        """Return the silence before the next request, which goes to ``station``."""
        before, self._before = self._before, station
        if before is None or before is station:
            return station.gap_ns
        return max(before.gap_ns, station.gap_ns)


class TcpLink:
    """Modbus TCP, plain or inside TLS."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.stations: dict[int | str, Station] = {}
        self._gap = Gap()
        self._heard_ns = 0
        self._transaction = int.from_bytes(os.urandom(2), "big")
        """Begins anywhere, so that replies which a gateway mixes up between its clients differ."""
        self._buffer = bytearray()

    def open(self) -> None:
        """Connect; raise LineLost."""
        self._buffer.clear()
        self.line.open()

    def close(self) -> None:
        """Disconnect."""
        self.line.close()

    def ambiguous(self, exchange: Exchange, now_ns: int) -> bool:
        """Never: the transaction id tells replies apart."""
        return False

    def ask(self, exchange: Exchange) -> bytes:
        """See :class:`Link`; only Modbus requests travel over TCP."""
        if not isinstance(exchange, Request):
            raise TypeError(f"{type(exchange).__name__} cannot be asked over Modbus TCP")
        return self._ask(exchange)

    def _ask(self, request: Request) -> bytes:
        station = self.stations[request.unit]
        if gap_ns := self._gap.ns(station):
            time.sleep(max(0, self._heard_ns + gap_ns - time.monotonic_ns()) / 1e9)
        while self._whole_frame():
            pass  # it came before the request: it cannot be the answer
        self._transaction = self._transaction % 0xFFFF + 1
        start_ns = time.monotonic_ns()
        self.line.send(frames.tcp_frame(self._transaction, request))
        try:
            data = self._reply(request, start_ns + station.timeout_ns)
        except Refused:
            self._took(station, start_ns)
            raise
        except (NoReply, BadReply) as error:
            self._heard_ns = time.monotonic_ns()
            station.missed()
            if self._buffer and isinstance(error, NoReply):
                raise LineLost(f"{self.line.endpoint.name}: a reply broke off in the middle") from error
            raise
        self._took(station, start_ns)
        return data

    def _took(self, station: Station, start_ns: int) -> None:
        self._heard_ns = time.monotonic_ns()
        station.answered(self._heard_ns - start_ns)

    def _reply(self, request: Request, deadline_ns: int) -> bytes:
        while True:
            while frame := self._whole_frame():
                transaction, unit, _ = frames.tcp_header(frame)
                if transaction != self._transaction:
                    continue  # too late, somebody else's, or sent twice
                if unit != request.unit:
                    raise BadReply(f"unit {unit} answered, {request.unit} was asked")
                return frames.payload(request, frame[frames.MBAP_SIZE :])
            self._buffer += self.line.receive(deadline_ns)

    def _whole_frame(self) -> bytes:
        """Take the next frame off what has come; empty while it is not complete."""
        buffer = self._buffer
        if len(buffer) < frames.MBAP_SIZE:
            return b""
        try:
            _, _, size = frames.tcp_header(buffer)
        except BadReply as error:
            raise LineLost(f"{self.line.endpoint.name}: {error}") from error
        if len(buffer) < size:
            return b""
        frame = bytes(buffer[:size])
        del buffer[:size]
        return frame


class RtuLink:
    """Serial frames, on a serial line or through a serial server: Modbus RTU, DL/T 645."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.stations: dict[int | str, Station] = {}
        self._gap = Gap()
        self._byte_ns = line.endpoint.byte_ns
        self._silence_ns = line.endpoint.silence_ns
        self._free_ns = 0

    def open(self) -> None:
        """Open the port; raise LineLost."""
        self.line.open()
        self._free_ns = time.monotonic_ns() + self._silence_ns

    def close(self) -> None:
        """Close the port."""
        self.line.close()

    def ambiguous(self, exchange: Exchange, now_ns: int) -> bool:
        """See :class:`Link`."""
        return self.stations[exchange.unit].ambiguous(exchange, now_ns)

    def ask(self, exchange: Exchange) -> bytes:
        """See :class:`Link`."""
        station = self.stations[exchange.unit]
        if station.ambiguous(exchange, time.monotonic_ns()):
            raise NoReply(f"unit {exchange.unit} still owes a reply of that shape")
        self._wait_for_silence(self._gap.ns(station))
        frame = exchange.serial_frame()
        start_ns = time.monotonic_ns() + len(frame) * self._byte_ns
        self.line.send(frame)
        try:
            reply = self._receive(exchange, start_ns + exchange.largest * self._byte_ns + station.timeout_ns)
            data = exchange.serial_payload(reply)
        except (NoReply, BadReply, Refused) as error:
            if isinstance(error, Refused) and not station.owes(start_ns):
                self._took(station, start_ns)
            else:  # a refusal may be that of an older request: then the reply to this one is on its way
                self._settle(exchange, station, start_ns)
            raise
        self._took(station, start_ns + len(reply) * self._byte_ns)
        return data

    def _took(self, station: Station, start_ns: int) -> None:
        now_ns = time.monotonic_ns()
        self._free_ns = now_ns + self._silence_ns
        station.answered(max(0, now_ns - start_ns))

    def _wait_for_silence(self, gap_ns: int) -> None:
        """Wait until the line has been silent for 3.5 characters; what comes meanwhile answers nothing.

        ``gap_ns``: silence that is wanted at least.
        """
        extra_ns = max(0, gap_ns - self._silence_ns)
        limit_ns = time.monotonic_ns() + BABBLE_NS + extra_ns
        while True:
            left_ns = self._free_ns + extra_ns - time.monotonic_ns()
            if left_ns > 0:
                time.sleep(left_ns / 1e9)  # a poll would round up to whole milliseconds
            try:
                self.line.receive(0)
            except NoReply:
                return
            now_ns = time.monotonic_ns()
            self._free_ns = now_ns + self._silence_ns
            if now_ns > limit_ns:
                raise BadReply(f"{self.line.endpoint.name}: the line is never silent")

    def _receive(self, exchange: Exchange, deadline_ns: int) -> bytes:
        """Collect one complete frame; more bytes than that are no reply."""
        frame = self.line.receive(deadline_ns)
        while (missing := exchange.missing(frame)) > 0:
            if frame:
                self._wait_for_rest(missing, deadline_ns)
            try:
                frame += self.line.receive(deadline_ns)
            except NoReply:
                if frame:
                    raise BadReply(f"only {len(frame)} bytes came, at least {missing} are missing") from None
                raise
        if missing < 0:
            raise BadReply(f"{len(frame)} bytes {frame[:8].hex()}… do not answer the request")
        return frame

    def _wait_for_rest(self, missing: int, deadline_ns: int) -> None:
        """Sleep while the rest is on the wire, so that one read gets it all instead of one a byte."""
        rest_ns = min(missing * self._byte_ns, deadline_ns - time.monotonic_ns())
        if rest_ns > self._silence_ns > 0:  # a network brings it faster than its wire time
            time.sleep(rest_ns / 1e9)

    def _settle(self, exchange: Exchange, station: Station, start_ns: int) -> None:
        """Stay silent until the reply that is still owed has come, or can hardly come any more."""
        now_ns = time.monotonic_ns()
        station.owe(exchange, now_ns)
        until_ns = now_ns + station.drain_ns
        station.missed()
        late = b""
        while now_ns < until_ns:
            try:
                late = (late + self.line.receive(until_ns))[-exchange.largest :]
            except NoReply:
                break
            now_ns = time.monotonic_ns()
            if _answers(exchange, late, station.owes(now_ns) == 1):
                station.answered(now_ns - start_ns)
                break
        self._free_ns = time.monotonic_ns() + self._silence_ns


def _answers(exchange: Exchange, late: bytes, refusal: bool) -> bool:
    """Whether ``late`` ends with the reply to ``exchange``, so that nothing is owed any more.

    ``refusal``: that may be a refusal, since no older request could be meant.
    """
    for at in range(len(late)):
        if exchange.missing(late[at:]) == 0:
            try:
                exchange.serial_payload(late[at:])
            except (BadReply, NoReply):
                continue
            except Refused:
                return refusal
            return True
    return False
