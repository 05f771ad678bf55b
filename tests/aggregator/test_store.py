"""The store: what survives, and what it says when it cannot work."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.problems import TEXTS, FleetStoreError, Refusal, problem
from aggregator.rows import AckRow, CommandRow, ReportRow, SiteRow
from aggregator.store import KEEP_MS, MIGRATIONS, TRIM_ROWS, Store
from models.errors import BusyError

SITE = SiteRow("demo", "online", 3, 10, 20, 7, 5, 6, 1, 2)


def report(number: int | None, first: int | None = None, t_ms: int = 1000) -> ReportRow:
    return ReportRow("demo", 7, first or number, number, t_ms, 2000, False, 1, b"body")


def command(seq: int, stage: str = "sent", identity: str = "") -> CommandRow:
    return CommandRow(
        identity or f"C{seq}", "demo", seq, "setpoint", 40.0, 0, 99, stage, "", None, seq, seq, b"raw"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "fleet.db"


def test_everything_is_there_after_a_restart(path: Path) -> None:
    with Store.serve(path) as store, store.transaction():
        store.put_sites([SITE])
        store.put_latest([("demo", "", 5, True, '{"site/lo_kw": [-50.0, 3, 5]}')])
        store.put_reports([report(1), report(None), report(None)])
        names = store.names_id("demo", "[]")
        store.put_command(command(store.next_seq("demo")))
        store.put_ack(AckRow("C1", "received", "", 1, 2, None, ""))
    with Store.serve(path) as store:
        assert store.sites() == [SITE]
        assert store.latest("demo") == {"": {"site/lo_kw": (-50.0, 3, 5)}}
        assert store.node_points() == {"demo": {"site/lo_kw": (-50.0, 3, 5)}}
        assert len(store.reports("demo")) == 3 and store.reports("demo")[-1] == report(1)
        assert store.names(names) == "[]"
        assert store.commands() == [command(1)]
        assert [ack.stage for ack in store.acks("C1")] == ["received"]
        with store.transaction():
            assert (store.next_seq("demo"), store.next_seq("other")) == (2, 1)


def test_a_report_is_stored_once_and_may_come_to_stand_for_more(path: Path) -> None:
    with Store.serve(path) as store:
        store.put_reports([report(5), report(5), report(6), report(5, first=2)])
        assert store.ranges_above("demo", 7, 0) == [(2, 5), (6, 6)]
        assert store.ranges_above("demo", 7, 5) == [(6, 6)]
        assert store.ranges_above("demo", 8, 0) == []


def test_a_transaction_that_fails_leaves_nothing(path: Path) -> None:
    with Store.serve(path) as store:
        with pytest.raises(RuntimeError), store.transaction():
            store.put_sites([SITE])
            store.next_seq("demo")
            raise RuntimeError
        assert store.sites() == []
        with store.transaction():
            assert store.next_seq("demo") == 1


def test_a_command_is_never_overwritten_by_another(path: Path) -> None:
    with Store.serve(path) as store:
        store.put_command(command(1))
        with pytest.raises(FleetStoreError), store.transaction():
            store.put_command(command(1, identity="other"))
        store.put_command(command(1, "accepted"))
        assert [row.stage for row in store.commands()] == ["accepted"]
        assert [row.id for row in store.commands_in(["accepted"])] == ["C1"]


def test_the_first_ack_of_a_stage_counts(path: Path) -> None:
    with Store.serve(path) as store:
        assert store.put_ack(AckRow("C1", "active", "", 1, 2, 39.0, ""))
        assert not store.put_ack(AckRow("C1", "active", "", 5, 6, 11.0, ""))
        assert [ack.actual_kw for ack in store.acks("C1")] == [39.0]


def test_orders_go_from_one_process_to_the_other(path: Path) -> None:
    with Store.serve(path) as server, Store.attach(path) as client:
        number = client.add_order("demo", 40.0, 20.0, True, 5)
        [order] = server.open_orders()
        assert (order.id, order.site, order.p_kw, order.clip, order.command_id) == (
            number,
            "demo",
            40.0,
            1,
            None,
        )
        server.order_sent(number, "C1", 30.0)
        assert server.open_orders() == []
        assert (client.order(number).command_id, client.order(number).sent_kw) == ("C1", 30.0)
        second = client.add_order("demo", 40.0, 20.0, False, 5)
        server.order_refused(second, Refusal("FLEET-020", "demo"))
        assert "FLEET-020" in str(client.order(second).refusal)


def test_what_is_too_old_goes_but_never_what_is_open_or_a_sequence(path: Path) -> None:
    with Store.serve(path) as store:
        store.put_sites([SITE])
        for stage in ("done", "sent", "done"):
            seq = store.next_seq("demo")
            store.put_command(command(seq, stage))
            store.put_ack(AckRow(f"C{seq}", "received", "", 1, seq, None, ""))
        store.put_reports([replace(report(n), received_ms=n) for n in (1, 2, 3)])
        for when in (1, 2, 3):
            store.order_sent(store.add_order("demo", 1.0, 1.0, False, when), "C1", 1.0)
        still_open = store.add_order("demo", 1.0, 1.0, False, 1)
        assert store.trim(KEEP_MS + 3, ["done"]) == 1 + 2 + 2
        assert store.trim(KEEP_MS + 3, ["done"]) == 0
        assert [row.id for row in store.commands()] == ["C3", "C2"]
        assert (store.acks("C1"), len(store.acks("C2"))) == ([], 1)
        assert [row.number for row in store.reports("demo")] == [3]
        assert [row.id for row in store.open_orders()] == [still_open]
        assert store.order(3).created_ms == 3
        assert store.sites() == [SITE] and store.next_seq("demo") == 4


def test_old_reports_go_in_small_batches(path: Path) -> None:
    with Store.serve(path) as store:
        with store.transaction():
            store.put_reports(report(n) for n in range(1, TRIM_ROWS + 3))
        assert [store.trim(2 * KEEP_MS, ["done"]) for _ in range(3)] == [TRIM_ROWS, 2, 0]


def test_a_store_of_the_version_before_is_taken_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("aggregator.store.MIGRATIONS", MIGRATIONS[:1])
        with Store.serve(path) as store:
            store.put_reports([report(1)])
    with Store.serve(path) as store:
        assert store.reports("demo") == [report(1)]
        asked: list[str] = []
        store._db.set_trace_callback(asked.append)
        store.trim(KEEP_MS, ["done"])
        store._db.set_trace_callback(None)
        plans = [str(store._rows(f"EXPLAIN QUERY PLAN {sql}")) for sql in asked if "_ms<" in sql]
    for table, plan in zip(("commands", "reports", "orders"), plans, strict=True):
        assert f"{table}_age" in plan, "what is old is found without looking at everything"


def test_a_server_is_alive_while_it_holds_the_lock_and_beats(path: Path) -> None:
    with Store.serve(path) as server:
        assert server.server(1000) == (False, False)
        server.beat(1, 1000, 0, True)
        with Store.attach(path) as client:
            assert client.server(1500) == (True, True)
            assert client.server(60_000) == (False, False)
    with Store.attach(path) as client:
        assert client.server(1500) == (False, False)


def test_one_server_a_store(path: Path) -> None:
    with Store.serve(path), pytest.raises(BusyError):
        Store.serve(path)
    Store.serve(path).close()


def code_of(error: pytest.ExceptionInfo[FleetStoreError]) -> str:
    return error.value.refusal.code


def test_a_store_that_is_not_there(path: Path) -> None:
    with pytest.raises(FleetStoreError) as error:
        Store.attach(path)
    assert code_of(error) == "FLEET-001" and "fleet serve" in str(error.value)


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_corrupt_store(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for open_store in (Store.serve, Store.attach):
        with pytest.raises(FleetStoreError) as error:
            open_store(path)
        assert code_of(error) == "FLEET-002" and "Move the file away" in str(error.value)


def test_a_locked_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.store.SERVER_BUSY_MS", 20)
    with Store.serve(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(FleetStoreError) as error, store.transaction():
            store.put_sites([SITE])
        other.close()
        assert code_of(error) == "FLEET-003"


def test_a_store_of_a_newer_program(path: Path) -> None:
    with Store.serve(path) as store, store.transaction():
        store._db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    for open_store in (Store.serve, Store.attach):
        with pytest.raises(FleetStoreError) as error:
            open_store(path)
        assert code_of(error) == "FLEET-005"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FleetStoreError) as error:
        Store.serve(tmp_path / "file" / "fleet.db")
    assert code_of(error) == "FLEET-004"


@pytest.mark.parametrize("code", TEXTS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_problem_has_its_words(code: str, language: str) -> None:
    values = {
        name: "1" for name in ("detail", "found", "known", "age_s", "asked", "lo_kw", "hi_kw", "waited_s")
    }
    found = problem(code, "here", language, stage="done", reason="x", **values)
    assert found.what and found.do and "{" not in found.what
