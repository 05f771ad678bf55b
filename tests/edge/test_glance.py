"""The light reader must see exactly what the real one sees."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.glance import Glance
from edge.image import SharedImage
from models.errors import StoreError
from models.point import Quality
from tests.edge.conftest import RunFolder

Maker = Callable[[], RunFolder]


def test_points_and_counters_agree_with_the_image(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(3, {"pv-1/p_kw": float("nan")})
    image = SharedImage.open(folder.path / "image")
    snapshot, seen = image.snapshot(), Glance(folder.path).points()
    assert [p.name for p in seen] == [p.name for p in image.points]
    assert np.array_equal([p.value for p in seen], snapshot.value, equal_nan=True)
    assert [p.quality for p in seen] == [Quality(q).name for q in snapshot.quality.tolist()]
    assert all(p.age_s is not None and 0.0 <= p.age_s < 60.0 for p in seen)
    for device in Glance(folder.path).devices():
        counters = image.counters(device["name"])
        assert (device["polls"], device["online"], device["errors"]) == (counters.polls, True, 0)


def test_the_newest_record_agrees_with_the_ring(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(450)  # more than the ring holds
    row, seen = folder.ring.newest(), Glance(folder.path).record
    assert row is not None and seen is not None
    assert row.dtype.names is not None
    for name in row.dtype.names:
        if row[name].dtype.names is None:
            assert np.array_equal(np.ravel(row[name]), np.ravel(seen[name]), equal_nan=True), name
    assert seen["state_out"]["watches"][0]["beat"] == row["state_out"]["watches"][0]["beat"]


def test_old_readings_are_shown_stale(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(1, end_ns=time.monotonic_ns() - 3_600_000_000_000)
    glance = Glance(folder.path)
    assert {p.quality for p in glance.points()} == {"STALE"}
    assert not glance.running


def test_a_site_without_records_is_not_running(run_folder: Maker) -> None:
    glance = Glance(run_folder().path)
    assert glance.record is None and not glance.running


@pytest.mark.parametrize("content", [None, b"", b"x" * 100], ids=["missing", "empty", "foreign"])
def test_no_image(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "image").write_bytes(content)
    with pytest.raises(StoreError):
        Glance(tmp_path)


def test_it_needs_no_numpy() -> None:
    code = "import sys, edge.cli.status; sys.exit(bool({'numpy', 'pydantic', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
