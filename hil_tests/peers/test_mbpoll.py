"""mbpoll (Debian) reads our simulated devices as our drivers do; our field verbs read and find libmodbus."""

import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from drivers.catalog.loader import FOLDER, load_product
from drivers.simulator.board import create
from drivers.simulator.product import ProductDevice
from drivers.simulator.product_server import ProductServer
from hil_tests.peers.rig import BAUD, ROOT, Ours, Program, edge, until

METER, PCS, BMS = "eastron/sdm630", "yunchu/pcs100", "yunchu/bms215"
Start = Callable[..., Program]
Driver = Callable[..., Ours]
VALUE = re.compile(r"^\[(\d+)\]:\s+(\S+)", re.MULTILINE)


class Mbpoll:
    """Asks once, with addresses from 0 and one try."""

    def __init__(self, program: str, *where: object) -> None:
        *options, self._where = map(str, where)
        self._command = [program, "-0", "-1", "-o", "2", *options]

    def run(self, *words: object, values: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
        """Return what it says."""
        command = [*self._command, *map(str, words), self._where, *map(str, values)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30.0)

    def read(self, table: str, first: int, count: int, *more: str) -> dict[int, float]:
        """Return values by address; ``table`` as with its option -t."""
        done = self.run("-t", table, "-r", first, "-c", count, *more)
        found = {int(at): float(value) for at, value in VALUE.findall(done.stdout)}
        assert len(found) == count, done.stdout + done.stderr
        return found

    def floats(self, first: int, count: int) -> dict[int, float]:
        """Return 32-bit floats of the input registers, high word first."""
        return self.read("3:float", first, count, "-B")

    def write(self, first: int, *values: int) -> int:
        """Write holding registers and return the exit code."""
        return self.run("-t", "4", "-r", first, values=values).returncode


@pytest.fixture(params=["tcp", "rtu"])
def served(
    request: pytest.FixtureRequest, mbpoll: str, wire: tuple[str, str], stack: ExitStack
) -> Callable[[ProductDevice], tuple[str, Mbpoll]]:
    """Serve a simulated device; return our link to it, and mbpoll's."""

    def start(device: ProductDevice) -> tuple[str, Mbpoll]:
        master, end = wire
        if request.param == "rtu":
            stack.enter_context(ProductServer(device, tty=end, baud=BAUD))
            where = "-m", "rtu", "-b", BAUD, "-P", "none", "-a", device.unit_id, master
            return f"rtu://{master}?baud={BAUD}", Mbpoll(mbpoll, *where)
        server = stack.enter_context(ProductServer(device))
        return server.url, Mbpoll(mbpoll, "-m", "tcp", "-p", server.port, "-a", device.unit_id, "127.0.0.1")

    return start


def simulated_meter() -> ProductDevice:
    """Return a meter on which every point shows another value."""
    device = ProductDevice(FOLDER / f"{METER}.toml")
    for k, spec in enumerate(load_product(METER).points):
        lo, hi = max(spec.lo, -1000.0), min(spec.hi, 1000.0)
        device.put(spec.name, lo + (hi - lo) * (k + 1) / 64)
    return device


def test_mbpoll_reads_every_float_of_the_meter_as_our_driver_does(served: Any, ours: Driver) -> None:
    link, client = served(simulated_meter())
    reader = ours(link, METER)
    until(reader.sink.good)
    reader.driver.stop()  # a serial line has one master
    found = client.floats(0, 18) | client.floats(52, 14) | client.floats(234, 8) | client.floats(342, 20)
    for spec, value in zip(load_product(METER).points, reader.sink.value, strict=True):
        assert found[spec.address] == pytest.approx(value / spec.scale, rel=1e-5), spec.name


def test_mbpoll_steers_a_simulated_product_and_our_driver_shows_it(served: Any, ours: Driver) -> None:
    device = ProductDevice(FOLDER / f"{PCS}.toml")
    device.put_raw("state", 3)
    link, client = served(device)
    assert client.write(200, 455) == 0
    assert client.write(203, 7, 60) == 0
    assert [(w.fn, w.address, w.words) for w in device.written] == [(6, 200, (455,)), (16, 203, (7, 60))]
    assert client.read("4", 200, 6) == {200: 455, 201: 0, 202: 0, 203: 7, 204: 60, 205: 0}
    reader = ours(link, PCS)
    until(lambda: reader.sink.get("p_set_kw") == 45.5)
    until(lambda: reader.sink.get("dead_man_s") == 60.0)


REFUSED = [
    ("registers that are not there", ("-t", "4", "-r", 300, "-c", 20), "Illegal data address"),
    ("a table that is not there", ("-t", "3", "-r", 100, "-c", 1), "Illegal data address"),
    ("bits that are not there", ("-t", "0", "-r", 100, "-c", 1), "Illegal data address"),
]


@pytest.mark.parametrize(("says", "words", "what"), REFUSED)
def test_mbpoll_understands_how_a_simulated_product_refuses(
    served: Any, says: str, words: tuple[object, ...], what: str
) -> None:
    _, client = served(ProductDevice(FOLDER / f"{PCS}.toml"))
    done = client.run(*words)
    assert what in done.stderr, says


@pytest.mark.parametrize("name", ["bms", "meter"])
def test_mbpoll_reads_the_serial_devices_of_the_demo_site_as_our_driver_does(
    mbpoll: str, wire: tuple[str, str], tmp_path: Path, stack: ExitStack, ours: Driver, name: str
) -> None:
    master, end = wire
    board = create(tmp_path)
    board["bms-1/soc"], board["bms-1/dc_v"], board["bms-1/dc_a"] = 0.512, 761.4, -33.3
    board["bms-1/e_charged_kwh"], board["bms-1/cell_degc_min"] = 12_345.6, -4.5
    board["meter-1/p_kw"], board["meter-1/v_l1"], board["meter-1/frequency_hz"] = -12.5, 230.5, 49.98
    command = [sys.executable, "-m", "drivers.simulator", name, "--dir", str(tmp_path), "--tty", end]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    stack.callback(lambda: (process.terminate(), process.wait(10.0)))
    client = Mbpoll(mbpoll, "-m", "rtu", "-b", 19_200, "-P", "none", "-a", 1, master)
    until(lambda: client.run("-t", "3", "-r", 0, "-c", 1).returncode == 0)
    if name == "meter":
        assert client.floats(0, 1)[0] == 230.5
        assert client.floats(52, 1)[52] == -12_500.0
    else:
        words = client.read("3", 0, 20)
        assert (words[3], words[4], words[5]) == (7614, 333, 512)  # amperes: charging is positive there
        assert words[12] == -45 & 0xFFFF
        assert client.read("3:int", 16, 1)[16] == 123_456  # low word first, as mbpoll has it
    reader = ours(f"rtu://{master}?baud=19200", METER if name == "meter" else BMS)
    if name == "meter":
        until(lambda: reader.sink.get("p_kw") == -12.5)
        assert reader.sink.get("v_l1") == 230.5
    else:
        until(lambda: reader.sink.get("soc") == pytest.approx(0.512))
        until(lambda: reader.sink.get("e_charged_kwh") == pytest.approx(12_345.6))
        assert reader.sink.get("dc_a") == pytest.approx(-33.3)
        assert reader.sink.get("cell_degc_min") == pytest.approx(-4.5)


@pytest.fixture(params=["tcp", "rtu"])
def device(request: pytest.FixtureRequest, peer: Start, wire: tuple[str, str]) -> tuple[Program, str]:
    """libmodbus as a meter of unit id 7 (TCP: any), and the link to it."""
    if request.param == "rtu":
        master, end = wire
        return peer("server", "rtu", end, BAUD, 7, 65_536), f"rtu://{master}?baud={BAUD}"
    program = peer("server", "tcp", 0, 65_536)
    return program, f"tcp://127.0.0.1:{program.said}"


def test_edge_read_shows_what_libmodbus_and_mbpoll_show(
    device: tuple[Program, str], mbpoll: str, tmp_path: Path
) -> None:
    program, link = device
    program.tell("h 100 1 65535 32768 16762 0")
    high, low = struct.unpack(">HH", struct.pack(">f", -12_500.0))
    program.tell(f"i 52 {high} {low}")
    raw = edge(
        tmp_path, "read", "--link", link, "--unit-id", "7", "--address", "100", "--count", "5", "--json"
    )
    rows = json.loads(raw.stdout)["data"]["registers"]
    assert [row["values"]["u16"] for row in rows] == [1, 65_535, 32_768, 16_762, 0]
    assert (rows[1]["values"]["i16"], rows[3]["values"]["f32"]) == (-1, 15.625)
    where = ["-m", "tcp", "-p", program.said, "-a", 7, "127.0.0.1"]
    if link.startswith("rtu"):
        where = ["-m", "rtu", "-b", BAUD, "-P", "none", "-a", 7, link[6:].partition("?")[0]]
    assert list(Mbpoll(mbpoll, *where).read("4", 100, 5).values()) == [1, 65_535, 32_768, 16_762, 0]
    named = edge(tmp_path, "read", "--link", link, "--unit-id", "7", "--product", METER, "--json")
    points = {one["point"]: one for one in json.loads(named.stdout)["data"]}
    assert points["p_kw"]["value"] == -12.5
    assert points["p_kw"]["quality"] == "GOOD"
    assert points["frequency_hz"]["quality"] == "BAD"  # 0 Hz


def test_edge_write_changes_a_register_of_libmodbus_once_and_shows_what_stands_there(
    device: tuple[Program, str], tmp_path: Path
) -> None:
    program, link = device
    words = "write", "--link", link, "--unit-id", "7", "--address", "204", "--value", "3", "--json"
    assert edge(tmp_path, *words).returncode == 0
    assert program.tell("writes") == "0"  # only shown
    refused = edge(tmp_path, *words, "--yes")
    assert refused.returncode == 6, "no product, so no door"
    done = edge(tmp_path, *words, "--yes", "--no-door")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"]["readback"] == "0003"
    assert (program.tell("writes"), program.tell("? 204 1")) == ("1", "3")


def test_edge_scan_finds_libmodbus_and_names_the_product(device: tuple[Program, str], tmp_path: Path) -> None:
    program, link = device
    program.tell(f"h {0xFC02} {0x70}")
    program.tell("i 0 17254 32768")  # 230.5 V
    program.tell("i 70 16968 0")  # 50 Hz
    if link.startswith("rtu"):
        path = link[6:].partition("?")[0]
        words: tuple[str, ...] = ("rtu", path, "--baud", str(BAUD), "--parity", "N", "--ids", "7")
    else:
        words = "tcp", "127.0.0.1", "--port", program.said, "--ids", "1,7"
    found = json.loads(edge(tmp_path, "scan", *words, "--json").stdout)["data"]
    assert len(found) == 1
    assert found[0]["products"][0]["product"] == METER
    if link.startswith("rtu"):
        assert found[0]["unit_id"] == 7
    else:
        assert found[0]["any_unit"] is True  # libmodbus does not look at the unit id on TCP
    assert program.tell("writes") == "0"


def test_edge_scan_finds_libmodbus_behind_ids_of_nobody(
    peer: Start, wire: tuple[str, str], tmp_path: Path
) -> None:
    """libmodbus takes what follows an unanswered request of another unit for that unit's reply."""
    master, end = wire
    peer("server", "rtu", end, BAUD, 7, 65_536)
    words = "scan", "rtu", master, "--baud", str(BAUD), "--parity", "N", "--ids", "4-8", "--json"
    found = json.loads(edge(tmp_path, *words).stdout)["data"] or []
    assert [one["unit_id"] for one in found] == [7]
