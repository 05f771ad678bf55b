"""The command line as a whole: light, bilingual, helpful when used wrongly, with documented exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import edge.cli
from edge.cli import EXIT_TEXTS, VERBS, common, program
from models.answer import Exit
from models.errors import BusyError, ConfigError, Problem, StoreError

ROOT = Path(__file__).parents[3]
HEAVY = (
    "numpy",
    "pydantic",
    "rich",
    "osqp",
    "scipy",
    "asyncua",
    "pymodbus",
    "paho",
    "sqlite_utils",
    "cryptography",
)


def run(*args: str, lang: str = "en") -> tuple[int, str, str]:
    result = CliRunner().invoke(program, ["--lang", lang, *args])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_help_imports_nothing_heavy_and_no_verb(lang: str) -> None:
    code = (
        "import sys; from edge.cli import program\n"
        f"try: program(['--lang', '{lang}', '--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & set(HEAVY)
    assert not {f"edge.cli.{verb}" for verb in VERBS} & set(done.stderr.split())
    assert all(verb in done.stdout for verb in VERBS)


def test_python_dash_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "yunchu")


def test_every_verb_has_a_line_in_both_languages_and_a_module_of_its_name() -> None:
    for name, (module, en, zh) in VERBS.items():
        assert module == f"edge.cli.{name}"
        assert en.endswith(".")
        assert zh.endswith("。")


def test_help_is_in_the_wanted_language() -> None:
    assert "退出码" in run("--help", lang="zh")[1]
    assert "Exit codes" in run("--help")[1]


def test_every_exit_code_is_documented() -> None:
    assert set(EXIT_TEXTS) == set(Exit)
    out = run("--help")[1]
    assert all(f"  {int(code)} " in out for code in Exit)


@pytest.mark.parametrize(
    ("wrong", "meant"), [("stauts", "status"), ("chek", "check"), ("point", "points"), ("hist", "history")]
)
def test_a_wrong_verb_gets_the_nearest_one(wrong: str, meant: str) -> None:
    code, _, err = run(wrong)
    assert code == 2
    assert f"Did you mean `{meant}`?" in err


def test_a_verb_that_is_like_nothing_gets_no_guess() -> None:
    code, _, err = run("zzzzzz")
    assert code == 2
    assert "Did you mean" not in err


@pytest.mark.parametrize("verb", ["init", "check"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_verb_help_has_an_example(verb: str, lang: str) -> None:
    code, out, _ = run(verb, "--help", lang=lang)
    assert code == 0
    assert f"  edge {verb}" in out
    assert ("示例" if lang == "zh" else "Examples") in out


def fake_verb(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command("check")
    @common.json_option
    def fake(as_json: bool) -> None:
        raise error

    monkeypatch.setattr(edge.cli.Verbs, "get_command", lambda *_: fake)


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (
            ConfigError([Problem("CFG-010", "f:1:1", "one", "do"), Problem("CFG-011", "f:2:1", "two", "do")]),
            3,
            "CFG",
        ),
        (BusyError("somebody else"), 75, "RUN-002"),
        (StoreError("the disk is full"), 1, "RUN-003"),
    ],
)
def test_errors_raised_on_purpose_end_as_problems_with_advice(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, exit_code: int, code: str
) -> None:
    fake_verb(monkeypatch, error)
    ended, out, err = run("check")
    assert (ended, out) == (exit_code, "")
    assert code in err
    assert "Traceback" not in err
    ended, out, err = run("check", "--json")
    answer = json.loads(out)
    assert (ended, err, answer["ok"], answer["schema"]) == (exit_code, "", False, "edge.check/1")
    assert answer["problems"]


def test_all_problems_of_a_configuration_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_verb(
        monkeypatch,
        ConfigError([Problem("CFG-010", "f:1:1", "one", "a"), Problem("CFG-011", "f:2:1", "two", "b")]),
    )
    assert run("check")[2].count("CFG-") == 2


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_verb(monkeypatch, ZeroDivisionError())
    assert isinstance(CliRunner().invoke(program, ["check"]).exception, ZeroDivisionError)


def test_table_lines_up_with_wide_characters() -> None:
    text = common.table(["名", "kW"], [["电池", 1.5], ["e\u0301x", 100]], right=[1])
    assert text.splitlines() == ["名     kW", "电池  1.5", "e\u0301x    100"]


def test_language_comes_from_the_option_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    monkeypatch.delenv("YUNCHU_LANG", raising=False)
    assert common.say("en", "zh") == "zh"
    monkeypatch.setenv("YUNCHU_LANG", "en")
    assert common.say("en", "zh") == "en"
    assert "退出码" in run("--help", lang="zh")[1]


def test_run_dir_is_taken_from_the_site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YUNCHU_RUN_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "xdg"))
    site = tmp_path / "site.toml"
    site.write_text('[site]\nname = "s"\n')
    folder = tmp_path / "xdg/yunchu/s"
    folder.mkdir(parents=True)
    (folder / "image").write_bytes(b"")
    assert common.find_run_dir(None, site) == folder
    assert common.find_run_dir(folder, tmp_path / "none.toml") == folder
    site.write_text('[site]\nname = "s"\nrun_dir = "here"\n')
    (tmp_path / "here").mkdir()
    (tmp_path / "here/image").write_bytes(b"")
    assert common.find_run_dir(None, site) == tmp_path / "here"


def test_without_a_running_site_the_command_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YUNCHU_RUN_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.exceptions.Exit) as raised:
        common.find_run_dir(None)
    assert raised.value.exit_code == Exit.NOT_RUNNING
    (tmp_path / "site.toml").write_text("[site\n")
    with pytest.raises(click.exceptions.Exit) as raised:
        common.find_run_dir(None)
    assert raised.value.exit_code == Exit.CONFIG
