"""Time from the shell to the end of the light verbs: ``edge --help`` and ``edge status --json``.

Measured: wall and CPU time of the whole process, in turn with ``python -c pass`` of the same interpreter and,
for scale, the imports of click and numpy. The status reads a run folder as a controller leaves it, with a
record of just now. Not measured: cold files, a slow flash card, verbs that plan or plot.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, report, wants_json
from benchmarks.sites import Played, plant, site_text
from drivers.driver import Counters
from edge.controller.loop import PACK_TIMING, ring_dtype
from edge.image import SharedImage
from edge.ring import Ring

ROUNDS = 21
BASE = "python -c pass"
GOAL = 5.0


class RunFolder:
    """Image and ring of a site whose controller is this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._played = Played(plant(1))
        site, devices = self._played.plant.site, self._played.plant.devices
        epoch_ms = int(time.time() * 1000)
        self._image = SharedImage.create(path / "image", "demo", site.points, devices, epoch_ms, path)
        meta = {"site_toml": site_text(1), "version": "bench", "site": "demo"}
        self._ring = Ring.create(path / "ring", ring_dtype(site), 400, meta)

    def refresh(self) -> None:
        """Run a cycle now."""
        self._played.now_ns = time.monotonic_ns()
        image = self._played.image()
        for device in self._played.plant.devices:
            part = slice(device.first, device.first + device.count)
            into = self._image.slice(device.name)
            into.put(
                np.arange(device.count), image.value[part], image.quality[part], int(image.t_ns[part][0])
            )
            into.count(Counters(polls=1, online=True))
        self._ring.append(self._played.cycle().record + PACK_TIMING(100_000, 300_000, 0))


def command() -> list[str]:
    """Return how to start ``edge``: the installed script, else the package."""
    script = Path(sys.executable).with_name("edge")
    return [str(script)] if script.exists() else [sys.executable, "-m", "edge"]


def environment(cache: Path) -> dict[str, str]:
    """Return an environment in which byte code is kept, as that of an installed program is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPYCACHEPREFIX": str(cache)}


def run_ms(line: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Run a program to its end; return wall and CPU time."""
    start_ns = time.monotonic_ns()
    child = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env)
    _, status, used = os.wait4(child.pid, 0)
    wall_ms = (time.monotonic_ns() - start_ns) / 1e6
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(line)} ended with {child.returncode}")
    return wall_ms, (used.ru_utime + used.ru_stime) * 1000


def measure(folder: RunFolder) -> dict[str, dict[str, float]]:
    """Return the times of each program."""
    sides = {
        BASE: [sys.executable, "-c", "pass"],
        "edge --help": [*command(), "--help"],
        "edge status --json": [*command(), "status", "--json", "--run-dir", str(folder.path)],
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
    }
    env = environment(folder.path / "cache")
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, line in sides.items():
            folder.refresh()
            times = run_ms(line, env)
            if number:
                took[name].append(times)
    return {
        name: {
            "wall_ms": statistics.median(wall for wall, _ in times),
            "wall_worst_ms": max(wall for wall, _ in times),
            "cpu_ms": statistics.median(cpu for _, cpu in times),
        }
        for name, times in took.items()
    }


def main() -> None:
    """Measure and report."""
    as_json = wants_json(__doc__)
    with tempfile.TemporaryDirectory() as path:
        found = measure(RunFolder(Path(path)))
    ratios = {name: side["wall_ms"] / found[BASE]["wall_ms"] for name, side in found.items()}
    rows: list[Row] = [(name, *side.values(), ratios[name]) for name, side in found.items()]
    data = {"benchmark": "cli", "sides": found, "ratios": ratios, "goal": GOAL}
    titles = "program", "wall ms", "worst", "CPU ms", "ratio"
    report(
        as_json, data, titles, rows, f"median of {ROUNDS} runs in turn; ratio of wall times, goal <= {GOAL:g}"
    )


if __name__ == "__main__":
    main()
