"""The reader of interval data."""

import gzip
from pathlib import Path

import pytest

from edge.services.load_file import read_load
from models.errors import StoreError

GOOD = "time_utc,load_kw\n1970-01-01T00:15:00Z,2.5\n1970-01-01T00:00:00,1\n1970-01-01T08:30:00+08:00,3\n"


def test_times_are_utc_and_sorted_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD, "utf-8-sig")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(GOOD.encode()))
    for name in ("a.csv", "a.csv.gz"):
        t_ms, load = read_load(tmp_path / name)
        assert t_ms.tolist() == [0, 900_000, 1_800_000]
        assert load.tolist() == [1.0, 2.5, 3.0]


WRONG = [
    ("other columns", b"time,kw\n", "load.csv:1 has columns"),
    ("no time", b"time_utc,load_kw\nnoon,1\n", "load.csv:2"),
    ("no number", b"time_utc,load_kw\n1970-01-01T00:00:00Z,many\n", "load.csv:2"),
    ("a short row", b"time_utc,load_kw\n1970-01-01T00:00:00Z\n", "load.csv:2"),
    ("nothing", b"", "load.csv:1 has columns"),
    ("no text", b"\xff\xfe\x00", "cannot read"),
]


@pytest.mark.parametrize(("data", "told"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_file_is_told(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "load.csv").write_bytes(data)
    with pytest.raises(StoreError, match=told):
        read_load(tmp_path / "load.csv")


def test_a_missing_or_damaged_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "b.csv.gz").write_bytes(b"not packed")
    for name in ("a.csv", "b.csv.gz"):
        with pytest.raises(StoreError, match="cannot read"):
            read_load(tmp_path / name)
