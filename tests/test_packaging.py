"""What is installed: every package and every data file, under names that nobody else uses; the units."""

import ast
import fnmatch
import importlib.util
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from edge.cli import VERBS
from edge.version import VERSION

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NOT_INSTALLED = ("tests", "hil_tests", "benchmarks", "build", "docs")
CODE = {".py", ".pyx", ".c", ".so", ".pyc"}


def of_setup(name: str) -> Any:
    """Return a literal of setup.py: an assigned name or an argument of ``setup``; nothing is executed."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text("utf-8"))):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == name
        ):
            return ast.literal_eval(node.value)
        if isinstance(node, ast.keyword) and node.arg == name:
            return ast.literal_eval(node.value)
    raise KeyError(name)


PACKAGES: list[str] = of_setup("PACKAGES")
DATA: dict[str, list[str]] = of_setup("package_data")
TOP = sorted({name.partition(".")[0] for name in PACKAGES})
UNITS = sorted((ROOT / "systemd").glob("*.service"))


def test_the_listed_packages_are_the_folders_that_are_packages() -> None:
    folders = (path.parent.relative_to(ROOT) for path in ROOT.rglob("__init__.py"))
    found = {
        ".".join(folder.parts)
        for folder in folders
        if folder.parts[0] not in NOT_INSTALLED and not folder.parts[0].startswith(".")
    }
    assert found == set(PACKAGES)
    assert len(PACKAGES) == len(set(PACKAGES))


def test_no_folder_with_modules_is_forgotten() -> None:
    for name in TOP:
        lost = [p for p in (ROOT / name).rglob("*.py") if not (p.parent / "__init__.py").exists()]
        assert not lost, "a folder without __init__.py is not installed"


def test_every_data_file_is_installed() -> None:
    for package in PACKAGES:
        folder = ROOT / package.replace(".", "/")
        inner = {path.parent for path in folder.rglob("__init__.py")} - {folder}
        for path in folder.rglob("*"):
            if (
                path.is_dir()
                or path.suffix in CODE
                or inner & set(path.parents)
                or "__pycache__" in path.parts
            ):
                continue
            name = path.relative_to(folder).as_posix()
            patterns = DATA.get(package, [])
            assert path.name == "README.md" or any(_matches(name, pattern) for pattern in patterns), path


def _matches(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatch.fnmatch(name, pattern)


@pytest.mark.parametrize("name", TOP)
def test_no_other_distribution_provides_the_name(name: str) -> None:
    assert set(packages_distributions().get(name, ())) <= {PROJECT["name"]}


def test_all_top_level_names_share_one_parent() -> None:
    """Bare names like ``control`` are found where we put them, not in somebody else's folder."""
    parents = set()
    for name in TOP:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        parents.add(Path(spec.origin).parents[1])
    assert parents == {ROOT}


@pytest.mark.parametrize("program", sorted(PROJECT["scripts"]))
def test_a_program_can_be_started(program: str) -> None:
    module, _, function = PROJECT["scripts"][program].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_there_is_one_version() -> None:
    assert PROJECT["version"] == VERSION


HARDENING = """
NoNewPrivileges=yes CapabilityBoundingSet= PrivateUsers=yes PrivateTmp=yes ProtectSystem=strict
ProtectHome=yes ProtectProc=invisible ProcSubset=pid ProtectClock=yes ProtectHostname=yes
ProtectControlGroups=yes ProtectKernelLogs=yes ProtectKernelModules=yes
ProtectKernelTunables=yes RestrictNamespaces=yes
RestrictSUIDSGID=yes LockPersonality=yes MemoryDenyWriteExecute=yes DevicePolicy=closed
SystemCallArchitectures=native SystemCallFilter=@system-service SystemCallFilter=~@privileged
"""


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_program_that_exists_and_is_hardened(unit: Path) -> None:
    lines = unit.read_text("utf-8").splitlines()
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    match = re.match(r"ExecStart=/opt/yunchu/bin/(\w+) (\w+)", start)
    assert match is not None
    assert match[1] in PROJECT["scripts"]
    assert match[1] != "edge" or match[2] in VERBS
    assert set(HARDENING.split()) <= set(lines)
    assert any(line.startswith("User=yunchu") for line in lines)


def test_the_units_are_the_three_that_the_documentation_names() -> None:
    assert [unit.name for unit in UNITS] == [
        "edge-controller.service",
        "edge-services.service",
        "fleet.service",
    ]


def test_the_controller_is_watched_and_real_time() -> None:
    lines = (ROOT / "systemd/edge-controller.service").read_text("utf-8").splitlines()
    assert {
        "Type=notify",
        "WatchdogSec=10",
        "CPUSchedulingPolicy=fifo",
        "RuntimeDirectoryPreserve=yes",
    } <= set(lines)
