"""``edge scan`` over real sockets: every product that can be recognised is named, in both languages."""

import json
import os
import re
import subprocess
import sys
import tty
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drivers.browse import Variable
from drivers.catalog.loader import FOLDER
from drivers.scan import candidates
from drivers.simulator.dlt645 import Bus, Meter
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
        (("rtu", "/dev/ttyX", "--baud", "9601"), 2, "SCN-001"),
        (("dlt645", "/dev/ttyX", "--baud", "x"), 2, "SCN-001"),
        (("dlt645", "/dev/nothing-here"), 5, "BUS-002"),
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


def test_a_product_that_is_not_in_the_catalog(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    text = (FOLDER / "carlo_gavazzi/em24.toml").read_text()
    own.write_text(re.sub(r"(?s)(address = 11, is = )\[[^]]*\]", r"\g<1>[4711]", text))
    device = simulated("carlo_gavazzi/em24")
    device.space(3)[11] = 4711
    with ProductServer(device) as server:
        result = run(
            "tcp", "127.0.0.1", "--port", str(server.port), "--ids", "1", "--json", "--product", str(own)
        )
    (found,) = json.loads(result.stdout)["data"]
    assert found["products"][0]["product"] == str(own)
    assert f'product = "{own}"' in found["device"]


def test_a_meter_as_a_device_table() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    bus = Bus(master, [Meter("000012345678", {})])
    bus.start()
    path = os.ttyname(slave)
    text = run("dlt645", path, "--baud", "2400").stdout
    (meter,) = json.loads(run("dlt645", path, "--baud", "2400", "--json").stdout)["data"]
    bus.close()
    os.close(master)
    os.close(slave)
    assert meter["address"] == "000012345678"
    assert f'link = "dlt645://{path}?baud=2400"\naddress = "000012345678"' in text


def test_a_port_that_is_in_use_names_its_user() -> None:
    with serial_line(simulated("huawei/sun2000")) as path:
        code = f"import fcntl, os, sys; fd = os.open({path!r}, os.O_RDWR | os.O_NOCTTY); "
        code += "fcntl.flock(fd, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as other:
            assert other.stdout is not None
            other.stdout.readline()
            result = run("rtu", path, "--ids", "1")
            other.communicate()
    assert result.exit_code == 75
    assert f"open in: {other.pid} python" in result.stderr
    assert "edge read" in result.stderr


def test_variables_of_an_opc_ua_server(monkeypatch: pytest.MonkeyPatch) -> None:
    power = Variable("Inverter/ActivePower", "nsu=urn:x;i=3", "Double", "42.5")
    monkeypatch.setattr("drivers.browse.browse", lambda url, depth: [power] * depth)
    text = run("opcua", "opc.tcp://127.0.0.1:4840", lang="zh").stdout
    assert "Inverter/ActivePower  nsu=urn:x;i=3  Double  42.5" in text
    nodes = json.loads(run("opcua", "opc.tcp://127.0.0.1:4840", "--depth", "2", "--json").stdout)["data"]
    assert nodes == [power._asdict()] * 2
