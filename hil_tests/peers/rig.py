"""What the peer tests share: programs that follow lines, serial lines without hardware, our own drivers."""

import os
import select
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from drivers.catalog.loader import load_product
from drivers.catalog.product import Product
from drivers.driver import Counters, Driver, Nameplate
from drivers.modbus.build import open_devices
from drivers.modbus.spec import ModbusSpec
from models.point import Quality
from models.proposal import Setpoint

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "build" / "peers"
HOW = "install it with `sh tools/peers.sh`"
BAUD = 115_200
NS_PER_S = 1_000_000_000


def until(condition: Callable[[], object], within_s: float = 15.0) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


class Program:
    """A process that is told one line and says one line."""

    def __init__(self, *command: str | Path, **how: Any) -> None:
        """Start it; what it says first is ``said``."""
        self._process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **how
        )
        self.said = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 30.0)
        assert ready, "the peer is silent"
        line = self._process.stdout.readline()
        assert line, f"the peer has ended with {self._process.wait(5.0)}"
        return line.strip()

    def tell(self, line: str) -> str:
        """Say a line and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._line()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.kill()


@contextmanager
def serial_line() -> Iterator[tuple[str, str]]:
    """Join two pty pairs, so that a master and a device each open a port; yield their paths."""
    (ours, one), (theirs, other) = os.openpty(), os.openpty()
    for port in (one, other):  # as it comes from the kernel, a port that nobody has opened yet echoes
        tty.setraw(port)
    way = {ours: theirs, theirs: ours}
    stop, stopper = os.pipe()

    def pump() -> None:
        while True:
            ready, _, _ = select.select([ours, theirs, stop], [], [])
            if stop in ready:
                return
            for fd in ready:
                os.write(way[fd], os.read(fd, 4096))

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        yield os.ttyname(one), os.ttyname(other)
    finally:
        os.write(stopper, b"x")
        thread.join(5.0)
        for fd in (ours, one, theirs, other, stop, stopper):
            os.close(fd)


class Sink:
    """Keeps the newest readings, and remembers every value that was ever called good."""

    def __init__(self, product: Product) -> None:
        self.names = [spec.name for spec in product.points]
        self.value = np.full(len(self.names), np.nan)
        self.quality = np.zeros(len(self.names), np.uint8)
        self.t_ns = np.zeros(len(self.names), np.int64)
        self.seen: dict[str, set[float]] = {name: set() for name in self.names}

    def put(self, index: Any, value: Any, quality: Any, t_ns: int) -> None:
        """Implement ``drivers.driver.Sink``."""
        self.value[index], self.quality[index], self.t_ns[index] = value, quality, t_ns
        for at, reading, grade in zip(index, value, quality, strict=True):
            if grade == Quality.GOOD:
                self.seen[self.names[at]].add(float(reading))

    def count(self, counters: Counters) -> None:
        """Implement ``drivers.driver.Sink``."""

    def get(self, name: str) -> float:
        """Return the value of a point when it is good, else NaN."""
        at = self.names.index(name)
        return float(self.value[at]) if self.quality[at] == Quality.GOOD else float("nan")

    def good(self, *names: str) -> bool:
        """Whether these points, or all of them, are good."""
        return all(self.quality[self.names.index(name)] == Quality.GOOD for name in names or self.names)


class Ours:
    """One of our drivers on a link."""

    def __init__(self, url: str, key: str, unit_id: int = 1, span_kw: float = 0.0) -> None:
        product = load_product(key)
        self.sink = Sink(product)
        self.events: list[str] = []
        nameplate = Nameplate(-span_kw, span_kw) if span_kw else None
        self.spec = ModbusSpec(f"dev-{unit_id}", "bat-1", key, url, unit_id, nameplate, self.sink)
        self.driver: Driver

    def offer(self, p_kw: float, life_s: float = 60.0) -> None:
        """Give it a setpoint."""
        self.driver.offer(Setpoint("bat-1", p_kw, time.monotonic_ns() + round(life_s * NS_PER_S)))

    def told(self, code: str) -> bool:
        """Whether it has told such an event."""
        return any(code in event for event in self.events)


def run(stack: ExitStack, *several: Ours) -> None:
    """Start the drivers of one line; they end with ``stack``."""

    def note(code: str, device: str, what: str) -> None:
        for one in several:
            if one.spec.name == device:
                one.events.append(f"{code} {what}")

    for one, driver in zip(several, open_devices([one.spec for one in several], note), strict=True):
        one.driver = driver
        driver.start()
        stack.callback(driver.stop)


def edge(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the CLI as a user does, without any controller of this machine."""
    own = {"XDG_RUNTIME_DIR": str(folder), "XDG_STATE_HOME": str(folder)}
    environment = {**os.environ, **own, "LANG": "C.UTF-8", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "edge", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60.0, env=environment, cwd=ROOT)
