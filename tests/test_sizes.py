"""Files and functions stay small enough to be read: the limits of the house, without a list of exceptions."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("aggregator", "cloud_link", "control", "cython_ext", "drivers", "edge", "examples", "models")
FILE_MAX = 600
TEST_FILE_MAX = 800
FUNCTION_MAX = 80
SILENT = (
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
)  # fmt: skip
CORE_MAX = 4_000
"""Lines of code of everything that the controller process imports, configuration and catalog included,
without the protocol drivers: each of those is an afternoon of its own."""
PROTOCOL_MAX = 2_500
"""Lines of code of each protocol driver."""
PROTOCOLS = ("drivers/modbus", "drivers/sunspec", "drivers/dlt645")
READING_PATH_MAX = 2_000
LIST_CORE = """
import sys, edge.controller.main
files = {getattr(m, "__file__", None) or "" for m in list(sys.modules.values())}
sys.stdout.write("\\n".join(sorted(f for f in files if f.endswith(".py") and f.startswith(sys.argv[1]))))
"""


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


def code_lines(path: Path) -> int:
    """Return the number of lines that hold code: no blank lines, comments or docstrings."""
    text = path.read_text(encoding="utf-8")
    told: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            told.update(range(node.lineno, (node.end_lineno or 0) + 1))
    used: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            used.update(range(token.start[0], token.end[0] + 1))
    return len(used - told)


def core_files() -> list[Path]:
    """Return our files that the controller process imports."""
    rooms = [str(ROOT / room) for room in ROOMS]
    done = subprocess.run(
        [sys.executable, "-c", LIST_CORE, str(ROOT)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [Path(f) for f in done.stdout.split() if f.startswith(tuple(rooms))]


def test_the_core_can_be_read_in_an_afternoon() -> None:
    files = core_files()
    assert ROOT / "control/cycle.py" in files and ROOT / "drivers/catalog/loader.py" in files
    core = [f for f in files if not str(f.relative_to(ROOT)).startswith(PROTOCOLS)]
    assert sum(map(code_lines, core)) <= CORE_MAX


@pytest.mark.parametrize("folder", PROTOCOLS)
def test_a_protocol_can_be_read_in_an_afternoon(folder: str) -> None:
    assert sum(map(code_lines, sources(folder))) <= PROTOCOL_MAX


def test_the_reading_path_of_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.split("## Reading path")[1].split("\n| folder")[0]
    files = [ROOT / name for name in re.findall(r"`([a-z_/]+\.pyx?)`", text)]
    assert len(files) == 10
    assert sum(map(lines, files)) <= READING_PATH_MAX


def test_the_controller_imports_nothing_heavy() -> None:
    heavy = "{'asyncua', 'onnxruntime', 'osqp', 'paho', 'rich', 'scipy', 'sqlite3', 'sqlite_utils'}"
    code = f"import sys, edge.controller.main; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
