"""``edge scan`` over real sockets: every product that can be recognised is named, in both languages."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drivers.scan import candidates
from drivers.simulator.product_server import ProductServer
from edge.cli import program
from tests.drivers.fake_line import serial_line, simulated

RECOGNISED = [product.key for product in candidates() if product.protocol == "modbus" and product.identity]


@pytest.fixture(autouse=True)
def nobody_runs(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No controller of this machine is in the way."""
    monkeypatch.setenv("YUNCHU_RUN_DIR", str(tmp_path / "x" / "run"))


def run(*words: str, lang: str = "en") -> Result:
    return CliRunner().invoke(program, ["--lang", lang, "scan", *words])


@pytest.mark.parametrize("key", RECOGNISED)
def test_the_right_product_is_among_the_first_three(key: str) -> None:
    device = simulated(key)
    with ProductServer(device) as server:
        result = run("tcp", "127.0.0.1", "--port", str(server.port), "--ids", str(device.unit_id), "--json")
    (found,) = json.loads(result.stdout)["data"]
    assert key in [product["product"] for product in found["products"]]
    assert (found["link"], found["unit_id"]) == (server.url, device.unit_id)
    assert f"unit_id = {device.unit_id}" in found["device"]


def test_a_serial_line_as_a_table_and_a_device_table() -> None:
    with serial_line(simulated("carlo_gavazzi/em24")) as path:
        result = run("rtu", path, "--baud", "9600", "--parity", "N", "--ids", "1")
    assert result.exit_code == 0, result.stderr
    assert "at most 0 s" in result.stderr
    assert "the type code at 3/11" in result.stdout
    assert f'product = "carlo_gavazzi/em24"\nlink = "rtu://{path}?baud=9600&parity=N"' in result.stdout
    assert 'name = "meter-1"\nunit = "FILL IN"' in result.stdout


def test_parts_and_variants_are_to_be_filled_in() -> None:
    with ProductServer(simulated("huawei/sun2000")) as server:
        text = run("tcp", "127.0.0.1", "--port", str(server.port), "--ids", "1", lang="zh").stdout
    assert "unit = { " in text
    assert 'battery = "FILL IN"' in text
    assert "处的文本为 'SUN2000'" in text


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("rtu", "/dev/nothing-here", "--ids", "1"), 5, "BUS-002"),
        (("rtu", "/dev/ttyX", "--parity", "X"), 2, "SCN-001"),
        (("rtu", "/dev/ttyX", "--ids", "0-3"), 2, "SCN-001"),
        (("tcp", "10.0.0.0/8"), 2, "SCN-001"),
        (("tcp", "127.0.0.1", "--port", "1"), 5, "SCN-002"),
        (("opcua", "opc.tcp://127.0.0.1:1"), 5, "SCN-003"),
    ],
    ids=str,
)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_cannot_be_scanned(words: tuple[str, ...], code: int, problem: str, lang: str) -> None:
    result = run(*words, lang=lang)
    assert result.exit_code == code, result.stderr
    assert problem in result.stderr
