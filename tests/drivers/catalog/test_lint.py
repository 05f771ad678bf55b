"""What the catalog's lint finds: one small mistake a row."""

from pathlib import Path

import pytest

from drivers.catalog.lint import lint
from drivers.catalog.loader import read_product
from drivers.modbus.busload import BusLoad
from models.errors import Problem

GOOD = """
vendor = "Acme"
product = "X"
kind = "pcs"
protocol = "modbus"
source = ["a manual"]
tested_on = "drivers/simulator"
points = [
  { name = "p_kw", role = "p_kw", symbol = "kW", poll = "fast", fn = 3, address = 1, type = "i16", scale = 0.1, range = [-100, 100] },
  { name = "p_set_kw", role = "p_set_kw", symbol = "kW", fn = 3, address = 9, type = "i16", scale = 0.1, range = [-100, 100] },
  { name = "fault_word", poll = "fast", fn = 3, address = 2, type = "u16", alarm_bits = { 0 = ["STOP", "hot"] } },
  { name = "alarm_level", role = "alarm_level", poll = "fast", worst = ["fault_word"] },
]
[link]
transports = ["rtu"]
[write]
set = [{ fn = 6, address = 9, type = "i16", scale = 0.1, value = "p_kw" }]
readback = "p_set_kw"
refresh_s = 1.0
expires_s = 3.0
"""  # noqa: E501  an inline table of TOML is one line

ROWS = [
    # what is replaced, by what, severity, what the finding says
    ('source = ["a manual"]', 'source = [" "]', "error", "where the map is from"),
    ('tested_on = "drivers/simulator"', 'tested_on = " "', "error", "on what it was tested"),
    ('vendor = "Acme"', 'vendor = "A\\u0007cme"', "error", "cannot be printed"),
    ('"kW", poll = "fast"', '"W", poll = "fast"', "error", "role p_kw is in kW, not 'W'"),
    ("scale = 0.1, range = [-100, 100] },\n  { name", "scale = 0.1 },\n  { name", "error", "without a range"),
    ("range = [-100, 100] },\n  { name", "range = [0, 100] },\n  { name", "error", "both ways"),
    ('address = 1, type = "i16"', 'address = 1, type = "u16"', "error", "in which direction"),
    ('address = 1, type = "i16"', 'address = 1, type = "i32"', "error", "in two ways"),
    ("address = 2,", "address = 9,", "error", "in two ways"),
    ("address = 1,", "address = 9,", "error", "both are register 9"),
    ('"hot"', '""', "error", "cannot be printed"),
    (', alarm_bits = { 0 = ["STOP", "hot"] }', "", "warning", "have no levels"),
    ('transports = ["rtu"]', "holes = [{ fn = 3, first = 0, last = 1 }]", "error", "lies in the hole 0 to 1"),
    ('["rtu"]', '["rtu"]\n[poll]\nfast = { period_s = 0.02, max_age_s = 0.03 }', "error", "become too old"),
    ('readback = "p_set_kw"', "", "warning", "nothing shows what was written"),
    ("expires_s = 3.0", "", "warning", "no dead-man time"),
    ("expires_s = 3.0", "expires_s = 1.5", "error", "one loss is too much"),
    ("expires_s = 3.0", 'expires_s = 3.0\nclamp = { charge = "fault_word" }', "error", "held against it"),
    ('role = "p_kw", symbol', "symbol", "error", "shows no power"),
]  # fmt: skip


def found(tmp_path: Path, text: str) -> list[Problem]:
    path = tmp_path / "x.toml"
    path.write_text(text)
    return lint(read_product(path, "acme/x"))


def test_a_good_product_has_no_findings(tmp_path: Path) -> None:
    assert found(tmp_path, GOOD) == []


@pytest.mark.parametrize(("old", "new", "severity", "what"), ROWS)
def test_each_mistake_is_found(tmp_path: Path, old: str, new: str, severity: str, what: str) -> None:
    assert old in GOOD
    problems = [p for p in found(tmp_path, GOOD.replace(old, new, 1)) if what in p.what]
    assert problems, found(tmp_path, GOOD.replace(old, new, 1))
    assert {p.severity for p in problems} == {severity}
    assert all(p.do and p.where.startswith("acme/x: ") for p in problems)


def test_an_alarm_that_nobody_understands_forbids_control(tmp_path: Path) -> None:
    level = '  { name = "alarm_level", role = "alarm_level", poll = "fast", worst = ["fault_word"] },\n'
    text = GOOD.replace(level, "").replace(', alarm_bits = { 0 = ["STOP", "hot"] }', "")
    severities = {p.what: p.severity for p in found(tmp_path, text)}
    assert severities["an alarm that nobody understands, on a product that takes setpoints"] == "error"
    assert severities["it takes setpoints but shows no alarm level"] == "warning"


def test_a_busy_line_is_worth_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.catalog.lint.load_of", lambda *_: BusLoad(0.9, 1.0, {}, ()))
    (problem,) = found(tmp_path, GOOD)
    assert (problem.severity, problem.what) == ("warning", "its points take 90% of a line of 9600 baud")


def test_errors_come_first(tmp_path: Path) -> None:
    text = GOOD.replace("expires_s = 3.0", "expires_s = 1.5").replace('readback = "p_set_kw"', "")
    assert [p.severity for p in found(tmp_path, text)] == ["error", "warning"]
