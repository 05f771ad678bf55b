"""``edge catalog``: list, show, lint and import."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drivers.catalog.loader import known_products, read_product
from edge.cli import program
from models.answer import Exit

TABLE = "地址,名称,数据类型,单位,系数,功能码\n0,电池SOC,U16,%,0.1,4\n1,总电压,U16,V,0.1,4\n2,坏行,BCD,,,4\n"


def run(*words: str, lang: str = "en") -> Result:
    return CliRunner().invoke(program, ["--lang", lang, "catalog", *words])


def answer(result: Result) -> dict[str, Any]:
    (line,) = result.stdout.splitlines()
    envelope: dict[str, Any] = json.loads(line)
    return envelope


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "table.csv"
    path.write_text(TABLE, "utf-8")
    return path


def test_list_shows_every_product() -> None:
    rows = answer(run("list", "--json"))["data"]
    assert [row["key"] for row in rows] == list(known_products())
    assert {row["key"]: row["takes_setpoints"] for row in rows}["sinexcel/pcs"]
    text = run("list", "sungrow").stdout
    assert text.count("\n") == 4
    assert "sungrow/sh_hybrid" in text


def test_without_a_verb_it_lists() -> None:
    assert run().stdout == run("list").stdout
    assert answer(run("--json"))["schema"] == "edge.catalog.list/1"


def test_nothing_that_matches_is_an_answer_too() -> None:
    result = run("list", "nobody")
    assert (result.exit_code, result.stdout) == (Exit.NO, "")
    assert "no product matches 'nobody'" in result.stderr
    assert answer(run("list", "nobody", "--json"))["ok"] is False


def test_show_tells_what_a_product_is() -> None:
    text = run("show", "sungrow/sh_hybrid").stdout
    for part in (
        "SH series hybrid inverter",
        "takes setpoints",
        "ratio(grid_p_l1_kw, grid_v_l1)",
        "4:13009",
        "magnitude",
    ):
        assert part in text
    assert "SunSpec 201:W" in run("show", "fronius/gen24").stdout
    assert "可控" in run("show", "sungrow/sh_hybrid", lang="zh").stdout
    assert answer(run("show", "eastron/sdm630", "--json"))["data"]["points"][0]["name"] == "v_l1"


def test_show_of_an_unknown_product() -> None:
    result = run("show", "nobody/nothing")
    assert result.exit_code == Exit.NO
    assert "edge catalog list" in result.stderr


def test_lint_of_a_product_with_warnings_is_no_failure() -> None:
    result = run("lint", "sungrow/sh_hybrid")
    assert result.exit_code == Exit.OK
    assert "warning: the device has no dead-man time" in result.stderr
    assert "1 product(s) checked." in result.stdout
    assert run("lint", "nobody").exit_code == Exit.NO


def test_lint_of_a_file_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "acme" / "x.toml"
    path.parent.mkdir()
    path.write_text(
        'vendor = "Acme"\nproduct = "X"\nkind = "meter"\nprotocol = "modbus"\nsource = "a manual"\n'
        'tested_on = "nothing"\npoints = [{ name = "p_kw", role = "p_kw", symbol = "W", fn = 3, address = 1, '
        'type = "i16", range = [-1, 1] }]\n'
    )
    result = run("lint", str(path), "--json")
    assert result.exit_code == Exit.CONFIG
    assert [p["code"] for p in answer(result)["problems"]] == ["CAT-006"]
    path.write_text("points = 3")
    assert run("lint", str(path)).exit_code == Exit.CONFIG


def test_import_makes_a_file_that_loads(table: Path) -> None:
    result = run("import", str(table), "--vendor", "Acme", "--product", "BMS 9", "--kind", "bms")
    assert result.exit_code == Exit.OK, result.output
    product = read_product(Path("acme/bms_9.toml"), "acme/bms_9")
    assert [spec.name for spec in product.points] == ["soc", "dc_v"]
    assert "2 points, 2 roles proposed for review, 1 lines left out" in result.stdout
    assert f"{table}:4  CAT-009  warning: data type 'BCD' is not known" in result.stderr


def test_import_in_json_and_gb18030(table: Path) -> None:
    table.write_bytes(TABLE.encode("gb18030"))
    out = table.parent / "a" / "b.toml"
    words = ("import", str(table), "--vendor", "某厂", "--product", "电池", "--kind", "bms", "--json")
    data = answer(run(*words, "--out", str(out)))
    assert (data["ok"], data["data"]["points"]) == (True, 2)
    assert data["data"]["roles"][0] == {"point": "soc", "role": "soc", "from": "电池SOC"}
    assert run(*words).exit_code == Exit.USAGE, "no file name can be made of Chinese names"


def test_import_replaces_nothing_unasked(table: Path) -> None:
    words = ("import", str(table), "--vendor", "Acme", "--product", "B", "--kind", "bms")
    assert run(*words).exit_code == Exit.OK
    again = run(*words)
    assert again.exit_code == Exit.USAGE
    assert "--force" in again.stderr
    assert run(*words, "--force").exit_code == Exit.OK


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "address,name,type\n1,x,BCD\n"])
def test_import_of_what_is_no_table(table: Path, text: str) -> None:
    table.write_text(text)
    result = run("import", str(table), "--vendor", "Acme", "--product", "B", "--kind", "bms")
    assert result.exit_code == Exit.CONFIG
    assert not Path("acme").exists()


def test_json_belongs_after_the_verb() -> None:
    assert run("--json", "list").exit_code == Exit.USAGE


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_help_in_both_languages(lang: str) -> None:
    text = run("--help", lang=lang).stdout
    assert {"en": "vendor's register table", "zh": "点表"}[lang] in text
    for name in ("list", "show", "lint", "import"):
        assert "--json" in run(name, "--help", lang=lang).stdout
