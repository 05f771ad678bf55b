"""Starts a literal list of processes, restarts those that die, and takes all of them down again.

For development and the demo; on a site systemd does this, each process as a hardened unit of its own.
"""

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
STOP_S = 4.0
CHECK_S = 0.2
RESTART_S = 1.0
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies (prctl(2)); runs in the child after fork."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Process:
    """One program to run."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


class Launcher:
    """Runs the processes; each one's output goes to ``<log_dir>/<name>.log``."""

    def __init__(self, processes: Sequence[Process], log_dir: Path) -> None:
        """Nothing starts yet."""
        self._processes = {process.name: process for process in processes}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._log_dir = log_dir
        self._stop = threading.Event()
        self.restarts = dict.fromkeys(self._processes, 0)

    def start(self) -> None:
        """Start all and keep them running."""
        for name in self._processes:
            self._spawn(name)
        threading.Thread(target=self._watch, name="launcher", daemon=True).start()

    def pid(self, name: str) -> int:
        """Return the process id of a running child."""
        return self._children[name].pid

    def stop(self) -> None:
        """End all, in the reverse order of their start."""
        self._stop.set()
        for child in reversed(self._children.values()):
            child.terminate()
        deadline = time.monotonic() + STOP_S
        for child in self._children.values():
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _spawn(self, name: str) -> None:
        process = self._processes[name]
        with (self._log_dir / f"{name}.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                process.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **process.environment},
                preexec_fn=die_with_parent,
            )

    def _watch(self) -> None:
        while not self._stop.wait(CHECK_S):
            for name, child in list(self._children.items()):
                if child.poll() is not None and not self._stop.wait(RESTART_S):
                    self.restarts[name] += 1
                    self._spawn(name)
