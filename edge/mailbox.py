"""The one way into the controller: requests as JSON lines over a Unix socket, each one checked here.

What is accepted is kept in memory with a monotonic expiry, so that a jump of the wall clock does not move a
request that is in force. There is at most one request per source; a newer one replaces it.
"""

import contextlib
import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from models.errors import BusyError, LinkError
from models.proposal import Request, Source
from models.units import NS_PER_MS, seconds_to_ns

MAX_BYTES = 256_000
MAX_VALID_S = 86_400.0
"""No wish outlives a day."""
REPLY_TIMEOUT_S = 2.0
MAX_STEPS = 2_000
ROUNDING_KW = 0.001
"""Powers come rounded to the watt, and so does a sum of nameplates: so much beyond it is meant as it."""
SHOWN = 80
"""Characters of a wrong value that an answer repeats."""
ACCEPT_PAUSE_S = 0.5
FIELD_SOCKET = "field.sock"
"""In the run folder, beside the one for proposals; see :mod:`edge.controller.field`."""


class Door(Protocol):
    """Checks what comes in."""

    def accept(self, message: dict[str, Any], now_ns: int, utc_ms: int) -> dict[str, Any]:
        """Return the answer to a message, or raise Refusal."""


class Refusal(Exception):
    """A request that is not accepted: ``code``, what and do."""

    def __init__(self, code: str, what: str, do: str) -> None:
        super().__init__(what)
        self.answer: dict[str, Any] = {"ok": False, "code": code, "what": what, "do": do}


@dataclass(frozen=True, slots=True)
class HeldPlan:
    """A plan in force: one power per step."""

    ref: int
    t0_ns: int
    """Monotonic start of the first step."""
    step_ns: int
    p_kw: tuple[float, ...]
    expires_ns: int

    def request(self, now_ns: int) -> Request | None:
        """Return the wish of the step that holds ``now_ns``; it expires with its step or with the plan."""
        step = (now_ns - self.t0_ns) // self.step_ns
        if not 0 <= step < len(self.p_kw) or now_ns >= self.expires_ns:
            return None
        ends_ns = min(self.t0_ns + (step + 1) * self.step_ns, self.expires_ns)
        return Request(Source.PLAN, self.p_kw[step], ends_ns, self.ref)


class Held:
    """The requests in force. The mailbox thread replaces whole values; the loop reads them."""

    def __init__(self, p_min_kw: float, p_max_kw: float) -> None:
        """Args: nameplate power of all batteries together; nothing beyond it is accepted."""
        self._range = (p_min_kw, p_max_kw)
        self._plan: HeldPlan | None = None
        self._wishes: dict[Source, Request] = {}

    def requests(self, now_ns: int) -> tuple[Request, ...]:
        """Return what is in force now, in the order of Source."""
        held = self._plan  # once: the mailbox thread may take it back meanwhile
        plan = held.request(now_ns) if held else None
        wishes = (self._wishes.get(source) for source in (Source.FLEET, Source.OPERATOR))
        return tuple(r for r in (plan, *wishes) if r is not None and now_ns < r.expires_ns)

    def accept(self, message: dict[str, Any], now_ns: int, utc_ms: int) -> dict[str, Any]:
        """Check one message and put it in force.

        Raises:
            Refusal: with its code; nothing has changed then.
        """
        kind = message.get("kind")
        if message.get("v") != 1:
            raise Refusal(
                "VERSION", f"message version {_shown(message.get('v'))} is unknown", "Send version 1."
            )
        if kind == "plan":
            return self._accept_plan(message, now_ns, utc_ms)
        if kind in ("fleet", "operator"):
            return self._accept_wish(Source[kind.upper()], message, now_ns)
        if kind == "cancel":
            return self._cancel(message)
        raise Refusal(
            "UNKNOWN_KIND", f"kind {_shown(kind)} is unknown", "Send plan, fleet, operator or cancel."
        )

    def _accept_plan(self, message: dict[str, Any], now_ns: int, utc_ms: int) -> dict[str, Any]:
        powers = message.get("p_kw")
        if not isinstance(powers, list) or not 0 < len(powers) <= MAX_STEPS:
            raise Refusal("MALFORMED", "p_kw is not a list of step powers", "Send one power per step.")
        p_kw = tuple(self._power(power) for power in powers)
        step_s = _number(message, "step_s", 1.0, 86_400.0)
        left_ms = _whole(message, "expires_utc_ms") - utc_ms
        if left_ms <= 0:
            raise Refusal("EXPIRED", "the plan has expired already", "Make a new plan; check the clock.")
        t0_ns = now_ns + (_whole(message, "t0_utc_ms") - utc_ms) * NS_PER_MS
        expires_ns = now_ns + min(left_ms * NS_PER_MS, seconds_to_ns(MAX_VALID_S))
        self._plan = HeldPlan(_whole(message, "ref"), t0_ns, seconds_to_ns(step_s), p_kw, expires_ns)
        return {"ok": True, "accepted": {"steps": len(p_kw)}}

    def _accept_wish(self, source: Source, message: dict[str, Any], now_ns: int) -> dict[str, Any]:
        p_kw = self._power(message.get("p_kw"))
        valid_s = _number(message, "valid_s", 0.0, MAX_VALID_S)
        request = Request(source, p_kw, now_ns + seconds_to_ns(valid_s), _whole(message, "ref"))
        self._wishes = {**self._wishes, source: request}
        return {"ok": True, "accepted": {"p_kw": p_kw}}

    def _cancel(self, message: dict[str, Any]) -> dict[str, Any]:
        name = str(message.get("source")).upper()
        if name not in Source.__members__:
            raise Refusal("MALFORMED", f"source {_shown(name)} is unknown", "Cancel plan, fleet or operator.")
        if Source[name] is Source.PLAN:
            self._plan = None
        self._wishes = {s: request for s, request in self._wishes.items() if s is not Source[name]}
        return {"ok": True, "accepted": {}}

    def _power(self, value: Any) -> float:
        lo, hi = self._range
        if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
            raise Refusal("RANGE", f"{_shown(value)} is not a power in kW", "Send a finite number.")
        if not lo - ROUNDING_KW <= value <= hi + ROUNDING_KW:
            what = f"{_shown(value)} kW is outside the nameplate {lo:g}…{hi:g} kW"
            raise Refusal("RANGE", what, "Ask for less.")
        return float(min(max(value, lo), hi))


