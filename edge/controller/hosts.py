"""Driver hosts: processes for devices whose library is heavy or blocks, so that they make no cycle late."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from edge.events import Events

CHECK_S = 0.5
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
HEALTHY_S = 60.0
"""After so long a life the deaths before it count no more."""


class Hosts:
    """Starts one process per device and starts it again when it dies."""

    def __init__(self, config: Path, run_dir: Path, devices: Sequence[str], events: Events) -> None:
        """Args: the configuration and run folder that each host opens for itself."""
        base = [sys.executable, "-m", "edge.controller.host", "--config", str(config)]
        self._commands = {name: [*base, "--run-dir", str(run_dir), "--device", name] for name in devices}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._deaths = dict.fromkeys(devices, 0)
        self._born_s = dict.fromkeys(devices, 0.0)
        self._due_s: dict[str, float] = {}
        """When each host that has died is started again (monotonic)."""
        self._events = events
        self._stop = threading.Event()

    def start(self) -> None:
        """Start all hosts and the thread that watches them."""
        for name in self._commands:
            self._spawn(name)
        if self._commands:
            threading.Thread(target=self._watch, name="hosts", daemon=True).start()

    def stop(self) -> None:
        """End all hosts."""
        self._stop.set()
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            try:
                child.wait(2.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _watch(self) -> None:
        while not self._stop.wait(CHECK_S):
            for name in self._commands:
                self._look(name, time.monotonic())

    def _look(self, name: str, now_s: float) -> None:
        """Note a death, and start again what is due; never waits, so that no host holds up the others."""
        if name not in self._due_s:
            ended = self._children[name].poll()
            if ended is None:
                return
            if now_s - self._born_s[name] >= HEALTHY_S:
                self._deaths[name] = 0
            self._due_s[name] = now_s + BACKOFF_S[min(self._deaths[name], len(BACKOFF_S) - 1)]
            self._deaths[name] += 1
            self._events.emit("HOST_DIED", name, f"driver host ended with {ended}; starts again")
        if now_s < self._due_s[name] or self._stop.is_set():
            return
        try:
            self._spawn(name)
        except OSError as error:  # no memory, no process left: the next look tries again
            self._events.emit("HOST_NOT_STARTED", name, f"{error}; tried again")

    def _spawn(self, name: str) -> None:
        self._children[name] = subprocess.Popen(self._commands[name], stdin=subprocess.DEVNULL)
        self._born_s[name] = time.monotonic()
        self._due_s.pop(name, None)
