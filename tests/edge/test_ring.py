"""The flight recorder keeps the newest records, in order, across restarts of its writer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.ring import MARGIN, Ring
from models.errors import StoreError

DTYPE = np.dtype(
    [("cycle", "<u8"), ("value", "<f8", (3,)), ("request", [("p_kw", "<f8"), ("on", "u1")], (2,))]
)
SLOTS = 10


def fill(ring: Ring, first: int, last: int) -> None:
    for cycle in range(first, last + 1):
        row = np.zeros((), DTYPE)
        row["cycle"] = cycle
        row["value"] = cycle / 2
        ring.append(row.tobytes())


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return Ring.create(tmp_path / "ring", DTYPE, SLOTS, {"site": "demo"})


@pytest.mark.parametrize(
    ("written", "since", "expected"),
    [
        pytest.param(0, 0, [], id="nothing written"),
        pytest.param(3, 0, [1, 2, 3], id="not yet full"),
        pytest.param(3, 3, [], id="nothing new"),
        pytest.param(25, 23, [24, 25], id="the newest two after wrapping"),
        pytest.param(25, 0, list(range(25 - SLOTS + MARGIN + 1, 26)), id="as far back as is safe"),
        pytest.param(25, 40, [], id="a reader ahead of the writer"),
    ],
)
def test_since(ring: Ring, tmp_path: Path, written: int, since: int, expected: list[int]) -> None:
    fill(ring, 1, written)
    rows = Ring.open(tmp_path / "ring").since(since)
    assert rows["cycle"].tolist() == expected
    assert (rows["value"] == rows["cycle"][:, None] / 2).all()


def test_the_file_describes_itself(ring: Ring, tmp_path: Path) -> None:
    seen = Ring.open(tmp_path / "ring")
    assert seen.dtype == DTYPE
    assert seen.meta == {"site": "demo"}
    assert seen.newest() is None


def test_the_next_controller_goes_on_where_the_last_one_stopped(ring: Ring, tmp_path: Path) -> None:
    fill(ring, 1, 4)
    successor = Ring.create(tmp_path / "ring", DTYPE, SLOTS, {"site": "demo"})
    fill(successor, 5, 6)
    assert Ring.open(tmp_path / "ring").since(0)["cycle"].tolist() == [1, 2, 3, 4, 5, 6]


def test_another_layout_moves_the_old_records_aside(ring: Ring, tmp_path: Path) -> None:
    fill(ring, 1, 4)
    Ring.create(tmp_path / "ring", DTYPE, SLOTS, {"site": "other"})
    assert Ring.open(tmp_path / "ring").total == 0
    assert Ring.open(tmp_path / "ring.previous").total == 4


@pytest.mark.parametrize("content", [None, b"", b"x" * 200], ids=["missing", "empty", "foreign"])
def test_what_is_not_a_ring_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ring"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError):
        Ring.open(path)


DAMAGE = [
    ("its description is cut off", lambda raw: raw[:70]),
    ("its description is no JSON", lambda raw: raw[:70] + b"#" + raw[71:]),
    ("its records are cut off in the middle", lambda raw: raw[:-5]),
]


@pytest.mark.parametrize("damage", [d[1] for d in DAMAGE], ids=[d[0] for d in DAMAGE])
def test_a_damaged_ring_is_refused_by_readers_and_replaced_by_the_controller(
    ring: Ring, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "ring"
    fill(ring, 1, 4)
    broken = damage(path.read_bytes())
    path.unlink()
    path.write_bytes(broken)
    with pytest.raises(StoreError, match="damaged"):
        Ring.open(path)
    assert Ring.create(path, DTYPE, SLOTS, {"site": "demo"}).total == 0


def test_all_its_blocks_are_there_so_that_a_full_disk_ends_nobody(ring: Ring, tmp_path: Path) -> None:
    stat = (tmp_path / "ring").stat()
    assert stat.st_blocks * 512 >= stat.st_size
