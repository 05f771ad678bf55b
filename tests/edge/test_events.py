"""Events are lines that nothing may lose or break: not a full disk, not a strange character."""

from pathlib import Path

import pytest

from edge.events import Events, tail


def test_the_last_events_come_back_oldest_first(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl", "test")
    for number in range(5):
        events.emit("CODE", f"where-{number}", "储能 what")
    assert [event["where"] for event in tail(tmp_path / "events.jsonl", 2)] == ["where-3", "where-4"]
    assert tail(tmp_path / "events.jsonl", 1)[0]["what"] == "储能 what"


def test_a_torn_line_hides_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"code": "A"}\n{"code": "B", "wh\n\xff\xfe\n[1]\n{"code": "C"}\n{"code')
    assert [event["code"] for event in tail(path, 10)] == ["A", "C"]


def test_half_a_character_does_not_disturb_the_caller(tmp_path: Path) -> None:
    Events(tmp_path / "events.jsonl", "test").emit("CODE", "\ud800", "what")
    assert len(tail(tmp_path / "events.jsonl", 10)) == 1


def test_a_folder_that_cannot_be_written_does_not_disturb_the_caller(tmp_path: Path) -> None:
    Events(tmp_path / "missing" / "events.jsonl", "test").emit("CODE", "where", "what")
    assert tail(tmp_path / "missing" / "events.jsonl", 10) == []


def test_a_long_file_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.events.MAX_BYTES", 100)
    events = Events(tmp_path / "events.jsonl", "test")
    events.emit("CODE", "first", "x" * 100)
    events.emit("CODE", "second", "what")
    assert [event["where"] for event in tail(tmp_path / "events.jsonl", 9)] == ["second"]
    assert [event["where"] for event in tail(tmp_path / "events.previous", 9)] == ["first"]
