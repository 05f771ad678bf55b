"""The device catalog: what it gives to control, and what it refuses."""

import json
import tomllib
from pathlib import Path

import pytest

from drivers.catalog.loader import FOLDER, known_products, load_product, points_of, read_file, read_product
from drivers.catalog.schema import ProductFile
from models.errors import ConfigError
from models.point import AlarmLevel, Role, RunState

GOOD = """
vendor = "acme"
product = "X"
kind = "pcs"
protocol = "modbus"
source = "a manual"
tested_on = "nothing"
points = [
  { name = "p_kw", role = "p_kw", fn = 3, address = 1, type = "i16", scale = 0.1, poll = "fast" },
  { name = "state", role = "state", fn = 3, address = 2, type = "u16", poll = "normal", map = { 0x1 = "OFF" } },
]
[write]
set = [{ fn = 6, address = 9, type = "i16", scale = 0.1, value = "p_kw" }]
refresh_s = 1.0
[[prepare]]
name = "start"
write = { fn = 6, address = 10 }
value = 1
when = { point = "state", is = ["OFF"] }
"""  # noqa: E501  an inline table of TOML is one line


def read(tmp_path: Path, text: str):
    path = tmp_path / "x.toml"
    path.write_text(text)
    return read_product(path, "acme/x")


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return [str(problem) for problem in caught.value.problems]


def test_a_good_file_is_read_as_it_stands(tmp_path: Path) -> None:
    product = read(tmp_path, GOOD)
    assert [point.name for point in product.points] == ["p_kw", "state"]
    assert product.points[1].map == {1: RunState.OFF}
    assert product.write is not None
    assert product.write.rows[0].register.address == 9
    assert product.prepare[0].among == frozenset({float(RunState.OFF)})


FAULTS = [
    # what is replaced, by what, what the problem says
    ("scale = 0.1, poll", "scael = 0.1, poll", "Did you mean 'scale'?"),
    ("address = 1,", "", "address is missing"),
    ("address = 1,", "address = 70000,", "less than or equal to 65535"),
    ('role = "p_kw"', 'role = "p_kv"', "Did you mean 'p_kw'?"),
    ('type = "i16", scale = 0.1, poll', 'type = "int16", scale = 0.1, poll', "Did you mean 'i16'?"),
    ("fn = 3, address = 1,", "fn = 1, address = 1,", "function 1 does not read i16"),
    ('role = "state", fn', 'role = "state", di = "02030000", fn', "Keep exactly one"),
    ("[write]", "[poll]\nfast = { period_s = 5.0, max_age_s = 1.0 }\n[write]", "before it is read again"),
    (', map = { 0x1 = "OFF" }', "", "needs a map"),
    ('{ 0x1 = "OFF" }', '{ 0x1 = "OF" }', "'OF' is not known for role state"),
    ('{ 0x1 = "OFF" }', '{ one = "OFF" }', "valid integer"),
    ('poll = "fast"', 'poll = "fast", range = [5, -5]', "is not [lowest, highest]"),
    ('poll = "fast"', 'poll = "fast", na = "none"', "valid integer"),
    ('poll = "fast"', 'poll = "quick"', "'quick'"),
    ('poll = "fast"', 'poll = "fast", mask = 1', "bits of i16 cannot be picked"),
    ('poll = "fast"', 'poll = "fast", sign_by = { point = "dir", minus = [1] }', "there is no point 'dir'"),
    ('poll = "fast"', 'poll = "fast", scale_by = { point = "state", how = "tenth" }', "'tenth'"),
    ('poll = "fast"', 'poll = "fast", part = "battery"', "belongs to no part"),
    ('name = "state"', 'name = "p_kw"', "is there more than once"),
    ('role = "state"', 'role = "p_kw"', "role p_kw is there 2 times"),
    ("scale = 0.1, poll", "scale = 0, poll", "a scale of 0"),
    ("scale = 0.1, poll", "scale = { lv = 0.1 }, poll", "are not the variants"),
    ('protocol = "modbus"', 'protocol = "modbuss"', "Did you mean 'modbus'?"),
    ('protocol = "modbus"', 'protocol = "opcua"', "a product that speaks opcua has none"),
    ("fn = 6, address = 9, type", "fn = 5, address = 9, type", "function 5 does not write i16"),
    ('address = 9, type = "i16"', 'address = 9, type = "i32"', "function 6 does not write i32"),
    ('value = "p_kw" }', "value = 3 }", "none of the rows takes the power"),
    ('value = "p_kw" }', 'value = "p_kw", per = "p_max" }', "there is no point 'p_max'"),
    ("refresh_s = 1.0", "refresh = 1.0", "Did you mean 'refresh_s'?"),
    ("refresh_s = 1.0", "refresh_s = 1.0\nexpires_s = 0.5", "drops the setpoint before it is sent again"),
    ("refresh_s = 1.0", "refresh_s = 1.0\nmax_writes_per_day = 100000", "the refresh alone needs half"),
    ("refresh_s = 1.0", 'refresh_s = 1.0\nclamp = { charge = "limit" }', "there is no point 'limit'"),
    ('point = "state"', 'point = "stat"', "there is no point 'stat'"),
    ('is = ["OFF"]', 'is = ["OFFF"]', "is not a value of that point"),
    ('is = ["OFF"]', 'is = ["OFF"], not = ["OFF"]', "give either"),
    ("[write]", "[writ]", "Did you mean 'write'?"),
    ('source = "a manual"', "source = 3", "valid string"),
    ("[write]", "[link]\ntimeout_min_s = 2.0\n[write]", "above timeout_max_s"),
    ("when = {", "whenn = {", "Did you mean 'when'?"),
    ("points = [", "points = 3\nother = [", "valid list"),
    ("points = [", 'texts = [{ name = "sn" }]\npoints = [', "exactly one place"),
    ("points = [", "identity = [{}]\npoints = [", "a rule has exactly one key"),
    (
        '  { name = "state"',
        '  { name = "both", sum = ["p_kw", "state"] },\n  { name = "state"',
        "'state' is no point that stands before this one",
    ),
]


