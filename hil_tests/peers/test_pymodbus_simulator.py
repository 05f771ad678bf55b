"""pymodbus' own simulator, started by its own command from its own JSON file, on TCP and on a serial line."""

import importlib.util
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from drivers.modbus import frames
from drivers.modbus.line import parse_url
from drivers.modbus.link import Link, Station, link_to
from hil_tests.peers.rig import BAUD, HOW, PEERS, Ours, free_port, listens, until
from models.errors import DriverError, NoReply, Refused

PCS, METER = "yunchu/pcs100", "eastron/sdm630"
SIZE = 400
EXTRA = PEERS / "python"
"""Where the web server of the simulator lies."""
FLOATS = {0: 230.5, 52: -12_500.0, 60: 3200.0, 70: 49.98, 72: 1234.5, 74: 0.25}
"""Of the meter: addresses and values, as the simulator itself encodes them."""
PCS_WORDS = {100: 3, 101: 0, 102: 0xFF85, 103: 45, 104: 7681, 105: 0, 106: 417, 107: 9, 112: 5001}
PCS_LONG = {108: 1_234_567, 110: 65_536}
SETTINGS = range(200, 206)
KINDS = ("bits", "uint16", "uint32", "float32", "float64")


def setup(server: dict[str, object]) -> dict[str, object]:
    """Return its JSON file: all four tables share one block, what is not named is refused."""
    words = [{"addr": at, "value": value} for at, value in PCS_WORDS.items()]
    words += [{"addr": at, "value": 3 if at == 204 else 0} for at in SETTINGS]
    device = {
        "setup": {
            "co size": SIZE, "di size": SIZE, "hr size": SIZE, "ir size": SIZE,
            "shared blocks": True, "type exception": False,
            "defaults": {
                "value": dict.fromkeys(KINDS, 0) | {"string": " "},
                "action": dict.fromkeys((*KINDS, "string")),
            },
        },
        "invalid": [[300, SIZE - 1]],
        "write": [[SETTINGS[0], SETTINGS[-1]]],
        "bits": [],
        "uint16": words,
        "uint32": [{"addr": [at, at + 1], "value": value} for at, value in PCS_LONG.items()],
        "float32": [{"addr": [at, at + 1], "value": value} for at, value in FLOATS.items()],
        "float64": [], "string": [],
        "repeat": [],
    }  # fmt: skip
    return {"server_list": {"server": server}, "device_list": {"device": device}}


class Simulator:
    """The command ``pymodbus.simulator``."""

    def __init__(self, folder: Path, server: dict[str, object]) -> None:
        self._port = free_port()
        file = folder / "setup.json"
        file.write_text(json.dumps(setup(server)))
        command = [sys.executable, "-c", "from pymodbus.server.simulator.main import main; main()"]
        command += ["--json_file", str(file), "--modbus_server", "server", "--modbus_device", "device"]
        command += ["--http_host", "127.0.0.1", "--http_port", str(self._port), "--log", "critical"]
        environment = {**os.environ, "PYTHONPATH": str(EXTRA)}
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: listens(self._port))

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10.0)


@pytest.fixture(params=["tcp", "rtu"])
def url(request: pytest.FixtureRequest, wire: tuple[str, str], tmp_path: Path, stack: ExitStack) -> str:
    """The simulator runs; return our link to it."""
    if not (EXTRA / "aiohttp").exists() and importlib.util.find_spec("aiohttp") is None:
        pytest.skip(f"no aiohttp, which pymodbus.simulator needs: {HOW}")
    common: dict[str, object] = {"device_id": 1, "ignore_missing_devices": True}
    if request.param == "rtu":
        master, end = wire
        server = {"comm": "serial", "framer": "rtu", "port": end, "baudrate": BAUD, **common}
        link = f"rtu://{master}?baud={BAUD}"
    else:
        port = free_port()
        server = {"comm": "tcp", "framer": "socket", "host": "127.0.0.1", "port": port, **common}
        link = f"tcp://127.0.0.1:{port}"
    simulator = Simulator(tmp_path, server)
    stack.callback(simulator.stop)
    if request.param == "tcp":
        until(lambda: listens(port))
    return link


