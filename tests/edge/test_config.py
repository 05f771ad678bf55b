"""The site file: what is good becomes a SiteConfig, all that is wrong is told at once with its line."""

import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.catalog.loader import load_product
from edge.config import SiteConfig, load, loads
from edge.config_tables import TABLES
from edge.config_text import texts
from models.errors import ConfigError, Problem

ROOT = Path(__file__).parents[2]
DEMO = (ROOT / "examples/site-demo.toml").read_text("utf-8")

CORPUS = """\
config_version = 2                           # CFG-003
colour = "red"                               # CFG-010
[site]
name = "Site One"                            # CFG-015
time_zone = "Asia/Shangai"                   # CFG-027
stat_dir = "state"                           # CFG-010
[limits]
import_kw = "360"                            # CFG-013
export_kw = -1.0                             # CFG-012
transformer_kva = inf                        # CFG-014
ramp_kw_per_s = true                         # CFG-013
margin_kw = 3,5                              # CFG-002
margin_kw = 3.0
margin_kw = 4.0                              # CFG-002
[tariff]
file = "nowhere.toml"                        # CFG-028
[[battery]]
name = "battery-1"
p_max_kw = 0                                 # CFG-012
p_min_kw = 100.0                             # CFG-012
s_max_kva = nan                              # CFG-014
capacity_kwh = 215.0
soc_min = 10                                 # CFG-012
soc_max = 0.95
eff_charge = 95.0                            # CFG-012
eff_discharge = 0.95
wear_cny_per_kwh = [0.05]                    # CFG-013
[[battery]]
name = "battery-1"                           # CFG-020
p_max_kw = 120.0                             # CFG-022
p_min_kw = -100.0
s_max_kva = 110.0
capacity_kwh = 215.0
soc_min = 0.95                               # CFG-022
soc_max = 0.10
eff_charge = 0.95
eff_discharge = 0.95
wear_cny_per_kwh = 0.05
[meter]                                      # CFG-011
name = "grid"
[[device]]
name = "pcs-1"
unit = "batery-1"                            # CFG-021
product = "yunchu/pcs10"                     # CFG-024
link = "tcp://127.0.0.1:15020"
unit_id = 300                                # CFG-012
[[device]]
name = "bms-1"
unit = "battery"                             # CFG-021
product = "yunchu/bms215"
link = "rtu:///dev/ttyUSB0?baud=19201"       # CFG-025
[[device]]
name = "bms-1"                               # CFG-020
unit = "grid"
product = "eastron/sdm630"
link = "rtu:///dev/ttyUSB1"
[[device]]
name = "m-2"
unit = "grid"
product = "eastron/sdm630"
link = "rtu:///dev/ttyUSB1?baud=9600"        # CFG-026 CFG-030
[[device]]
name = "pv-1"
unit = "grid"
product = "yunchu/pv60_opcua"
link = "tcp://127.0.0.1:4840"                # CFG-025
[[device]]
name = "x y"                                 # CFG-015
unit = "grid"
link = 5                                     # CFG-013
product = "eastron/sdm630"
[cycle]
period_ms = 100.0                            # CFG-013
fifo_priority = 100                          # CFG-012
[fleet]                                      # CFG-011
broker = "http://example.org"                # CFG-029
tenant = "demo"
site_key = ""                                # CFG-028
"""
"""Every planted mistake, with the codes that must be reported for its line."""


def problems_of(text: str, check_files: bool = False) -> list[Problem]:
    with pytest.raises(ConfigError) as raised:
        loads(text, "site.toml", check_files=check_files, language="en")
    return raised.value.problems


def line_of(problem: Problem) -> int:
    return int(problem.where.split(":")[1])


def demo(**changes: str) -> str:
    """Return the demo file with the value of some keys replaced (the first of each name)."""
    text = DEMO
    for key, value in changes.items():
        text, count = re.subn(
            rf"(?m)^{key} = \S+( #.*)?", lambda _, k=key, v=value: f"{k} = {v}", text, count=1
        )
        assert count == 1, key
    return text


def good(text: str) -> SiteConfig:
    return loads(text, "site.toml", check_files=False)


