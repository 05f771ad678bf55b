"""The history: lossless, readable after every change, and never emptied by a crash, a full disk or damage."""

import multiprocessing
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edge import chunk
from edge.history import (
    BATCH_ROWS,
    BATCHES,
    FILE,
    KEEP_DAYS,
    MIN_MINUTES,
    MIN_ROOM_BYTES,
    History,
    load_history,
)
from edge.history_reader import DAY_MS, MINUTE_MS, CorruptError, Layout
from models.errors import StoreError

POINTS = ("bms-1/soc", "meter-1/p_kw")
START_MS = 1_750_000_500_000 // 1_800_000 * 1_800_000
DTYPE = np.dtype(
    [
        ("cycle", "<u8"),
        ("mono_ns", "<i8"),
        ("utc_ms", "<i8"),
        ("value", "<f8", (2,)),
        ("quality", "u1", (2,)),
        ("t_ns", "<i8", (2,)),
        ("net_kw", "<f8"),
        ("state", [("sums", "<f8", (3,)), ("watch", [("beat", "<f8"), ("ok", "u1")], (2,))]),
        ("forced", "i1"),
    ]
)


def make_rows(count: int, first: int = 0, dtype: np.dtype[np.void] = DTYPE) -> NDArray[np.void]:
    """Records of consecutive seconds, with noise as of real devices."""
    noise = np.random.default_rng(first)
    rows = np.zeros(count, dtype)
    number = first + np.arange(count)
    rows["cycle"] = number * 10
    rows["mono_ns"] = number * 1_000_000_000 + noise.integers(0, 100_000, count)
    rows["utc_ms"] = START_MS + number * 1000 + 950
    rows["value"][:, 0] = noise.integers(490, 510, count) * 0.001
    rows["value"][:, 1] = number.astype(np.float64)
    rows["quality"] = 3
    rows["t_ns"] = rows["mono_ns"][:, None] - noise.integers(0, 10_000_000, count)[:, None]
    rows["net_kw"] = number % 900
    return rows


def stored(history: History) -> NDArray[np.void]:
    """Everything that is in the history."""
    found = [rows for _, rows in history.records(0, 2**53)]
    return np.concatenate(found) if found else np.zeros(0, DTYPE)


def layout_in(history: History) -> Layout:
    return history.layout(DTYPE, POINTS, "[site]", "0.1.0")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


@pytest.fixture
def history(path: Path) -> History:
    return History.open(path, writable=True)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(DTYPE, st.integers(1, 20)))
def test_any_record_comes_back_bit_for_bit(rows: NDArray[np.void]) -> None:
    blob = chunk.pack(rows)
    assert chunk.unpack(blob, DTYPE).tobytes() == rows.tobytes()
    (beats,) = chunk.unpack_columns(blob, DTYPE, ["state.watch[1].beat"])
    assert beats.tobytes() == rows["state"]["watch"]["beat"][:, 1].tobytes()


def test_a_layout_survives_as_text_and_refuses_what_is_no_number() -> None:
    assert chunk.described(chunk.describe(DTYPE)) == DTYPE
    with pytest.raises(TypeError, match="name is not a number"):
        chunk.columns(np.dtype([("name", "S8")]))


def test_a_blob_of_another_layout_is_refused() -> None:
    blob = chunk.pack(make_rows(3))
    with pytest.raises(ValueError, match=r"layout|column"):
        chunk.unpack(blob, np.dtype([("cycle", "<u8")]))
    with pytest.raises(ValueError, match="stretch"):
        chunk.unpack(blob[:-9], DTYPE)
    with pytest.raises(ValueError, match="layout"):
        chunk.unpack(b"\xff\xff\xff\x7f" + blob[4:], DTYPE)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.binary(min_size=1, max_size=4))
def test_a_damaged_blob_is_refused_or_equal_but_never_different(at: int, noise: bytes) -> None:
    rows = make_rows(9)
    blob = chunk.pack(rows)
    at %= len(blob)
    damaged = blob[:at] + noise + blob[at + len(noise) :]
    try:
        assert chunk.unpack(damaged, DTYPE).tobytes() == rows.tobytes()
    except ValueError:
        pass


def test_what_is_appended_in_small_flushes_comes_back(history: History) -> None:
    rows = make_rows(200)
    for first in range(0, 200, 7):
        history.append(layout_in(history), rows[first : first + 7])
    history.append(layout_in(history), rows[:0])
    assert stored(history).tobytes() == rows.tobytes()
    newest = history.newest()
    assert newest is not None
    assert newest[0] is layout_in(history)
    assert newest[1].tobytes() == rows[-1].tobytes()
    assert history.span() == (int(rows["utc_ms"][0]), int(rows["utc_ms"][-1]))
    (found,) = history.records(int(rows["utc_ms"][10]), int(rows["utc_ms"][100]))
    assert found[1].tobytes() == rows[10:100].tobytes()


