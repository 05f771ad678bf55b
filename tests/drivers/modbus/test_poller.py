"""Whose turn it is on a line."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from drivers.modbus import frames
from drivers.modbus.job import NEVER_NS, Job
from drivers.modbus.poller import LinkPoller

WRITE = Job(frames.write_register(1, 200, b"\0\0"), lambda *_: None, lambda *_: None)
READ = Job(frames.read(1, 3, 100, 1), lambda *_: None, lambda *_: None)


class Busy:
    """A device with what is due given."""

    def __init__(self, writes: int, read_due_ns: int) -> None:
        self.name, self.writes, self.read_due_ns = "pcs", writes, read_due_ns

    def write(self, now_ns: int) -> Job | None:
        self.writes -= 1
        return WRITE if self.writes >= 0 else None

    def write_ns(self) -> int:
        return NEVER_NS

    def read(self, now_ns: int) -> tuple[int, Job]:
        return self.read_due_ns, READ


def turns(*devices: Busy) -> Iterator[str]:
    link = SimpleNamespace(line=SimpleNamespace(endpoint=SimpleNamespace(name="line")))
    poller = LinkPoller(link)
    poller._devices = devices
    while True:
        job, _ = poller._next(1_000)
        yield {id(WRITE): "w", id(READ): "r"}.get(id(job), "-")


@pytest.mark.parametrize(
    ("why", "devices", "order"),
    [
        ("both are due for ever: they take turns", [Busy(99, 0)], "wrwrwr"),
        ("no read is due: a write need not wait", [Busy(3, 2_000)], "www---"),
        ("after the last write", [Busy(1, 0)], "wrrrrr"),
        ("one device writes, another is read", [Busy(99, 2_000), Busy(0, 0)], "wrwrwr"),
        ("two write", [Busy(2, 0), Busy(2, 0)], "wrwrwrwrrr"),
    ],
)
def test_a_due_read_goes_between_two_writes(why: str, devices: list[Busy], order: str) -> None:
    told = turns(*devices)
    assert "".join(next(told) for _ in order) == order, why
