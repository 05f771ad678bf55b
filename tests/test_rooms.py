"""The rooms of the house hold, and a forbidden import would be noticed: one is planted to prove it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("aggregator", "cloud_link", "control", "cython_ext", "drivers", "edge", "examples", "models")
LINT = str(Path(sys.executable).with_name("lint-imports"))


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, so that planting does not touch the real one."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for room in ROOMS:
        shutil.copytree(
            ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c")
        )
    return folder


def test_the_house_is_in_order(house: Path) -> None:
    done = lint(house)
    assert done.returncode == 0, done.stdout


PLANTS = [
    ("control/guard.py", "import time", "a clock in the pure core"),
    ("control/cycle.py", "import drivers.driver", "control looking into the drivers"),
    ("drivers/driver.py", "import edge.ring", "a driver that knows the program around it"),
    ("models/site.py", "import control.cycle", "vocabulary that depends on control"),
    ("aggregator/registry.py", "import drivers.driver", "the fleet side touching devices"),
    ("edge/ring.py", "import aggregator.registry", "one program importing the other"),
    ("edge/mailbox.py", "import paho.mqtt.client", "a second importing place of paho"),
    ("edge/image.py", "import pymodbus", "a second importing place of pymodbus"),
    ("drivers/driver.py", "import asyncua", "a second importing place of asyncua"),
    ("edge/ring.py", "import osqp", "a second importing place of osqp"),
    ("edge/events.py", "import sqlite_utils", "a second importing place of sqlite-utils"),
]


@pytest.mark.parametrize(("file", "line"), [p[:2] for p in PLANTS], ids=[p[2] for p in PLANTS])
def test_a_planted_import_breaks_a_contract(house: Path, file: str, line: str) -> None:
    path = house / file
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{line}\n{text}", encoding="utf-8")
    try:
        done = lint(house)
    finally:
        path.write_text(text, encoding="utf-8")
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout
