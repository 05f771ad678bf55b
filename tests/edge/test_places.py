"""The run folder is for its user alone, also where everybody may make folders."""

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.cli import program
from edge.cli.init import demo_text
from edge.config import loads
from edge.controller import main as controller
from edge.places import make_run_dir
from edge.services import main as services
from models.errors import StoreError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_this_user_alone_with_what_is_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "yunchu-0" / "demo"
    make_run_dir(folder)
    make_run_dir(folder)
    assert mode(folder) == mode(folder.parent) == 0o700


def test_one_that_is_there_keeps_its_readers_but_no_other_writers(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for before, after in [(0o750, 0o750), (0o777, 0o755)]:
        folder.chmod(before)
        make_run_dir(folder)
        assert mode(folder) == after


def test_one_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 65_533)
    with pytest.raises(StoreError, match=r"belongs to user .*; remove it"):
        make_run_dir(folder)


@pytest.mark.parametrize("trap", ["folder", "link"])
def test_a_place_that_another_user_prepared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    tmp_path.chmod(0o1777)
    prepared = tmp_path / "yunchu-0"
    if trap == "folder":
        prepared.mkdir()
    else:
        (tmp_path / "elsewhere").mkdir()
        prepared.symlink_to(tmp_path / "elsewhere")
    real = Path.lstat

    class Theirs:
        st_uid = 65_533

    monkeypatch.setattr(Path, "lstat", lambda path: Theirs() if path == prepared else real(path))
    with pytest.raises(StoreError, match="65533"):
        make_run_dir(prepared / "demo")


def test_one_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--run-dir"):
        make_run_dir(tmp_path / "file" / "demo")


@pytest.mark.parametrize("verb", ["run", "services", "up"])
def test_every_verb_that_makes_it_refuses_one_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    site = tmp_path / "site.toml"
    site.write_text(demo_text())
    for module in (controller, services):
        monkeypatch.setattr(module, "load", lambda _: loads(demo_text(), check_files=False))
    monkeypatch.setattr(os, "getuid", lambda: 65_533)
    asked = [verb, "--config", str(site), "--run-dir", str(folder)]
    result = CliRunner().invoke(program, ["--lang", "en", *asked])
    assert result.exit_code == 1
    assert "RUN-003" in result.stderr and "belongs to user" in result.stderr