def test_every_planted_mistake_is_reported_with_its_line_and_nothing_else_is(tmp_path: Path) -> None:
    planted = {
        (number, code)
        for number, line in enumerate(CORPUS.splitlines(), 1)
        for code in re.findall(r"CFG-\d+", line.partition("#")[2])
    }
    with pytest.raises(ConfigError) as raised:
        loads(CORPUS, tmp_path / "site.toml", language="en")
    found = {(line_of(problem), problem.code) for problem in raised.value.problems}
    assert len(planted) >= 35
    assert found == planted
    assert len(raised.value.problems) == len(planted), "each is told once"
    lines = [line_of(problem) for problem in raised.value.problems]
    assert lines == sorted(lines)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_problem_says_what_and_what_to_do_in_its_language(language: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loads(CORPUS, check_files=False, language=language)
    for problem in raised.value.problems:
        assert problem.what
        assert problem.do
        assert "cannot be used" not in problem.what, "an error type of pydantic without a text of ours"
        assert bool(re.search("[一-鿿]", problem.what + problem.do)) == (language == "zh")


def test_every_text_exists_in_both_languages() -> None:
    for text in (*texts("type").values(), *texts("rule").values(), *texts("syntax").values()):
        assert re.search("[一-鿿]", text.zh)
        assert re.search("[一-鿿]", text.do_zh)
        assert not re.search("[一-鿿]", text.en + text.do_en)
        assert sorted(re.findall(r"{\w+", text.en)) == sorted(re.findall(r"{\w+", text.zh)), text.en


def test_the_demo_is_good_and_all_its_values_arrive() -> None:
    config = good(DEMO)
    assert (config.name, config.time_zone, config.period_ms, config.fifo_priority) == (
        "demo",
        "Asia/Shanghai",
        100,
        None,
    )
    assert config.limits.import_kw == 360
    assert [b.capacity_kwh for b in config.batteries] == [215]
    assert [(d.name, d.unit) for d in config.devices] == [
        ("pcs-1", "battery-1"),
        ("bms-1", "battery-1"),
        ("meter-1", "grid"),
        ("pv-1", "pv-1"),
    ]
    assert config.fleet is not None
    assert config.text == DEMO
    assert config.warnings == ()


def test_the_demo_loads_from_its_own_text_without_any_file() -> None:
    again = loads(good(DEMO).text, "/nowhere/site.toml", check_files=False)
    assert again.state_dir == Path("/nowhere/state")


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = loads(
        demo(state_dir='"here"').replace('"keys/site.key"', '"/etc/key"'), "a/site.toml", check_files=False
    )
    assert config.state_dir == tmp_path / "a/here"
    assert config.tariff_file == tmp_path / "a/tariffs/jiangsu-2025.toml"
    assert config.fleet is not None
    assert config.fleet.site_key == Path("/etc/key")


def test_the_run_folder_comes_from_the_environment_then_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YUNCHU_RUN_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/xdg")
    assert good(DEMO).run_dir == Path("/xdg/yunchu/demo")
    assert good(DEMO.replace("[limits]", 'run_dir = "/r"\n[limits]')).run_dir == Path("/r")
    monkeypatch.setenv("YUNCHU_RUN_DIR", "/env")
    assert good(DEMO).run_dir == Path("/env")


def test_the_result_cannot_be_changed() -> None:
    config = good(DEMO)
    with pytest.raises(FrozenInstanceError):
        config.name = "x"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        config.limits.import_kw = 1.0


def _everywhere() -> list[str]:
    return ["", *(name for name in TABLES)]


@pytest.mark.parametrize("table", _everywhere())
def test_an_unknown_key_is_an_error_in_every_table(table: str) -> None:
    text = f"canary = 1\n{DEMO}"
    if table:
        head = next(h for h in (f"[[{table}]]\n", f"[{table}]") if h in DEMO)
        lines = DEMO.splitlines()
        number = next(i for i, line in enumerate(lines) if line.startswith(head.strip()))
        text = "\n".join([*lines[: number + 1], "canary = 1", *lines[number + 1 :]])
    problems = problems_of(text)
    assert [(p.code, text.splitlines()[line_of(p) - 1]) for p in problems] == [("CFG-010", "canary = 1")]


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("import_kw", '"100"', "CFG-013"),
        ("import_kw", "true", "CFG-013"),
        ("import_kw", "nan", "CFG-014"),
        ("import_kw", "-inf", "CFG-014"),
        ("import_kw", "0", "CFG-012"),
        ("import_kw", "1e9", "CFG-012"),
        ("import_kw", "1979-05-27", "CFG-013"),
        ("unit_id", "1.0", "CFG-013"),
        ("unit_id", "true", "CFG-013"),
        ("unit_id", "-1", "CFG-012"),
        ("unit_id", "256", "CFG-012"),
        ("soc_min", "-0.1", "CFG-012"),
        ("delay_s", "11", "CFG-012"),
        ("margin_kw", "360", "CFG-022"),
        ("period_ms", "10", "CFG-012"),
        ("config_version", "0", "CFG-003"),
        ("config_version", '"1"', "CFG-003"),
        ("state_dir", "5", "CFG-013"),
        ("time_zone", '""', "CFG-015"),
        ("time_zone", '"../etc/passwd"', "CFG-027"),
        ("broker", '"mqtt://user:secret@host:1883"', "CFG-029"),
        ("broker", '"mqtt://host"', "CFG-029"),
        ("broker", '"mqtts://host:8883"', "CFG-011"),
        ("link", '"tcp://127.0.0.1:0"', "CFG-025"),
        ("link", '"opc.tcp://127.0.0.1:4840"', "CFG-025"),
        ("link", '"rtu:///dev/tty\\u0000?baud=9600"', "CFG-025"),
        ("name", '"demo; rm -rf"', "CFG-015"),
        ("name", '"' + "a" * 100_000 + '"', "CFG-015"),
    ],
)
def test_one_wrong_value_is_one_problem_at_its_place(key: str, value: str, code: str) -> None:
    text = demo(**{key: value})
    (problem,) = problems_of(text)
    assert problem.code == code
    assert text.splitlines()[line_of(problem) - 1].startswith(f"{key} = ")
    assert int(problem.where.split(":")[2]) == len(f"{key} = ") + 1
    assert len(problem.what) < 400
    assert "secret" not in problem.where


