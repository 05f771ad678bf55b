"""Starts and stops a whole simulated site: plant, wires and four devices, each a process of its own."""

import os
import socket
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import drivers
from drivers.simulator import wire
from drivers.simulator.board import KINDS, Board, Trace, create
from drivers.simulator.violation import Limits

START_S = 20.0
"""The longest wait for a device; usually all answer within 3 s."""
STOP_S = 2.0
RETRY_S = 0.05
_READ_PCS = bytes.fromhex("000100000006010300640001")
_READ_RTU = bytes.fromhex("01040000000131ca")
"""Read one input register at 0 from unit 1, with its CRC."""


class SimulatedSite:
    """The demo site as processes; use it as a context manager or call ``start`` and ``stop``."""

    def __init__(
        self,
        directory: Path | str,
        soc: float = 0.5,
        seed: int = 1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        utc_s: float | None = None,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            directory: work directory; the board, the trace, logs and ttys go there.
            soc: state of charge at the start, 0..1.
            seed: of load variation, clouds and grid frequency.
            limits: what counts as a violation.
            utc_s: the site's clock at the start (sun and load); the real clock when None.
        """
        self.directory = Path(directory)
        ports = {"pcs-1": _free_port(), "pv-1": _free_port()}
        self.endpoints = {
            "pcs-1": f"tcp://127.0.0.1:{ports['pcs-1']}",
            "bms-1": f"rtu://{wire.gateway_tty(self.directory, 'bms-1')}?baud={wire.BAUD}",
            "meter-1": f"rtu://{wire.gateway_tty(self.directory, 'meter-1')}?baud={wire.BAUD}",
            "pv-1": f"opc.tcp://127.0.0.1:{ports['pv-1']}/pv/",
        }
        self._ports = ports
        self._commands = self._command_lines(soc, seed, limits, utc_s)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._board: Board | None = None

    def __enter__(self) -> "SimulatedSite":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def board(self) -> Board:
        """The shared board; fails before ``start``."""
        if self._board is None:
            raise RuntimeError("the simulated site has not been started")
        return self._board

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name: plant, wire and the four devices."""
        return {name: process.pid for name, process in self._processes.items()}

    def start(self) -> None:
        """Start everything and return when every device has answered.

        Raises:
            TimeoutError: a device did not answer; the message has the end of its log.
        """
        for name in ("board", "trace"):
            (self.directory / name).unlink(missing_ok=True)
        self._board = create(self.directory)
        try:
            for name in self._commands:
                self._spawn(name)
                if name == "wire":
                    self._wait("wire")
            for device in self.endpoints:
                self._wait(device)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all processes, within 2 s."""
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_S
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close(process)
        self._processes.clear()
        for device in wire.DEVICES:
            wire.gateway_tty(self.directory, device).unlink(missing_ok=True)
            wire.device_tty(self.directory, device).unlink(missing_ok=True)

    def kill(self, device: str) -> None:
        """End a process at once, as a power cut would."""
        process = self._processes.pop(device)
        process.kill()
        process.wait()
        _close(process)

    def restart(self, device: str) -> None:
        """Start a killed or running process again and wait until it answers.

        ``wire`` takes the serial devices along: their lines are new ttys, as after an adapter was pulled.
        """
        names = (device, *wire.DEVICES) if device == "wire" else (device,)
        for name in names:
            if name in self._processes:
                self.kill(name)
            self._spawn(name)
            if name == "wire":
                self._wait(name)
        for name in names:
            self._wait(name)

    def fault(self, name: str, value: float) -> None:
        """Set a fault switch (see ``board.FAULTS``).

        Raises:
            KeyError: there is no such switch.
        """
        self.board[f"fault/{name}"] = value

    def violations(self) -> dict[str, dict[str, float]]:
        """Return count, seconds and worst excess of each kind, as the plant has seen them."""
        parts = ("count", "seconds", "worst")
        return {kind: {part: self.board[f"violation/{kind}/{part}"] for part in parts} for kind in KINDS}

    def truth(self) -> dict[str, float]:
        """Return what really is now."""
        names = ("load_kw", "pv_kw", "battery_kw", "grid_kw", "grid_kvar", "soc", "utc_s")
        return {name: self.board[f"truth/{name}"] for name in names}

    def trace(self) -> NDArray[Any]:
        """Return what the devices have shown, up to 33 min, dtype ``board.TRACE``."""
        return Trace(self.directory, self.board).read()

    def _command_lines(
        self, soc: float, seed: int, limits: Limits, utc_s: float | None
    ) -> dict[str, list[str]]:
        """Return the arguments of every process, in the order of their start."""
        plant = ["plant", "--soc", str(soc), "--seed", str(seed)]
        plant += ["--import-kw", str(limits.import_kw), "--export-kw", str(limits.export_kw)]
        plant += ["--transformer-kva", str(limits.transformer_kva)]
        plant += ["--soc-min", str(limits.soc_min), "--soc-max", str(limits.soc_max)]
        if utc_s is not None:
            plant += ["--utc-s", str(utc_s)]
        ttys = {device: str(wire.device_tty(self.directory, device)) for device in wire.DEVICES}
        return {
            "pv-1": ["pv", "--port", str(self._ports["pv-1"])],
            "plant": plant,
            "wire": ["wire"],
            "pcs-1": ["pcs", "--port", str(self._ports["pcs-1"])],
            "bms-1": ["bms", "--tty", ttys["bms-1"]],
            "meter-1": ["meter", "--tty", ttys["meter-1"]],
        }

    def _spawn(self, name: str) -> None:
        """Start one process; it ends itself when this one does (``--tied``)."""
        root = str(Path(drivers.__file__).parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        role, *rest = self._commands[name]
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "drivers.simulator",
                    role,
                    "--tied",
                    "--dir",
                    str(self.directory),
                    *rest,
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
            )

    def _wait(self, name: str) -> None:
        """Wait until ``name`` answers."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._processes[name].poll() is None:
            if self._answers(name):
                return
            time.sleep(RETRY_S)
        log = (self.directory / f"{name}.log").read_text(errors="replace")
        raise TimeoutError(f"simulated {name} does not answer; end of its log:\n{log[-2000:]}")

    def _answers(self, name: str) -> bool:
        """Ask once, without any protocol library."""
        if name == "plant":
            return self.board["truth/utc_s"] > 0.0
        if name == "wire":
            return all(wire.device_tty(self.directory, device).exists() for device in wire.DEVICES)
        if name in self._ports:
            return _tcp_answers(self._ports[name], _READ_PCS if name == "pcs-1" else b"")
        return _rtu_answers(wire.gateway_tty(self.directory, name), _READ_RTU)


def _close(process: "subprocess.Popen[bytes]") -> None:
    """Close the pipe that ties a process to this one."""
    if process.stdin is not None:
        process.stdin.close()


def _free_port() -> int:
    """Return a TCP port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tcp_answers(port: int, request: bytes) -> bool:
    """Return whether a server accepts, and answers ``request`` if there is one."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as link:
            link.sendall(request)
            return not request or bool(link.recv(64))
    except OSError:
        return False


def _rtu_answers(path: Path, request: bytes) -> bool:
    """Return whether the device answers one request, all of it read so that nothing is left on the line."""
    line = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        tty.setraw(line, termios.TCSANOW)
        termios.tcflush(line, termios.TCIOFLUSH)
        os.write(line, request)
        got, deadline = b"", time.monotonic() + 0.3
        while len(got) < 7 and time.monotonic() < deadline:
            time.sleep(0.005)
            try:
                got += os.read(line, 64)
            except BlockingIOError:
                continue
        return len(got) == 7 and got.startswith(b"\x01\x04")
    finally:
        os.close(line)