@pytest.mark.parametrize(("old", "new", "says"), FAULTS)
def test_a_fault_is_named_with_its_place_and_a_remedy(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new))
    assert any(says in problem for problem in found), found
    assert all(problem.startswith("acme/x") for problem in found)


SET = 'set = [{ fn = 6, address = 9, type = "i16", scale = 0.1, value = "p_kw" }]'
"""The line of GOOD that gives the setpoint."""
P_KW = SET[7:-1]
BY_SIGN = "{ fn = 6, address = 8, value = { charge = 1, discharge = 2, zero = 0 } }"
STATE = 'type = "u16", poll = "normal", map = { 0x1 = "OFF" } },'
CODES = 'alarm_codes = { 0 = ["NONE", "a"] } },'
WORD = STATE + '\n  { name = "word", fn = 3, address = 20, type = "u16"'

WRONG_PLACE_OR_DIRECTION = [
    # what is wrong, what is replaced, by what, what the problem says
    ("no direction", SET, 'set = [{ fn = 6, address = 9, value = "magnitude_kw" }]', "which way"),
    (
        "charge and discharge look alike",
        SET,
        f'set = [{BY_SIGN.replace("2", "1")}, {{ fn = 6, address = 9, value = "magnitude_kw" }}]',
        "which way",
    ),
    ("half a power", SET, 'set = [{ fn = 6, address = 9, value = "discharge_kw" }]', "which way"),
    (
        "two ways at once",
        SET,
        f'set = [{P_KW}, {{ fn = 6, address = 7, value = "charge_kw" }}]',
        "which way",
    ),
    ("the power twice in one register", SET, f"set = [{P_KW}, {P_KW}]", "written twice"),
    ("a mode over the power", SET, f"set = [{P_KW}, {{ fn = 6, address = 9, value = 1 }}]", "written twice"),
    (
        "two powers that overlap",
        SET,
        'set = [{ fn = 16, address = 9, type = "u32", value = "charge_kw" }, '
        '{ fn = 16, address = 10, type = "u32", value = "discharge_kw" }]',
        "written twice",
    ),
    ("no sign", SET, SET.replace("i16", "u16"), "does not fit into u16"),
    ("the sign of a register without type", SET, SET.replace('type = "i16", ', ""), "does not fit into u16"),
    (
        "a charge power that is never positive",
        SET,
        'set = [{ fn = 6, address = 9, scale = -0.1, value = "charge_kw" }, '
        '{ fn = 6, address = 7, value = "discharge_kw" }]',
        "does not fit into u16",
    ),
    ("an OPC UA node in Modbus", SET, 'set = [{ node = ["A"], value = "p_kw" }]', "speaks modbus has none"),
    (
        "an OPC UA node in what is prepared",
        "write = { fn = 6, address = 10 }",
        'write = { node = ["A"] }',
        "speaks modbus has none",
    ),
    (
        "a text at an OPC UA node",
        "points = [",
        'texts = [{ name = "sn", node = ["A"] }]\npoints = [',
        "speaks modbus has none",
    ),
    (
        "a scale that is not a power of ten",
        SET,
        SET.replace("value", 'scale_by = { point = "p_kw", how = "factor" }, value'),
        "power_of_ten",
    ),
    ("a constant too large", SET, f"set = [{P_KW}, {{ fn = 6, address = 8, value = 70000 }}]", "not fit"),
    ("half a count", SET, f"set = [{P_KW}, {{ fn = 6, address = 8, value = 0.5 }}]", "does not fit"),
    ("a code too large", SET, f"set = [{P_KW}, {BY_SIGN.replace('2', '65536')}]", "does not fit"),
    ("too large a value to prepare", "value = 1\n", "value = 70000\n", "does not fit"),
    ("too large a release", SET, f"{SET}\nrelease = [{{ fn = 6, address = 9, value = -1 }}]", "does not fit"),
    (
        "a heartbeat with a sign",
        SET,
        f'{SET}\nheartbeat = {{ fn = 6, address = 3, type = "i16" }}',
        "a heartbeat",
    ),
    (
        "a heartbeat in tenths",
        SET,
        f"{SET}\nheartbeat = {{ fn = 6, address = 3, scale = 0.1 }}",
        "a heartbeat",
    ),
    ("to all at once", SET, SET.replace("value", "unit_id = 0, value"), "every device"),
    (
        "prepare all at once",
        "write = { fn = 6, address = 10 }",
        "write = { fn = 6, address = 10, unit_id = 0 }",
        "every device",
    ),
    (
        "a written value past the end",
        SET,
        'set = [{ fn = 16, address = 65535, type = "f32", value = "p_kw" }]',
        "past the last register",
    ),
    (
        "a point past the end",
        'address = 1, type = "i16"',
        'address = 65535, type = "i32"',
        "past the last register",
    ),
    (
        "a text past the end",
        "points = [",
        'texts = [{ name = "sn", fn = 3, address = 65530, registers = 8 }]\npoints = [',
        "past the last register",
    ),
    (
        "alarm bits that a float cannot carry",
        STATE,
        WORD.replace('20, type = "u16"', '20, type = "u64", alarm_bits = { 0 = ["TRIP", "a"] } },'),
        "alarms of u64",
    ),
    (
        "alarms with a sign",
        STATE,
        WORD.replace('20, type = "u16"', '20, type = "i16"') + ", " + CODES,
        "alarms of i16",
    ),
    ("alarm codes in tenths", STATE, WORD + ', scale = 0.1, ' + CODES, "as it was read"),
    ("alarm codes moved", STATE, WORD + ', add = 1, ' + CODES, "as it was read"),
    ("alarm codes mapped", STATE, WORD + ', map = { 1 = 0 }, ' + CODES, "as it was read"),
    (
        "alarm codes with a sign of their own",
        STATE,
        WORD + ', sign_by = { point = "p_kw", minus = [1] }, ' + CODES,
        "as it was read",
    ),
    (
        "alarm bits that are not there",
        STATE,
        WORD + ', na = 1, alarm_bits = { 0 = ["TRIP", "a"] } },',
        "as it was read",
    ),
    ("a pattern that is never read", 'poll = "fast"', 'poll = "fast", na = "0x18000"', "beyond i16"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "old", "new", "says"),
    WRONG_PLACE_OR_DIRECTION,
    ids=[row[0] for row in WRONG_PLACE_OR_DIRECTION],
)
def test_what_would_move_power_the_wrong_way_is_refused(
    tmp_path: Path, why: str, old: str, new: str, says: str
) -> None:
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new))
    assert any(says in problem for problem in found), found
    assert len(found) == 1, "told once"