@pytest.mark.parametrize(
    ("sentence", "old", "new", "line", "code"),
    [
        ("a missing table", "[meter]  ", "[pv2]  ", None, "CFG-010"),
        ("one [battery] instead of a list", "[[battery]]", "[battery]", "[battery]", "CFG-013"),
        ("a list [[meter]] instead of one", "[meter]", "[[meter]]", "[[meter]]", "CFG-013"),
        ("a key at the wrong place", "[limits] ", "cycle_ms = 1\n[limits] ", "cycle_ms = 1", "CFG-010"),
        ("a key of another table", "[limits] ", "import_kw = 1\n[limits] ", "import_kw = 1", "CFG-010"),
        ("a battery without BMS", "yunchu/bms215", "yunchu/pcs100", 'name = "battery-1"', "CFG-023"),
        ("a meter that is not read", "eastron/sdm630", "yunchu/bms215", 'unit = "grid"', "CFG-044"),
        ("a unit name twice", 'name = "pv-1"\np_max', 'name = "grid"\np_max', 'name = "grid"', "CFG-020"),
        ("a key twice", "export_kw = 0.0 ", "export_kw = 1\nexport_kw = 0.0 ", "export_kw = 0.0", "CFG-002"),
        ("a table twice", "[tariff]", "[limits]\n[tariff]", "[limits]", "CFG-002"),
        ("a text without end", 'unit = "grid"', 'unit = "grid', 'unit = "grid', "CFG-002"),
        ("a text without quotes", 'unit = "grid"', "unit = grid", "unit = grid", "CFG-002"),
        ("no equals sign", "export_kw = 0.0", "export_kw 0.0", "export_kw 0.0", "CFG-002"),
    ],
)  # fmt: skip
def test_wrong_shapes(sentence: str, old: str, new: str, line: str | None, code: str) -> None:
    text = DEMO.replace(old, new, 1)
    assert text != DEMO
    found = [(p.code, text.splitlines()[line_of(p) - 1]) for p in problems_of(text)]
    assert any(c == code and (line is None or source.startswith(line)) for c, source in found), found


def test_a_misspelt_key_is_not_also_reported_as_missing() -> None:
    (problem,) = problems_of(DEMO.replace("import_kw =", "import_kW =", 1))
    assert problem.code == "CFG-010"
    assert 'Did you mean "import_kw"?' in problem.do


def test_a_key_of_another_table_is_sent_home() -> None:
    (problem,) = problems_of(DEMO.replace("[limits] ", "import_kw = 1\n[limits] ", 1))
    assert problem.do == "It belongs to [limits]."