def test_minutes_that_are_over_become_one_row(history: History, path: Path) -> None:
    rows = make_rows(150)
    for first in range(0, 150, 5):
        history.append(layout_in(history), rows[first : first + 5])
    count = {
        t: sqlite3.connect(path).execute(f"SELECT count(*) FROM {t}").fetchone()[0]
        for t in ("minute", "second")
    }
    assert count == {"minute": 2, "second": 6}


def test_an_empty_history(history: History, path: Path, tmp_path: Path) -> None:
    assert history.newest() is None
    assert history.span() is None
    assert history.points() == []
    assert history.records(0, 1) == []
    t_ms, value = history.read("x/y", 0, 3000)
    assert t_ms.tolist() == [0, 1000, 2000]
    assert np.isnan(value).all()
    assert len(load_history(tmp_path, 0)[0]) == 0
    assert len(load_history(tmp_path / "nowhere", 0)[0]) == 0
    with pytest.raises(StoreError, match="no history"):
        History.open(path.with_name("none.db"))


def test_read_gives_means_on_a_grid_and_leaves_gaps(history: History) -> None:
    rows = make_rows(60)
    rows["quality"][20:30, 1] = 1
    history.append(layout_in(history), rows[:40])
    t_ms, value = history.read("meter-1/p_kw", START_MS, START_MS + 60_000, 10.0)
    assert t_ms.tolist() == [START_MS + 10_000 * i for i in range(6)]
    assert np.array_equal(value, [4.5, 14.5, np.nan, 34.5, np.nan, np.nan], equal_nan=True)
    assert history.read("site/net_load_kw", START_MS, START_MS + 2000)[1].tolist() == [0.0, 1.0]
    assert np.isnan(history.read("nobody/nothing", START_MS, START_MS + 2000)[1]).all()


def test_quarters_are_rolled_up_as_plain_rows(history: History, path: Path, tmp_path: Path) -> None:
    rows = make_rows(2000)
    for first in range(0, 2000, 50):
        history.append(layout_in(history), rows[first : first + 50])
    plain = sqlite3.connect(path).execute(
        "SELECT utc_ms, mean, min, max FROM quarter WHERE point = 'meter-1/p_kw' ORDER BY utc_ms"
    )
    assert plain.fetchall() == [
        (START_MS, 449.5, 0.0, 899.0),
        (START_MS + 900_000, 1349.5, 900.0, 1799.0),
    ]
    t_ms, value = history.read("meter-1/p_kw", START_MS, START_MS + 2_000_000, 900)
    assert t_ms.tolist() == [START_MS, START_MS + 900_000, START_MS + 1_800_000]
    assert value.tolist() == [449.5, 1349.5, 1899.5], "the quarter that is not over comes from its records"
    assert history.read("meter-1/p_kw", START_MS, START_MS + 1_800_000, 1800)[1].tolist() == [899.5]
    t_ms, net_kw = load_history(tmp_path, START_MS + 900_000)
    assert t_ms.tolist() == [START_MS + 900_000, START_MS + 1_800_000]
    assert net_kw.tolist() == [449.5, 99.5]


def test_a_quarter_that_gets_more_records_later_is_rolled_up_again(history: History) -> None:
    layout, rows = layout_in(history), make_rows(2000)
    history.append(layout, rows[:400])
    history.append(layout, rows[1000:1100])
    history.append(layout, rows[400:900])
    assert history.read("meter-1/p_kw", START_MS, START_MS + 900_000, 900)[1].tolist() == [449.5]
    history.append(layout, rows[1900:])
    assert history.read("meter-1/p_kw", START_MS, START_MS + 900_000, 900)[1].tolist() == [449.5]


def test_a_clock_that_is_set_back_loses_nothing(history: History) -> None:
    rows = make_rows(300)
    rows["utc_ms"][150:] -= 120_000
    for first in range(0, 300, 10):
        history.append(layout_in(history), rows[first : first + 10])
    found = stored(history)
    assert sorted(found["cycle"].tolist()) == rows["cycle"].tolist()
    newest = history.newest()
    assert newest is not None
    assert newest[1]["cycle"] == rows["cycle"][-1]


