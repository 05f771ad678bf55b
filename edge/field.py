"""The way of a field verb to a device: through the controller that holds its line, else on its own.

A line has one master. Who holds it is asked of the controllers of this machine, by the sockets in their run
folders; a serial port is locked besides.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from drivers.modbus.frames import Request
from drivers.modbus.line import Endpoint, parse_url
from drivers.modbus.link import link_to
from drivers.talk import Ask, Direct
from edge.mailbox import FIELD_SOCKET
from edge.mailbox import ask as ask_socket
from edge.places import make_run_dir, run_dir
from models.errors import BadReply, DriverError, LinkError, NoReply, Refused, StoreError, YunchuError

SYSTEM_RUN_DIR = Path("/run/yunchu")
TIMEOUT_S = 12.0
"""A device may take seconds, and a line may have to be opened first."""
ERRORS: dict[str, type[DriverError]] = {kind.__name__: kind for kind in (NoReply, BadReply)}


class Forbidden(YunchuError):
    """The controller does not do that: code, what and do."""

    def __init__(self, code: str, what: str, do: str) -> None:
        super().__init__(what)
        self.code, self.do = code, do


@dataclass(frozen=True, slots=True)
class Holder:
    """A controller that serves a line."""

    run_dir: Path
    site: str
    line: str
    """Name of the line as the controller calls it."""
    devices: tuple[str, ...]


def holders(near: Path | None = None) -> Iterator[Holder]:
    """Yield every line that a controller of this machine serves.

    Args:
        near: a run folder that lies elsewhere than usual.
    """
    folders = {path.parent for path in run_dir("x").parent.glob(f"*/{FIELD_SOCKET}")}
    for folder in sorted({*folders, SYSTEM_RUN_DIR, *([near] if near else [])}):
        if not (folder / FIELD_SOCKET).exists():
            continue
        try:
            answer = ask_socket(folder / FIELD_SOCKET, {"v": 1, "kind": "lines"})
        except LinkError:  # it has died and left its socket
            continue
        for line in answer.get("lines", ()):
            yield Holder(folder, answer["site"], line["line"], tuple(line["devices"]))


def holder_of(endpoint: Endpoint, near: Path | None = None) -> Holder | None:
    """Return the controller that serves the line, None when there is none."""
    return next((held for held in holders(near) if same_line(held.line, endpoint.name)), None)


def same_line(one: str, other: str) -> bool:
    """Whether two names mean the same port or the same host."""
    return one == other or _resolved(one) == _resolved(other)


@cache
def _resolved(name: str) -> str:
    if name.startswith("/"):
        return os.path.realpath(name)
    host, _, port = name.rpartition(":")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return name
    return f"{min(entry[4][0] for entry in found)}:{port}"


@dataclass(slots=True)
class Through:
    """Asks through the controller; implements :data:`drivers.talk.Ask`."""

    holder: Holder
    who: str = ""
    """Who is told as the writer."""

    def __call__(self, request: Request) -> bytes:
        """Raise DriverError like a link, Forbidden when the controller refuses, LinkError when it is gone."""
        return self._ask(request, rehearsal=False)

    def rehearse(self, request: Request) -> None:
        """Ask whether a write would be let pass; nothing is sent to the device."""
        self._ask(request, rehearsal=True)

    def _ask(self, request: Request, rehearsal: bool) -> bytes:
        message = {
            "v": 1,
            "kind": "ask",
            "line": self.holder.line,
            "unit": request.unit,
            "pdu": request.pdu.hex(),
            "who": self.who,
            "rehearsal": rehearsal,
        }
        answer = ask_socket(self.holder.run_dir / FIELD_SOCKET, message, TIMEOUT_S)
        if answer.get("ok"):
            return bytes.fromhex(answer["data"])
        if answer.get("code") == Refused.__name__:
            raise Refused(answer["what"], answer["exception"])
        if answer.get("code") in ERRORS:
            raise ERRORS[answer["code"]](answer["what"])
        raise Forbidden(str(answer.get("code")), str(answer.get("what")), str(answer.get("do")))


def way_to(url: str, near: Path | None = None, who: str = "") -> tuple[Ask, Holder | None]:
    """Return how to ask on a line, and the controller through which, if any.

    Raises:
        ConfigError: the url is none.
    """
    endpoint = parse_url(url)
    holder = holder_of(endpoint, near)
    if holder:
        return Through(holder, who), holder
    return Direct(link_to(endpoint), timeout_max_s=1.0), None


def field_request(folder: Path, message: dict[str, Any]) -> dict[str, Any]:
    """Ask the controller of a run folder something else; LinkError when nobody answers."""
    return ask_socket(folder / FIELD_SOCKET, {"v": 1, **message}, TIMEOUT_S)


def users_of(path: str) -> list[str]:
    """Return the processes that have a port open, as far as we may see them: ``number name``."""
    wanted, found = os.path.realpath(path), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.path.realpath(fd) == wanted for fd in (folder / "fd").iterdir()):
                found.append(f"{folder.name} {(folder / 'comm').read_text().strip()}")
        except OSError:  # ended meanwhile, or not ours
            continue
    return [one for one in found if not one.startswith(f"{os.getpid()} ")]


def ledger(folder: Path | None) -> Path:
    """Return the file that keeps what was written by hand, made ready before anything is sent.

    That is the events of the site. Without a run folder, or where it belongs to somebody else, it is
    ``yunchu/field.jsonl`` where the user's programs keep their state: $XDG_STATE_HOME, else ~/.local/state.

    Raises:
        StoreError: nothing can be kept.
    """
    if folder:
        with contextlib.suppress(OSError, StoreError):
            return _ready(folder / "events.jsonl")
    try:
        base = os.environ.get("XDG_STATE_HOME", "")
        state = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
        return _ready(state / "yunchu" / "field.jsonl")
    except (OSError, RuntimeError, StoreError) as error:  # RuntimeError: the user has no home
        raise StoreError(f"nothing is sent that cannot be recorded: {error}") from error


def _ready(path: Path) -> Path:
    make_run_dir(path.parent)
    path.open("a").close()
    return path