WAYS = [
    ("signed", SET),
    ("a float", SET.replace("fn = 6", "fn = 16").replace("i16", "f32")),
    (
        "a power each way",
        'set = [{ fn = 16, address = 9, type = "u32", value = "charge_kw" }, '
        '{ fn = 16, address = 11, type = "u32", value = "discharge_kw" }]',
    ),
    ("magnitude and direction", f'set = [{BY_SIGN}, {{ fn = 6, address = 9, value = "magnitude_kw" }}]'),
    ("direction last", f'set = [{{ fn = 6, address = 9, value = "magnitude_kw" }}, {BY_SIGN}]'),
    ("signed, and on or off", f"set = [{BY_SIGN.replace('2', '1')}, {P_KW}]"),
    (
        "the exponent is read",
        SET.replace("value", 'scale_by = { point = "p_kw", how = "power_of_ten" }, value'),
    ),
    (
        "two limits, each with its own sign",
        f"set = [{P_KW}, {P_KW.replace('9', '8').replace('0.1', '-0.1')}]",
    ),
    (
        "a constant whose exponent is read",
        f"set = [{P_KW}, {{ fn = 6, address = 8, value = 1e6, "
        'scale_by = { point = "p_kw", how = "power_of_ten" } }]',
    ),
    ("a wide heartbeat", f'{SET}\nheartbeat = {{ fn = 16, address = 3, type = "u32" }}'),
]