def test_more_import_than_transformer_is_only_a_warning() -> None:
    (warning,) = good(demo(import_kw="500.0")).warnings
    assert (warning.severity, warning.code) == ("warning", "CFG-040")


def test_a_device_name_may_be_chinese() -> None:
    assert good(DEMO.replace('name = "pcs-1"', 'name = "变流器-1"')).devices[0].name == "变流器-1"


def test_an_empty_file_lists_what_it_needs() -> None:
    problems = problems_of("")
    assert {p.code for p in problems} == {"CFG-011"}
    assert len(problems) == 7


NO_DATA = re.sub(r"(?m)^load_csv.*\n", "", DEMO.split("[fleet]")[0])
"""The demo without the fleet and without measured load: only the tariff file is left to be missing."""


def test_problems_of_the_tariff_file_keep_their_own_place(tmp_path: Path) -> None:
    (tmp_path / "tariffs").mkdir()
    (tmp_path / "tariffs/jiangsu-2025.toml").write_text("format = 7\n")
    with pytest.raises(ConfigError) as raised:
        loads(NO_DATA, tmp_path / "site.toml")
    assert all("jiangsu-2025.toml" in problem.where for problem in raised.value.problems)
    assert raised.value.problems[0].code.startswith("TAR-")


def test_a_tariff_file_that_is_no_utf8_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "tariffs").mkdir()
    (tmp_path / "tariffs/jiangsu-2025.toml").write_bytes("name = '江苏'".encode("gbk"))
    with pytest.raises(ConfigError) as raised:
        loads(NO_DATA, tmp_path / "site.toml")
    assert [problem.code for problem in raised.value.problems] == ["CFG-028"]


def test_two_devices_for_one_part_are_a_problem() -> None:
    pcs = DEMO.split("[[device]]")[1]
    second = pcs.replace("pcs-1", "pcs-2").replace("15020", "15021")
    (problem,) = problems_of(DEMO.replace("[[device]]", f"[[device]]{second}[[device]]", 1))
    assert problem.code == "CFG-023"
    assert problem.what == '2 devices are the PCS of "battery-1"'


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"name = '\xc4\xe3'", b"x" * 1_000_001], ids=["utf16", "gbk", "huge"]
)
def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "site.toml").write_bytes(data)
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "site.toml")
    assert [problem.code for problem in raised.value.problems] == ["CFG-001"]


def test_a_file_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "site.toml")
    assert [problem.code for problem in raised.value.problems] == ["CFG-001"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_to_the_file_ends_in_anything_but_problems(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(DEMO)))
    cut = data.draw(st.integers(0, 40))
    junk = data.draw(st.text("[]{}=\"'#,.\n\r\\ a0-+TZ:é中\x00", max_size=6))
    text = DEMO[:at] + junk + DEMO[at + cut :]
    try:
        loads(text, check_files=False)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert 1 <= line_of(problem) <= len(text.split("\n"))


@pytest.mark.parametrize("unit_id", [0, 248])
def test_a_serial_line_has_no_unit_of_that_number(unit_id: int) -> None:
    (problem,) = problems_of(f"unit_id = {unit_id}".join(DEMO.rsplit("unit_id = 1", 1)))
    assert problem.code == "CFG-012"
    assert "serial" in problem.what


def test_a_site_brings_its_own_product_file(tmp_path: Path) -> None:
    """The path starts at the site file; what is wrong with the product is told at its key."""
    source = (Path(__file__).parents[2] / "drivers/catalog/yunchu/pcs100.toml").read_text()
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog/own.toml").write_text(source)
    text = DEMO.replace('"yunchu/pcs100"', '"catalog/own.toml"')
    site = loads(text, tmp_path / "site.toml", check_files=False)
    assert site.devices[0].product == str(tmp_path / "catalog/own.toml")
    (tmp_path / "catalog/other.toml").write_text(source.replace("scale = 0.1", "scale = 0", 1))
    with pytest.raises(ConfigError) as raised:
        loads(text.replace("own.toml", "other.toml"), tmp_path / "site.toml", check_files=False)
    assert "a scale of 0" in str(raised.value)


