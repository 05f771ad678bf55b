"""``edge check`` tells every problem with its line, or shows the resulting site."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.cli import program
from edge.cli.common import cells
from edge.cli.init import demo_text, write_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    write_site(tmp_path, demo_text(), "demo")
    return tmp_path / "site.toml"


def run(*args: str, lang: str = "en") -> tuple[int, str, str]:
    result = CliRunner().invoke(program, ["--lang", lang, *args])
    return result.exit_code, result.stdout, result.stderr


def edit(site: Path, old: str, new: str) -> None:
    text = site.read_text("utf-8")
    assert old in text
    site.write_text(text.replace(old, new, 1), "utf-8")


def test_a_good_site_is_shown_with_limits_units_devices_and_points(site: Path) -> None:
    code, out, err = run("check", str(site))
    assert (code, err) == (0, "")
    for word in (
        "demo",
        "360",
        "battery-1",
        "grid",
        "pv-1",
        "yunchu/pcs100",
        "tcp://127.0.0.1:15020",
        "points.",
    ):
        assert word in out
    assert "\x1b" not in out


def test_chinese_columns_line_up(site: Path) -> None:
    code, out, _ = run("check", str(site), lang="zh")
    assert code == 0
    head, *rows = next(block for block in out.split("\n\n") if block.startswith("设备")).splitlines()
    column = cells(head[: head.index("链路")])
    assert all(cells(row[: row.index("://")].rpartition("  ")[0]) + 2 == column for row in rows)


def test_each_problem_has_its_source_line_and_a_caret_below_what_is_meant(site: Path) -> None:
    edit(site, "margin_kw = 3.0  ", "margin_kw = 3000.0")
    edit(site, "import_kw", "import_kW")
    code, out, err = run("check", str(site))
    assert (code, out) == (3, "")
    assert err == (
        f'{site}:12:1  CFG-010  error: the key "import_kW" is unknown\n'
        "   12 | import_kW = 360.0                   # most that may be drawn: contract demand\n"
        '      | ^^^^^^^^^  Did you mean "import_kw"?\n'
        "1 error(s), 0 warning(s). Nothing was changed.\n"
    )


def test_the_caret_stands_below_the_value_behind_chinese_text(site: Path) -> None:
    edit(site, 'name = "pcs-1"\nunit = "battery-1"', 'name = "pcs-1"\n"单元" = "battery-1"\nunit = 7')
    _, _, err = run("check", str(site), lang="zh")
    lines = err.splitlines()
    number = next(i for i, line in enumerate(lines) if '| "单元"' in line)
    assert lines[number + 1].startswith("      | ^^^^^^  ")


def test_a_syntax_error_is_shown_with_its_line_too(site: Path) -> None:
    edit(site, 'tenant = "demo"', "tenant = demo")
    edit(site, 'unit = "grid"', "unit = grid")
    code, _, err = run("check", str(site))
    assert code == 3
    assert "unit = grid\n      |        ^  A text needs quotes" in err


def test_json_carries_the_problems(site: Path) -> None:
    edit(site, "soc_min = 0.10", "soc_min = 0.99")
    code, out, err = run("check", str(site), "--json")
    answer = json.loads(out)
    assert (code, err, answer["ok"], answer["data"]) == (3, "", False, None)
    assert [problem["code"] for problem in answer["problems"]] == ["CFG-022"]


def test_json_carries_the_site(site: Path) -> None:
    code, out, _ = run("check", str(site), "--json")
    answer = json.loads(out)
    assert (code, answer["ok"], answer["problems"]) == (0, True, [])
    assert answer["data"]["limits"]["import_kw"] == 360
    assert [device["points"] > 0 for device in answer["data"]["devices"]] == [True] * 4


def test_a_warning_is_told_and_the_site_still_good(site: Path) -> None:
    edit(site, "import_kw = 360.0", "import_kw = 500.0")
    code, out, err = run("check", str(site))
    assert code == 0
    assert "CFG-040  warning" in err
    assert "500" in out


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    code, _, err = run("check", str(tmp_path / "none.toml"))
    assert code == 3
    assert "CFG-001" in err


def test_the_file_is_found_by_the_variable_and_in_the_working_folder(
    site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("YUNCHU_CONFIG", str(site))
    assert run("check")[0] == 0
    monkeypatch.delenv("YUNCHU_CONFIG")
    monkeypatch.chdir(tmp_path)
    assert run("check")[0] == 0


def test_the_schema_knows_every_table_and_forbids_the_rest() -> None:
    code, out, _ = run("check", "--schema")
    schema = json.loads(out)
    assert code == 0
    assert {"site", "limits", "battery", "device", "fleet"} <= schema["properties"].keys()
    assert all(table["additionalProperties"] is False for table in schema["$defs"].values())
