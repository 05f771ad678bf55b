"""Where a write by hand is recorded."""

import os
from pathlib import Path

import pytest

from edge.field import ledger
from models.errors import StoreError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return tmp_path / "home"


def test_the_site_keeps_it(tmp_path: Path) -> None:
    assert ledger(tmp_path / "run") == tmp_path / "run" / "events.jsonl"


def test_without_a_site_the_user_does(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ledger(None)
    assert path == home / ".local" / "state" / "yunchu" / "field.jsonl"
    assert path.exists()
    assert path.parent.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert ledger(None) == path, "the standard has it ignored"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert ledger(None) == tmp_path / "state" / "yunchu" / "field.jsonl"


def test_a_site_folder_that_cannot_be_written_is_no_excuse(home: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    assert ledger(tmp_path / "run").is_relative_to(home)


def test_without_any_place_it_is_an_error(home: Path, tmp_path: Path) -> None:
    home.write_text("a file")
    with pytest.raises(StoreError, match="cannot be recorded"):
        ledger(None)
    assert os.environ["HOME"] == str(home)
