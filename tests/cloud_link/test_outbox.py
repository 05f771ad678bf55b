import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_link import outbox
from cloud_link.outbox import FRESH_ROWS, LEAP, REMEMBER_EVERY, Outbox, Row
from models.errors import StoreError


def covered(box: Outbox) -> list[int]:
    return [n for row in box.after(0, 10_000) for n in range(row.first, row.number + 1)]


def test_reports_are_numbered_from_one_and_forgotten_when_confirmed(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db") as box:
        assert [box.add(b"%d" % n).number for n in range(1, 6)] == [1, 2, 3, 4, 5]
        assert box.confirm(3) == 3
        assert [(row.number, row.body) for row in box.after(0, 9)] == [(4, b"4"), (5, b"5")]
        assert (box.confirmed, box.backlog, box.newest) == (3, 2, 5)


@pytest.mark.parametrize("number", [-1, 0, 2, 3, 6, 2**60])
def test_a_confirmation_that_is_old_or_of_the_future_changes_nothing(tmp_path: Path, number: int) -> None:
    with Outbox(tmp_path / "outbox.db") as box:
        for _ in range(5):
            box.add(b"x")
        box.confirm(3)
        assert box.confirm(number) == 0
        assert (box.confirmed, box.backlog) == (3, 2)


def test_it_remembers_over_an_orderly_restart(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db") as box:
        for _ in range(7):
            box.add(b"x")
        box.confirm(2)
        box.remember("bd_seq", 7)
        epoch = box.epoch
    with Outbox(tmp_path / "outbox.db") as box:
        assert (box.epoch, box.confirmed, box.newest, box.backlog) == (epoch, 2, 7, 5)
        assert box.recall("bd_seq") == 7
        assert box.add(b"y") == Row(8, 8 + LEAP, b"y")
        assert box.add(b"z") == Row(9 + LEAP, 9 + LEAP, b"z")
        assert covered(box) == list(range(3, 10 + LEAP))


def test_two_crashes_in_a_row_do_not_give_a_number_twice(tmp_path: Path) -> None:
    given: list[int] = []
    for reports in (5, 1, 1):
        box = Outbox(tmp_path / "outbox.db")
        given += [box.add(b"x").number for _ in range(reports)]
        box._db.close()
    assert len(set(given)) == len(given)
    assert Outbox(tmp_path / "outbox.db").add(b"y").first == 6, "the row covers all that was skipped or lost"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0.0, 1.0)), min_size=1, max_size=5))
def test_whatever_a_crash_forgets_no_number_is_given_twice_and_none_is_missing(
    tmp_path: Path, lives: list[tuple[int, float]]
) -> None:
    """Each life adds some reports, has a share confirmed, and ends without a goodbye."""
    path = tmp_path / "crash.db"
    for old in tmp_path.glob("crash.db*"):
        old.unlink()
    given_numbers: set[int] = set()
    stored = 0
    for reports, share in lives:
        box = Outbox(path)
        known = [(row.first, row.number) for row in box.after(0, 10_000)]
        for _ in range(reports):
            row = box.add(b"x")
            known.append((row.first, row.number))
            assert row.number not in given_numbers
            given_numbers.add(row.number)
        assert all(
            first <= max(stored, number_before) + 1
            for number_before, (first, _) in zip(
                [stored, *(number for _, number in known)], known, strict=False
            )
        )
        upto = known[round(share * (len(known) - 1))][1] if known else 0
        box.confirm(upto)
        stored = max(stored, upto)
        box._db.close()


def test_a_healthy_link_does_not_touch_the_disk(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db") as box:
        for _ in range(REMEMBER_EVERY - 1):
            box.confirm(box.add(b"x").number)
        assert box.recall("confirmed") == 0
        box.confirm(box.add(b"x").number)
        assert box.recall("confirmed") == REMEMBER_EVERY
        box.add(b"y")
        assert [row.body for row in box.after(0, 9)] == [b"y"], "what is in memory counts"


def test_every_file_has_its_own_epoch(tmp_path: Path) -> None:
    with Outbox(tmp_path / "a.db") as a, Outbox(tmp_path / "b.db") as b:
        assert a.epoch != b.epoch and a.epoch > 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 40), max_size=12), st.integers(2, 30))
def test_a_full_store_thins_its_oldest_rows_and_counts_them(
    tmp_path: Path, confirms: list[int], max_rows: int
) -> None:
    """Whatever is added and confirmed: bounded, no number missing, and every loss counted."""
    path = tmp_path / "thin.db"
    path.unlink(missing_ok=True)
    with Outbox(path, max_rows) as box:
        made = gone = 0
        for ahead in [*confirms, 40]:
            for _ in range(20):
                box.add(b"x")
                made += 1
                assert box.backlog <= max_rows
            gone += box.confirm(min(box.newest, box.confirmed + ahead))
        rows = box.after(0, 10_000)
        assert len(rows) == box.backlog
        assert made == gone + box.backlog + box.dropped
        assert covered(box)[-1:] == ([made] if rows else [])
        tail = [n for n in covered(box) if n > box.confirmed]
        assert tail == list(range(box.confirmed + 1, made + 1))


def test_a_thinned_row_is_what_merge_makes_of_two(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", 3, lambda older, newer: older + newer) as box:
        for body in (b"a", b"b", b"c", b"d"):
            box.add(body)
        assert [row.body for row in box.after(0, 9)] == [b"ab", b"cd"]
        assert [(row.first, row.number) for row in box.after(0, 9)] == [(1, 2), (3, 4)]
        assert box.dropped == 2


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(StoreError, match=r"outbox\.db"):
        Outbox(tmp_path / "outbox.db")


def test_a_disk_that_refuses_costs_nothing_while_the_memory_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "FRESH_MAX", 20)
    with Outbox(tmp_path / "outbox.db") as box:
        other = sqlite3.connect(tmp_path / "outbox.db")
        other.execute("CREATE TRIGGER full BEFORE INSERT ON report BEGIN SELECT RAISE(ABORT, 'full'); END")
        other.commit()
        for _ in range(20):
            box.add(b"x")
        assert "full" in box.problem and (box.backlog, box.dropped) == (20, 0)
        for _ in range(10):
            box.add(b"x")
        assert (box.backlog, box.dropped) == (20, 10)
        assert box.confirm(5) == 0, "the first row stands for more than these"
        other.execute("DROP TRIGGER full")
        other.commit()
        other.close()
        for _ in range(FRESH_ROWS):
            box.add(b"y")
        assert box.problem == "" and covered(box) == list(range(1, 36))
