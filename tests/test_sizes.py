"""Files and functions stay small enough to be read: the limits of the house, without a list of exceptions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("aggregator", "cloud_link", "control", "cython_ext", "drivers", "edge", "examples", "models")
FILE_MAX = 600
TEST_FILE_MAX = 800
FUNCTION_MAX = 80
CORE_MAX = 4_000
"""The controller's side, in lines of Python."""
CORE = (
    "control",
    "drivers/driver.py",
    "drivers/modbus",
    "drivers/opcua.py",
    "drivers/catalog",
    "edge/controller",
    "models",
)
CORE_FILES = (
    "edge/image.py",
    "edge/ring.py",
    "edge/mailbox.py",
    "edge/events.py",
    "edge/config.py",
    "edge/locate.py",
)
NOT_CORE = ("models/plant.py", "models/solar.py", "models/forecast", "control/schedule.py")
"""Physics of the simulator and the slow side: no part of what the controller runs."""


def sources(*folders: str) -> list[Path]:
    """Return every source file below the folders."""
    return [p for f in folders for s in ("*.py", "*.pyx") for p in sorted((ROOT / f).rglob(s))]


def lines(path: Path) -> int:
    """Return the number of lines."""
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", sources(*ROOMS), ids=lambda p: str(p.relative_to(ROOT)))
def test_source_file_is_not_too_long(path: Path) -> None:
    assert lines(path) <= FILE_MAX


@pytest.mark.parametrize(
    "path", sources("tests", "hil_tests", "benchmarks"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_test_file_is_not_too_long(path: Path) -> None:
    assert lines(path) <= TEST_FILE_MAX


def test_no_function_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sources(*ROOMS)
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_MAX
    ]
    assert long == []


def core_files() -> list[Path]:
    """Return the Python files of the controller's side."""
    parts = [ROOT / part for part in (*CORE, *CORE_FILES)]
    files = [p for part in parts for p in ([part] if part.is_file() else sorted(part.rglob("*.py")))]
    return [f for f in files if not str(f.relative_to(ROOT)).startswith(NOT_CORE)]


def test_the_core_can_be_read_in_an_afternoon() -> None:
    assert sum(map(lines, core_files())) <= CORE_MAX