def test_old_records_stay_readable_after_a_change_of_configuration(history: History, path: Path) -> None:
    history.append(layout_in(history), make_rows(10))
    wide = np.dtype([*DTYPE.descr[:3], ("value", "<f8", (1,)), ("quality", "u1", (1,)), *DTYPE.descr[6:]])
    new = np.zeros(10, wide)
    new["utc_ms"] = START_MS + 10_000 + 1000 * np.arange(10)
    new["value"][:, 0], new["quality"] = 7.0, 3
    history.append(history.layout(wide, ("meter-1/p_kw",), "[site] # new", "0.1.1"), new)
    assert layout_in(history).id == 1, "a known layout is not stored twice"
    history.close()
    again = History.open(path)
    (old, old_rows), (late, late_rows) = again.records(0, 2**53)
    assert (old.site_toml, old.version, len(old_rows)) == ("[site]", "0.1.0", 10)
    assert (late.site_toml, late.version, late_rows.tobytes()) == ("[site] # new", "0.1.1", new.tobytes())
    assert again.read("meter-1/p_kw", START_MS, START_MS + 20_000, 10)[1].tolist() == [4.5, 7.0]
    assert again.points() == ["meter-1/p_kw", "site/net_load_kw", "bms-1/soc"]


def test_events_and_plans_are_stored_once(history: History) -> None:
    event = {"t_ms": 5, "source": "controller", "code": "STARTED", "where": "controller", "what": "版本 0.1"}
    history.add_events([event, event])
    history.add_events([event, {**event, "t_ms": 6}])
    assert history.events(0, 6) == [event]
    assert len(history.events(0, 7)) == 2
    history.add_plan(1, "{}")
    history.add_plan(2, "{}")
    history.add_plan(3, '{"p": 1}')
    assert history.plans(0, 9) == [{}, {"p": 1}]


def test_a_full_disk_is_an_error_and_the_file_goes_on_later(history: History) -> None:
    layout, rows = layout_in(history), make_rows(2000)
    history.append(layout, rows[:100])
    (pages,) = history._db.execute("PRAGMA page_count").fetchone()
    history._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match="full") as caught:
        history.append(layout, rows[100:1900])
    assert not isinstance(caught.value, CorruptError)
    assert stored(history).tobytes() == rows[:100].tobytes()
    history._db.execute("PRAGMA max_page_count = 1000000")
    history.append(layout, rows[100:1900])
    assert stored(history).tobytes() == rows[:1900].tobytes()


def fill_minutes(history: History, count: int, first_ms: int = 0) -> None:
    """Stand for minutes that were stored one after the other."""
    rows = [(first_ms + at * MINUTE_MS, b"m" * 5000) for at in range(count)]
    history._db.execute("BEGIN")
    history._db.executemany("INSERT INTO minute(utc_ms, until_ms, record) VALUES (?1, ?1, ?2)", rows)
    history._db.execute("COMMIT")


def ages(history: History, table: str) -> list[int]:
    return [row[0] for row in history._query(f"SELECT utc_ms FROM {table} ORDER BY utc_ms")]


@pytest.mark.parametrize(
    ("table", "days"), [("minute", 400), ("event", 400), ("plan", 400), ("quarter", 3653)]
)
def test_rows_stay_for_their_days_and_no_longer(history: History, table: str, days: int) -> None:
    assert KEEP_DAYS[table] == days
    history._db.executemany(f"INSERT INTO {table}(utc_ms) VALUES (?)", [(5,), (6,), (7,)])
    assert history.trim(days * DAY_MS + 6) is False
    assert ages(history, table) == [6, 7], "a row of exactly that age stays"


def test_a_clock_that_jumps_ahead_costs_two_days_an_hour(history: History) -> None:
    fill_minutes(history, 2 * 1440 + 5)
    history.trim(2**42)
    assert len(ages(history, "minute")) == 5 and BATCHES * BATCH_ROWS == 2 * 1440


def test_freed_pages_are_used_again(history: History) -> None:
    fill_minutes(history, 1000)
    size, days = history.held()
    assert days == pytest.approx(999 / 1440)
    history.trim(400 * DAY_MS + 990 * MINUTE_MS)
    assert len(ages(history, "minute")) == 10
    fill_minutes(history, 900, 2**40)
    assert history.held()[0] <= size


@pytest.mark.parametrize(
    ("says", "missing_bytes", "kept"),
    [
        ("room enough", 0, MIN_MINUTES + 400),
        ("a little is missing: one batch goes", 100_000, MIN_MINUTES + 400 - BATCH_ROWS),
        ("everything is missing: a week stays", MIN_ROOM_BYTES, MIN_MINUTES),
    ],
)
def test_a_disk_nearly_full_costs_what_was_stored_first(
    history: History, monkeypatch: pytest.MonkeyPatch, says: str, missing_bytes: int, kept: int
) -> None:
    fill_minutes(history, 1, 2**42)  # of a clock that was wrong: stored first, goes first
    fill_minutes(history, MIN_MINUTES + 399)
    usage = shutil._ntuple_diskusage(10**10, 0, MIN_ROOM_BYTES - missing_bytes)
    monkeypatch.setattr("edge.history.shutil.disk_usage", lambda path: usage)
    assert history.trim(0) is (missing_bytes > 0)
    left = ages(history, "minute")
    assert len(left) == kept, says
    assert (2**42 in left) is (missing_bytes == 0)
    assert (MIN_MINUTES + 398) * MINUTE_MS in left