def _number(message: dict[str, Any], key: str, lo: float, hi: float) -> float:
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not lo < value <= hi:
        raise Refusal("MALFORMED", f"{key} = {_shown(value)} is not within {lo}…{hi}", f"Correct {key}.")
    return float(value)


def _whole(message: dict[str, Any], key: str) -> int:
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise Refusal("MALFORMED", f"{key} = {_shown(value)} is not a whole number", f"Correct {key}.")
    return value


def _shown(value: Any) -> str:
    """Return a value as an answer repeats it, however long it is and whatever is in it."""
    return ascii(value)[:SHOWN]


class Mailbox:
    """Serves the socket in a thread of its own; one connection carries one request and its answer."""

    def __init__(self, path: Path, held: Door, on_event: Callable[[str, str, str], None]) -> None:
        """Args: path of the socket, where accepted requests go, and whom to tell of refusals."""
        self._path = path
        self._held = held
        self._on_event = on_event
        self._stopping = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def start(self) -> None:
        """Bind the socket, for this user only, and serve."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        mask = os.umask(0o177)
        try:
            self._socket.bind(str(self._path))
        except OSError as error:
            raise BusyError(f"cannot make {self._path}: {error}") from error
        finally:
            os.umask(mask)
        self._socket.listen(8)
        threading.Thread(target=self._serve, name="mailbox", daemon=True).start()

    def stop(self) -> None:
        """Close the socket; the serving thread ends."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:  # no descriptor left, or the client has gone again: the next one is served
                self._stopping.wait(ACCEPT_PAUSE_S)
                continue
            with connection:
                # one deadline in all: who dribbles must not hold the others up
                ends_s = time.monotonic() + REPLY_TIMEOUT_S
                with contextlib.suppress(OSError):
                    connection.sendall(json.dumps(self._answer(_line(connection, ends_s))).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError) as error:
            refusal = Refusal("MALFORMED", f"this is not a JSON object: {error}", "Send one object a line.")
            return refusal.answer
        try:
            return self._held.accept(message, time.monotonic_ns(), time.time_ns() // NS_PER_MS)
        except Refusal as refusal:
            self._on_event("REQUEST_REFUSED", str(message.get("kind"))[:SHOWN], refusal.answer["what"])
            return refusal.answer


def _line(connection: socket.socket, ends_s: float) -> bytes:
    """Read up to the first line end, at most MAX_BYTES; TimeoutError when it has not come by ``ends_s``."""
    data = bytearray()
    while b"\n" not in data and len(data) <= MAX_BYTES:
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("out of time")
        connection.settimeout(left_s)
        part = connection.recv(65_536)
        if not part:
            break
        data += part
    return bytes(data[: MAX_BYTES + 1].split(b"\n", 1)[0])


def ask(path: Path, message: dict[str, Any], timeout_s: float = REPLY_TIMEOUT_S) -> dict[str, Any]:
    """Send one message to the controller and return its answer.

    Raises:
        LinkError: nobody answers there.
    """
    ends_s = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(message, allow_nan=False).encode() + b"\n")
            answer = json.loads(_line(connection, ends_s))
        except (OSError, ValueError) as error:
            raise LinkError(f"the controller does not answer at {path}: {error}") from error
    if not isinstance(answer, dict):
        raise LinkError(f"the controller at {path} sent no object")
    return answer