@pytest.mark.parametrize(("why", "text"), WAYS, ids=[row[0] for row in WAYS])
def test_every_honest_way_to_tell_the_power_is_taken(tmp_path: Path, why: str, text: str) -> None:
    assert read(tmp_path, GOOD.replace(SET, text)).write


def test_a_product_file_of_a_site_is_held_to_what_the_lint_calls_an_error(tmp_path: Path) -> None:
    """Nobody reviews those; a power in W or a charge in % would be a thousand times what it is."""
    path = tmp_path / "x.toml"
    path.write_text(GOOD)
    with pytest.raises(ConfigError, match="role p_kw is in kW"):
        load_product(str(path))
    path = tmp_path / "y.toml"
    path.write_text((FOLDER / "yunchu/pcs100.toml").read_text())
    assert load_product(str(path)).points


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("fn = 3, address = 1", "fn = 3, adress = 1").replace(
        "refresh_s = 1.0", "refresh_s = -1"
    )
    assert len(problems(tmp_path, text)) == 2, "each key by itself"
    text = GOOD.replace("fn = 3, address = 1", "fn = 9, address = 1").replace(
        "fn = 6, address = 9", "fn = 4, address = 9"
    )
    assert len(problems(tmp_path, text)) == 2, "what must fit together"


def test_a_file_that_is_no_toml_is_a_problem(tmp_path: Path) -> None:
    assert "CAT-005" in problems(tmp_path, "vendor = ")[0]


def test_an_unknown_product_names_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="yunchu/pcs100"):
        load_product("yunchu/pcs1000")


def variants(key: str) -> list[str]:
    return read_file(FOLDER / f"{key}.toml", key).variants or [""]


@pytest.mark.parametrize("key", known_products())
def test_every_product_of_the_catalog_is_good(key: str) -> None:
    for variant in variants(key):
        product = load_product(key, variant)
        assert product.source and product.tested_on
        units = {part: f"unit {part}" for part in product.parts} if product.parts else "unit"
        points = points_of(product, "dev-1", units)
        assert [point.name for point in points] == [f"dev-1/{spec.name}" for spec in product.points]
        assert {point.unit for point in points} == (set(units.values()) if product.parts else {"unit"})


def test_a_product_with_variants_must_be_told_which(tmp_path: Path) -> None:
    text = 'variants = ["lv", "hv"]\n' + GOOD.replace(
        "scale = 0.1, poll", "scale = { lv = 0.1, hv = 1.0 }, poll"
    )
    path = tmp_path / "x.toml"
    path.write_text(text)
    assert read_product(path, "acme/x", "hv").points[0].scale == 1.0
    assert read_product(path, "acme/x", "lv").points[0].scale == 0.1
    for variant in ("", "mv"):
        with pytest.raises(ConfigError, match="lv, hv"):
            read_product(path, "acme/x", variant)


def test_the_demo_products_have_what_control_needs() -> None:
    def roles(key: str) -> set[Role]:
        return {point.role for point in load_product(key).points}

    both = {Role.STATE, Role.HEARTBEAT, Role.DC_V, Role.DC_A}
    bms = both | {Role.SOC, Role.SOH, Role.CHARGE_LIMIT_A, Role.DISCHARGE_LIMIT_A, Role.ALARM_LEVEL}
    assert roles("yunchu/bms215") >= bms | {Role.CELL_V_MAX, Role.CELL_DEGC_MIN, Role.E_CHARGED_KWH}
    assert roles("yunchu/pcs100") >= both | {Role.P_KW, Role.Q_KVAR, Role.P_SET_KW, Role.FREQUENCY_HZ}
    assert roles("eastron/sdm630") >= {Role.P_KW, Role.Q_KVAR, Role.V_V, Role.E_IMPORT_KWH, Role.E_EXPORT_KWH}
    assert roles("yunchu/pv60_opcua") >= {Role.P_KW, Role.STATE, Role.HEARTBEAT}


def test_the_worst_vendor_alarm_stops() -> None:
    level = next(point for point in load_product("yunchu/bms215").points if point.name == "alarm_level")
    assert level.map == {0: AlarmLevel.NONE, 1: AlarmLevel.INFO, 2: AlarmLevel.DERATE, 3: AlarmLevel.STOP}


def test_the_readme_names_every_key_of_a_point() -> None:
    folder = Path(__file__).parents[2] / "drivers/catalog"
    readme = (folder / "README.md").read_text()
    for path in folder.glob("*/*.toml"):
        for point in tomllib.loads(path.read_text())["points"]:
            assert all(f"`{key}`" in readme for key in point), path


def test_the_published_schema_is_that_of_the_tables() -> None:
    path = Path(__file__).parents[2] / "drivers/catalog/schema.json"
    assert json.loads(path.read_text()) == ProductFile.model_json_schema(by_alias=True)
