"""A broker for demos and tests: a child process, on loopback only, that keeps its messages on disk.

mosquitto when it is on PATH, else the NATS server that pip brings (MQTT 3.1.1 over JetStream). A real fleet
uses a broker that somebody operates; see docs/decisions/0002-embedded-broker.md for what was measured.
"""

import contextlib
import ctypes
import getpass
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from models.errors import LinkError

HOST = "127.0.0.1"
START_S = 10.0
_POLL_S = 0.01
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_PROGRAMS = {"mosquitto": "mosquitto", "nats": "nats-server"}


def program(kind: str) -> str | None:
    """Return the path of the program behind a kind of broker, or None if it is not installed."""
    beside = Path(sys.executable).parent / _PROGRAMS[kind]
    return shutil.which(_PROGRAMS[kind]) or (str(beside) if beside.exists() else None)


def available() -> tuple[str, ...]:
    """Return the kinds that can be started here, the preferred one first."""
    return tuple(kind for kind in _PROGRAMS if program(kind))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _mosquitto(directory: Path, port: int) -> str:
    where = json.dumps(str(directory))[1:-1]
    return (
        f"listener {port} {HOST}\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n"
        f"user {getpass.getuser()}\npersistence true\npersistence_location {where}/\nautosave_interval 2\n"
    )


def _nats(directory: Path, port: int) -> str:
    return (
        f'server_name: yunchu\nlisten: "{HOST}:-1"\nmqtt {{ listen: "{HOST}:{port}" }}\n'
        f"jetstream {{ store_dir: {json.dumps(str(directory))}, max_mem: 64M, max_file: 4G }}\n"
    )


_CONFIG = {"mosquitto": _mosquitto, "nats": _nats}


class Broker:
    """One broker process.

    Args:
        directory: where it keeps its configuration, log and messages; made when missing.
        port: TCP port on loopback; 0 = a free one, kept over restarts of this object.
        kind: ``mosquitto``, ``nats``, or ``auto`` for the preferred one.
    """

    def __init__(self, directory: Path, port: int = 0, kind: str = "auto") -> None:
        kinds = available()
        if kind not in (*kinds, "auto") or not kinds:
            raise LinkError(
                f"no broker of kind {kind} is installed; install mosquitto, or yunchu with the extra `demo`"
            )
        self.kind: str = kinds[0] if kind == "auto" else kind
        self.directory = directory
        self.port: int = port or _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    def start(self) -> None:
        """Start it and wait until it accepts connections; LinkError with its log if it does not."""
        if self.running:
            return
        if _answers(self.port):
            raise LinkError(f"port {self.port} is taken by another program")
        self.directory.mkdir(parents=True, exist_ok=True)
        config, log = self.directory / "broker.conf", self.directory / "broker.log"
        config.write_text(_CONFIG[self.kind](self.directory, self.port))
        command = [program(self.kind) or self.kind, "-c", str(config)]
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=_end_with_us
            )
        self._process, deadline_s = process, time.monotonic() + START_S
        while not _answers(self.port):
            if process.poll() is not None or time.monotonic() > deadline_s:
                self.stop()
                raise LinkError(f"{self.kind} did not start: {log.read_text(errors='replace')[-500:]}")
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it in order, by force after ``timeout_s``."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> "Broker":
        """Start it."""
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop it."""
        self.stop()


def _end_with_us() -> None:
    """Let the kernel end the broker when the thread that started it is gone, however it went (prctl(2))."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=0.5).close()
    except OSError:
        return False
    return True