def test_a_folder_that_went_away_is_an_error_of_the_store(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: Path) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr("edge.history.shutil.disk_usage", gone)
    with pytest.raises(StoreError):
        history.trim(0)


def test_two_writers_do_not_mix(history: History, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.history_reader.BUSY_S", 0.05)
    other = History.open(path, writable=True)
    layout = layout_in(history)
    history._db.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        other.append(layout, make_rows(3))
    history._db.execute("ROLLBACK")
    other.append(layout, make_rows(3))


@pytest.mark.parametrize(
    ("says", "damage"),
    [
        ("not a database at all", lambda data: b"nonsense" * 600),
        ("a header that lies", lambda data: data[:16] + bytes(84) + data[100:]),
        ("a table of contents that is gone", lambda data: data[:100] + b"\xff" * 3996 + data[4096:]),
    ],
)
def test_a_damaged_file_is_set_aside_not_deleted(
    says: str, damage: object, history: History, path: Path
) -> None:
    history.append(layout_in(history), make_rows(100))
    history.close()
    broken = damage(path.read_bytes())  # type: ignore[operator]
    path.write_bytes(broken)
    with pytest.raises(StoreError):
        History.open(path)
    fresh = History.open(path, writable=True)
    assert fresh.newest() is None, says
    fresh.append(layout_in(fresh), make_rows(5))
    (aside,) = path.parent.glob("history.db.corrupt-*")
    assert aside == fresh.aside
    assert aside.read_bytes() == broken


def test_a_damaged_minute_is_noticed(history: History, path: Path) -> None:
    history.append(layout_in(history), make_rows(100))
    history._db.execute("UPDATE minute SET record = substr(record, 1, 30)")
    with pytest.raises(CorruptError):
        history.records(0, 2**53)
    with pytest.raises(CorruptError):
        history.read("bms-1/soc", START_MS, START_MS + 9000)


def test_a_power_cut_leaves_a_readable_beginning(tmp_path: Path, path: Path) -> None:
    """The write-ahead log is cut at any byte: what is left is whole seconds from the start, unaltered."""
    history, rows = History.open(path, writable=True), make_rows(300)
    layout = layout_in(history)
    for first in range(0, 300, 5):
        history.append(layout, rows[first : first + 5])
    log = path.with_name(FILE + "-wal").read_bytes()
    dice = random.Random(7)
    left = set()
    for number in range(25):
        cut = tmp_path / f"cut{number}"
        cut.mkdir()
        shutil.copy(path, cut / FILE)
        torn = log[: dice.randrange(len(log))] + dice.randbytes(dice.randrange(5000))
        (cut / f"{FILE}-wal").write_bytes(torn)
        after = History.open(cut / FILE, writable=True)
        assert after.aside is None
        found = stored(after)
        assert found.tobytes() == rows[: len(found)].tobytes()
        left.add(len(found))
        after.append(layout_in(after), rows[len(found) :])
        assert stored(after).tobytes() == rows.tobytes()
        after.close()
    assert len(left) > 5


def _write_until_killed(path: Path, told: object) -> None:
    history, rows = History.open(path, writable=True), make_rows(5000)
    layout, newest = layout_in(history), history.newest()
    first = 0 if newest is None else int(newest[1]["cycle"]) // 10 + 1
    for at in range(first, 5000, 3):
        history.append(layout, rows[at : at + 3])
        told.send(at + 3)


def test_a_killed_writer_loses_nothing_that_was_stored(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    rows, dice = make_rows(5000), random.Random(3)
    for _ in range(4):
        hear, told = context.Pipe(duplex=False)
        child = context.Process(target=_write_until_killed, args=(path, told))
        child.start()
        told.close()
        acknowledged = 0
        for _ in range(dice.randrange(5, 60)):
            acknowledged = hear.recv()
        child.kill()
        child.join()
        while True:
            try:
                acknowledged = hear.recv()
            except EOFError:
                break
        history = History.open(path, writable=True)
        found = stored(history)
        assert len(found) >= acknowledged
        assert found.tobytes() == rows[: len(found)].tobytes()
        history.close()


def test_reading_does_not_import_sqlite_utils() -> None:
    code = "import sys, edge.history; assert not {'sqlite_utils', 'pydantic', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_records_are_packed(history: History, path: Path) -> None:
    """Noise that nothing can compress, and still a third of the plain bytes."""
    rows = make_rows(3600)
    history.append(layout_in(history), rows)
    history.close()
    assert path.stat().st_size < len(rows.tobytes()) / 3