@pytest.fixture
def link(url: str, stack: ExitStack) -> Link:
    """Our link, opened and answered once."""
    link = link_to(parse_url(url))
    link.stations |= {1: Station(0.5, 0.5), 9: Station(0.1, 0.1)}
    stack.callback(link.close)

    def answers() -> bool:
        try:
            link.open()
            link.ask(frames.read(1, 3, 100, 5))  # of a length that nobody else asks for: it may be lost
        except DriverError:
            return False
        return True

    until(answers)
    return link


def test_our_drivers_read_what_the_simulator_was_told(url: str, ours: Callable[..., Ours]) -> None:
    reader = ours(url, PCS)
    until(lambda: reader.sink.good("p_kw", "e_discharged_kwh", "p_set_kw"))
    shown = {name: round(reader.sink.get(name), 6) for name in reader.sink.names}
    expected = {
        "p_kw": -12.3, "q_kvar": 4.5, "dc_v": 768.1, "igbt_degc": 41.7, "heartbeat": 9.0,
        "frequency_hz": 50.01, "e_discharged_kwh": 123_456.7, "e_charged_kwh": 6553.6, "dead_man_s": 3.0,
    }  # fmt: skip
    assert {name: shown[name] for name in expected} == expected


def test_floats_of_the_simulator_are_read_where_it_has_registers(link: Link) -> None:
    for address, value in FLOATS.items():
        for fn in (3, 4):
            assert struct.unpack(">f", link.ask(frames.read(1, fn, address, 2)))[0] == pytest.approx(value)


REFUSED = [
    ("a register that is not there", frames.read(1, 3, 310, 2), 2),
    ("registers of which the last are not there", frames.read(1, 3, 290, 20), 2),
    ("beyond the end", frames.read(1, 3, SIZE + 10, 1), 2),
    ("a write to what is only shown", frames.write_register(1, 102, b"\0\1"), 2),
    ("a write of which the last is only shown", frames.write_registers(1, 204, bytes(6)), 2),
    ("a write to what is not there", frames.write_register(1, 310, b"\0\1"), 2),
]


@pytest.mark.parametrize(("says", "request_", "code"), REFUSED)
def test_exceptions_arrive_with_their_code(
    link: Link, says: str, request_: frames.Request, code: int
) -> None:
    with pytest.raises(Refused) as refused:
        link.ask(request_)
    assert refused.value.code == code, says
    assert link.ask(frames.read(1, 3, 100, 1)) == b"\0\3", "the next request is answered"


def test_writes_are_taken_and_read_back(link: Link) -> None:
    for words in ((455,), (0xFFFF,), (0,)):
        data = b"".join(word.to_bytes(2, "big") for word in words)
        link.ask(frames.write_register(1, 200, data))
        assert link.ask(frames.read(1, 3, 200, 1)) == data
    data = bytes(range(12))
    link.ask(frames.write_registers(1, 200, data))
    assert link.ask(frames.read(1, 3, 200, 6)) == data


def test_another_unit_stays_silent_and_the_next_reply_is_the_right_one(link: Link) -> None:
    for count in (1, 2, 3):
        with pytest.raises(NoReply):
            link.ask(frames.read(9, 3, 102, count))
        words = [PCS_WORDS[at] for at in range(102, 102 + count)]
        assert link.ask(frames.read(1, 3, 102, count)) == struct.pack(f">{count}H", *words)


def test_a_setpoint_of_our_driver_is_taken(url: str, ours: Callable[..., Ours]) -> None:
    writer = ours(url, PCS, 1, 100.0)
    until(lambda: writer.sink.good("p_kw", "p_set_kw"))
    for p_kw in (42.5, -80.0, 0.0):
        writer.offer(p_kw)
        until(lambda p_kw=p_kw: writer.sink.get("p_set_kw") == pytest.approx(p_kw))
    assert not writer.told("DRV-011")
    assert not writer.told("DRV-006")