PCS = 'product = "yunchu/pcs100"\nlink = "tcp://127.0.0.1:15020"\nunit_id = 1\n'
TTY = "rtu:///tmp/yunchu-demo/tty-meter?baud=19200&parity=N&stop=1"
METER = f'product = "eastron/sdm630"\nlink = "{TTY}"\nunit_id = 1\n'
METER_DEVICE = f'[[device]]\nname = "meter-1"\nunit = "grid"\n{METER}'
PV = 'product = "yunchu/pv60_opcua"\nlink = "opc.tcp://127.0.0.1:14840/pv/"\n'
PV_DEVICE = f'[[device]]\nname = "pv-1"\nunit = "pv-1"\n{PV}'


def device(name: str, unit: str, product: str, link: str = "tcp://127.0.0.1:15029", more: str = "") -> str:
    return f'[[device]]\nname = "{name}"\nunit = {unit}\nproduct = "{product}"\nlink = "{link}"\n{more}\n'


SECOND_METER = '\n[[pv]]\nname = "pv-2"\np_max_kw = 9.0\n' + device(
    "pv-2", '"pv-2"', "goodwe/dt", "tcp://localhost:15020", "unit_id = 1"
)
SH = "sungrow/sh_hybrid"
WRONG_UNIT_OR_PLACE = [
    # what is wrong, what is replaced, by what, the line and the code of the only problem
    ("PV as the meter", METER, METER.replace("eastron/sdm630", "goodwe/dt"), 'unit = "grid"', "CFG-044"),
    ("a PCS as a meter", METER, METER.replace("eastron/sdm630", "sinexcel/pcs"), 'unit = "grid"', "CFG-044"),
    (
        "a meter as PV",
        PV,
        'product = "eastron/sdm630"\nlink = "tcp://127.0.0.1:15022"\n',
        'unit = "pv-1"',
        "CFG-044",
    ),
    (
        "a battery part as the meter",
        METER_DEVICE,
        device("hy", '{ battery = "grid" }', SH),
        'unit = { battery = "grid" }',
        "CFG-044",
    ),
    (
        "a PV part as the meter",
        METER_DEVICE,
        device("hy", '{ pv = "grid" }', SH),
        'unit = { pv = "grid" }',
        "CFG-044",
    ),
    (
        "two parts for the meter",
        METER_DEVICE,
        device("hy", '{ grid = "grid", battery = "grid" }', SH),
        'unit = { grid = "grid", battery = "grid" }',
        "CFG-044",
    ),
    (
        "two parts for a battery",
        PV_DEVICE,
        PV_DEVICE + device("hy", '{ battery = "battery-1", grid = "battery-1" }', SH),
        'unit = { battery = "battery-1", grid = "battery-1" }',
        "CFG-044",
    ),
    (
        "a grid part beside the devices of a battery",
        PV_DEVICE,
        PV_DEVICE + device("hy", '{ grid = "battery-1" }', SH),
        'unit = { grid = "battery-1" }',
        "CFG-044",
    ),
    (
        "a device that gives its battery nothing",
        PV_DEVICE,
        PV_DEVICE + device("b2", '"battery-1"', "sma/sunny_boy_storage"),
        'unit = "battery-1"',
        "CFG-044",
    ),
    ("one station under two names", PV_DEVICE, PV_DEVICE + SECOND_METER, "unit_id = 1", "CFG-026"),
    (
        "one line under two names",
        PV_DEVICE,
        PV_DEVICE + SECOND_METER.replace("unit_id = 1", "unit_id = 2").replace("localhost", "[::1]"),
        'link = "tcp://[::1]:15020"',
        "CFG-030",
    ),
    (
        "a serial port under two paths",
        METER,
        METER.replace("/tmp/yunchu-demo/tty-meter", "/tmp/yunchu-demo/../yunchu-demo/tty-bms"),
        "unit_id = 1",
        "CFG-026",
    ),
    (
        "unit 0 behind a serial server",
        PCS,
        PCS.replace("tcp:", "rtu+tcp:").replace("_id = 1", "_id = 0"),
        "unit_id = 0",
        "CFG-012",
    ),
    ("a ratio that nothing uses", METER, METER + "ct_ratio = 40.0\n", "ct_ratio = 40.0", "CFG-045"),
    ("another such ratio", PCS, PCS + "vt_ratio = 10.0\n", "vt_ratio = 10.0", "CFG-045"),
    ("security without OPC UA", PCS, PCS + 'security = "sign"\n', 'security = "sign"', "CFG-045"),
    ("a user without OPC UA", PCS, PCS + 'username = "a"\n', 'username = "a"', "CFG-045"),
    ("a key without OPC UA", METER, METER + 'server_cert_file = "a"\n', 'server_cert_file = "a"', "CFG-045"),
    ("on_loss of a meter", METER, METER + 'on_loss = "zero"\n', 'on_loss = "zero"', "CFG-046"),
    ("on_loss of an OPC UA device", PV, PV + 'on_loss = "zero"\n', 'on_loss = "zero"', "CFG-046"),
    ("a release that there is not", PCS, PCS + 'on_loss = "release"\n', 'on_loss = "release"', "CFG-046"),
    (
        "a timer that there is not",
        METER_DEVICE,
        device("hy", '{ grid = "grid", battery = "battery-1" }', SH, more='on_loss = "device"'),
        'on_loss = "device"',
        "CFG-046",
    ),
    (
        "on_loss where the part that takes setpoints serves nothing",
        METER_DEVICE,
        device("hy", '{ grid = "grid" }', SH, more='on_loss = "zero"'),
        'on_loss = "zero"',
        "CFG-046",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "old", "new", "line", "code"), WRONG_UNIT_OR_PLACE, ids=[row[0] for row in WRONG_UNIT_OR_PLACE]
)
def test_a_device_that_would_be_taken_for_another_is_refused(
    why: str, old: str, new: str, line: str, code: str
) -> None:
    text = DEMO.replace(old, new, 1)
    assert text != DEMO
    found = [(p.code, text.splitlines()[line_of(p) - 1]) for p in problems_of(text)]
    if why == "a timer that there is not":  # the battery then has two PCS besides
        found = [one for one in found if one[0] != "CFG-023"]
    assert found == [(code, line)]


