"""Peers of other makes, built or started for the tests; a missing one skips its tests and says why."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from hil_tests.peers.rig import HOW, Ours, Program, run, serial_line

HERE = Path(__file__).parent


def pytest_itemcollected(item: pytest.Item) -> None:
    """All tests of this folder need their own command."""
    if HERE in item.path.parents:
        item.add_marker("peers")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is entered here is left at the end of the test, the last one first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def wire(stack: ExitStack) -> tuple[str, str]:
    """Two serial ports that are joined: of the master and of the device."""
    return stack.enter_context(serial_line())


@pytest.fixture(scope="session")
def libmodbus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program made of libmodbus."""
    for tool in ("cc", "pkg-config"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}: {HOW}")
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"no libmodbus: {HOW}")
    program = tmp_path_factory.mktemp("libmodbus") / "peer"
    source = HERE / "libmodbus_peer.c"
    subprocess.run(["cc", "-O1", "-o", program, source, *found.stdout.split()], check=True)
    return program


@pytest.fixture(scope="session")
def mbpoll() -> str:
    """The program mbpoll."""
    found = shutil.which("mbpoll")
    if found is None:
        pytest.skip(f"no mbpoll: {HOW}")
    return found


@pytest.fixture
def peer(libmodbus: Path, stack: ExitStack) -> Callable[..., Program]:
    """Start libmodbus as a device or a master; it ends with the test."""

    def start(*words: object) -> Program:
        return stack.enter_context(Program(libmodbus, *map(str, words)))

    return start


@pytest.fixture
def ours(stack: ExitStack) -> Callable[..., Ours]:
    """Start one of our drivers; it ends with the test."""

    def start(url: str, key: str, unit_id: int = 1, span_kw: float = 0.0) -> Ours:
        one = Ours(url, key, unit_id, span_kw)
        run(stack, one)
        return one

    return start


@pytest.fixture
def neighbours(stack: ExitStack) -> Callable[..., list[Ours]]:
    """Start several of our drivers on one line."""

    def start(url: str, key: str, unit_ids: Sequence[int]) -> list[Ours]:
        several = [Ours(url, key, unit_id) for unit_id in unit_ids]
        run(stack, *several)
        return several

    return start