def test_a_hybrid_serves_three_units_by_their_parts() -> None:
    parts = '{ grid = "grid", pv = "pv-1" }'
    config = good(DEMO.replace(METER_DEVICE, "").replace(PV_DEVICE, device("hy", parts, SH)))
    assert config.devices[-1].units == ("grid", "pv-1")


def test_two_meters_of_one_serial_line_differ_by_their_addresses() -> None:
    link = "dlt645:///dev/ttyUSB0?baud=2400&parity=E&stop=1"
    meter = DEMO.replace(
        METER_DEVICE, device("m", '"grid"', "dlt645/three_phase", link, 'address = "000000000001"')
    )
    (problem,) = problems_of(
        meter + device("n", '"grid"', "dlt645/three_phase", link, 'address = "000000000002"')
    )
    assert problem.code == "CFG-023", "two meters, but of two addresses"
    codes = {
        p.code
        for p in problems_of(
            meter + device("n", '"grid"', "dlt645/three_phase", link, 'address = "000000000001"')
        )
    }
    assert codes == {"CFG-023", "CFG-026"}
    assert (
        good(meter.replace('address = "000000000001"', 'address = "000000000001"\nct_ratio = 40.0')).warnings
        == ()
    )


def test_a_unit_id_left_out_is_that_of_the_product() -> None:
    """The factory setting of the catalog, not 1: an answer of unit 1 would be another device's."""
    config = good(
        DEMO.replace(PCS, 'product = "foxess/h3"\nlink = "tcp://127.0.0.1:15020"\n').replace(
            'name = "pcs-1"\nunit = "battery-1"', 'name = "pcs-1"\nunit = { battery = "battery-1" }'
        )
    )
    assert config.devices[0].unit_id is None
    assert config.devices[0].station(load_product("foxess/h3").link.unit_id) == 247
    second = device("m2", '"grid"', "carlo_gavazzi/em24_e1", "tcp://127.0.0.1:15020", "unit_id = 247")
    text = config.text.replace(METER_DEVICE, second)
    assert [p.code for p in problems_of(text)] == ["CFG-026"]


def test_a_transport_that_the_product_is_not_known_on_is_a_warning() -> None:
    (warning,) = good(DEMO.replace(METER, METER.replace("eastron/sdm630", "sma/home_manager"))).warnings
    assert (warning.severity, warning.code) == ("warning", "CFG-040")
    assert "tcp" in warning.what
    through = METER.replace(TTY, "rtu+tcp://h:1")
    assert good(DEMO.replace(METER, through.replace("eastron/sdm630", "siemens/pac2200"))).warnings == ()
