"""libmodbus (C) as the device that our drivers read and write, and as the master of our simulated PCS."""

import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from drivers.catalog.loader import FOLDER, load_product
from drivers.simulator.board import Board, create
from drivers.simulator.product import ProductDevice
from drivers.simulator.product_server import ProductServer
from hil_tests.peers.rig import BAUD, ROOT, Ours, Program, free_port, listens, until

ALL, FEW = 65_536, 1000
METER, PCS = "eastron/sdm630", "yunchu/pcs100"
STANDBY, RUNNING = 1, 3
Start = Callable[..., Program]
Driver = Callable[..., Ours]


@pytest.fixture(params=["tcp", "rtu"])
def place(request: pytest.FixtureRequest, wire: tuple[str, str]) -> tuple[str, list[object], list[object]]:
    """Where the device is: our link, how libmodbus serves there, how libmodbus asks there."""
    if request.param == "rtu":
        master, device = wire
        link = f"rtu://{master}?baud={BAUD}"
        return link, ["rtu", device, BAUD, 1], ["rtu", master, BAUD, 1]
    port = free_port()
    return f"tcp://127.0.0.1:{port}", ["tcp", port], ["tcp", port, 1]


Place = tuple[str, list[object], list[object]]


def floats(device: Program, kind: str, values: dict[int, float]) -> None:
    """Put 32-bit floats, high word first."""
    for address, value in values.items():
        high, low = struct.unpack(">HH", struct.pack(">f", value))
        device.tell(f"{kind} {address} {high} {low}")


def meter_values() -> dict[str, tuple[int, float, float]]:
    """Return address, float and meaning of every point of the meter, all different and within their range."""
    found = {}
    for k, spec in enumerate(load_product(METER).points):
        lo, hi = max(spec.lo, -1000.0), min(spec.hi, 1000.0)
        raw = struct.unpack(">f", struct.pack(">f", (lo + (hi - lo) * (k + 1) / 64) / spec.scale))[0]
        found[spec.name] = spec.address, raw, raw * spec.scale
    return found


def rounded(values: set[float]) -> set[float]:
    return {round(value, 6) for value in values}


def test_every_point_of_a_meter_reads_what_libmodbus_holds(peer: Start, ours: Driver, place: Place) -> None:
    link, server, _ = place
    device, values = peer("server", *server, ALL), meter_values()
    floats(device, "i", {address: raw for address, raw, _ in values.values()})
    floats(device, "h", {address: -1.0 for address, _, _ in values.values()})
    reader = ours(link, METER)
    until(reader.sink.good)
    for name, (_, _, value) in values.items():
        assert list(reader.sink.seen[name]) == [pytest.approx(value, rel=1e-12)], name
    assert reader.driver.counters.errors == 0


def test_a_changed_value_is_read_and_no_other_is_ever_seen(peer: Start, ours: Driver, place: Place) -> None:
    link, server, _ = place
    device = peer("server", *server, ALL)
    device.tell("h 100 3")
    reader = ours(link, PCS)
    for count in (0, 1, -1, 1499, -1500, 1000):
        device.tell(f"h 102 {count & 0xFFFF}")
        until(lambda count=count: reader.sink.get("p_kw") == pytest.approx(count / 10))
    assert rounded(reader.sink.seen["p_kw"]) == {0.0, 0.1, -0.1, 149.9, -150.0, 100.0}


def test_a_setpoint_is_written_once_read_back_and_written_again_when_another_master_changes_it(
    peer: Start, ours: Driver, place: Place
) -> None:
    link, server, _ = place
    device = peer("server", *server, ALL)
    device.tell(f"h 100 {STANDBY}")
    writer = ours(link, PCS, span_kw=100.0)
    until(lambda: writer.sink.good("state", "dead_man_s"))
    assert device.tell("writes") == "0"  # nothing before the first setpoint
    writer.offer(0.0)
    until(lambda: device.tell("? 202 1") == "1")  # prepared: started
    until(lambda: device.tell("? 204 1") == "3")  # and its dead-man time
    device.tell(f"h 100 {RUNNING}")
    for p_kw in (42.5, -80.0, 0.0, 99.9):
        writer.offer(p_kw)
        count = str(round(p_kw * 10) & 0xFFFF)
        until(lambda count=count: device.tell("? 200 1") == count)
        until(lambda p_kw=p_kw: writer.sink.get("p_set_kw") == pytest.approx(p_kw))
    assert not writer.told("DRV-011")
    device.tell("h 200 77")
    until(lambda: writer.told("DRV-011"))
    until(lambda: device.tell("? 200 1") == "999")
    until(lambda: writer.told("DRV-012"))
    writer.offer(150.0)
    until(lambda: writer.told("DRV-008"))
    assert device.tell("? 200 1") == "999"


def test_a_device_that_is_killed_goes_stale_and_comes_back_by_itself(
    peer: Start, ours: Driver, place: Place
) -> None:
    link, server, _ = place
    device = peer("server", *server, ALL)
    device.tell("h 102 123")
    reader = ours(link, PCS)
    until(lambda: reader.sink.get("p_kw") == pytest.approx(12.3))
    device.kill()
    until(lambda: not reader.driver.counters.online)
    assert not reader.sink.good("p_kw")
    device = peer("server", *server, ALL)
    device.tell("h 102 321")
    until(lambda: reader.sink.get("p_kw") == pytest.approx(32.1))
    assert reader.driver.counters.online
    # 0 when it was read before it was told its value
    assert rounded(reader.sink.seen["p_kw"]) <= {12.3, 32.1, 0.0}


def test_what_libmodbus_refuses_is_bad_and_the_rest_is_good(peer: Start, ours: Driver, place: Place) -> None:
    link, server, _ = place
    device = peer("server", *server, 200)  # the settings of the PCS begin at 200
    device.tell("h 102 123")
    reader = ours(link, PCS)
    until(lambda: reader.sink.get("p_kw") == pytest.approx(12.3))
    until(lambda: reader.told("DRV-003"))
    assert not reader.sink.good("p_set_kw")
    assert reader.driver.counters.refused > 0
    assert reader.driver.counters.online


def test_a_dead_neighbour_on_the_line_costs_time_but_never_a_value(
    peer: Start, neighbours: Callable[..., list[Ours]], wire: tuple[str, str]
) -> None:
    """libmodbus takes what follows an unanswered request of another unit for that unit's reply."""
    master, end = wire
    device = peer("server", "rtu", end, BAUD, 7, ALL)
    device.tell("h 102 123")
    link = f"rtu://{master}?baud={BAUD}"
    dead, reader = neighbours(link, PCS, (6, 7))
    until(lambda: reader.sink.get("p_kw") == pytest.approx(12.3), 30.0)
    device.tell("h 102 124")
    until(lambda: reader.sink.get("p_kw") == pytest.approx(12.4))
    assert rounded(reader.sink.seen["p_kw"]) == {12.3, 12.4}
    assert not dead.sink.seen["p_kw"]


SHOWN = {
    "p_kw": -12.3, "q_kvar": 4.5, "dc_v": 768.1, "dc_a": -16.2, "igbt_degc": 41.7, "heartbeat": 65_535,
    "e_discharged_kwh": 123_456.7, "e_charged_kwh": 6553.6, "frequency_hz": 50.01, "p_set_kw": -150.0,
}  # fmt: skip


def test_libmodbus_reads_the_simulated_product_as_our_driver_does(
    peer: Start, ours: Driver, wire: tuple[str, str]
) -> None:
    master, device_end = wire
    simulated = ProductDevice(FOLDER / f"{PCS}.toml")
    for name, value in SHOWN.items():
        simulated.put(name, value)
    simulated.put_raw("state", RUNNING)
    with ProductServer(simulated) as server:
        reader = ours(server.url, PCS)
        client = peer("client", "tcp", server.port, 1)
        until(reader.sink.good)
        agrees(client, reader)
    with ProductServer(simulated, tty=device_end, baud=BAUD):
        agrees(peer("client", "rtu", master, BAUD, 1), reader)


def agrees(client: Program, reader: Ours) -> None:
    """Compare the registers that libmodbus reads with the values of our driver."""
    words = [int(word) for word in client.tell("3 100 13").split()]
    settings = [int(word) for word in client.tell("3 200 6").split()]
    raw = struct.pack(">19H", *words, *settings)
    found = dict(
        zip(
            ("p_kw", "q_kvar", "dc_v", "dc_a", "igbt_degc", "heartbeat", "e_discharged_kwh", "e_charged_kwh",
             "frequency_hz", "p_set_kw"),
            struct.unpack(">4xhhHhhHIIHh10x", raw),
            strict=True,
        )
    )  # fmt: skip
    scales = {"heartbeat": 1.0, "frequency_hz": 0.01}
    for name, count in found.items():
        value = count * scales.get(name, 0.1)
        assert value == pytest.approx(SHOWN[name]), name
        assert reader.sink.get(name) == pytest.approx(value), name


@pytest.fixture
def pcs(tmp_path: Path, stack: ExitStack) -> tuple[Board, int]:
    """The simulated PCS of the demo site, without the rest of the site; its board and port."""
    import subprocess
    import sys

    board, port = create(tmp_path), free_port()
    command = [sys.executable, "-m", "drivers.simulator", "pcs", "--dir", str(tmp_path), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    stack.callback(lambda: (process.terminate(), process.wait(10.0)))
    until(lambda: listens(port))
    return board, port


def test_libmodbus_steers_the_simulated_pcs_and_is_refused_what_it_must_not_do(
    peer: Start, pcs: tuple[Board, int]
) -> None:
    board, port = pcs
    board["pcs-1/p_kw"], board["pcs-1/dc_v"] = -33.3, 755.0
    board["command/remote"], board["command/dead_man_s"] = 1.0, 60.0
    client = peer("client", "tcp", port, 1)
    words = [int(word) for word in client.tell("3 100 13").split()]
    assert (words[2] - 0x10000, words[4]) == (-333, 7550)
    assert client.tell("6 200 455") == ""
    assert board["command/p_set_kw"] == 45.5
    assert client.tell(f"16 200 {-455 & 0xFFFF} 12") == ""
    assert (board["command/p_set_kw"], board["command/q_set_kvar"]) == (-45.5, 1.2)
    assert client.tell("3 200 2") == f"{-455 & 0xFFFF} 12"
    for line, what in (
        ("3 90 2", "Illegal data address"),
        ("4 100 1", "Illegal function"),
        ("6 200 1101", "Illegal data value"),
        ("6 202 9", "Illegal data value"),
        ("6 102 1", "Illegal data address"),
    ):
        assert client.tell(line) == f"error {what}", line
    board["command/remote"] = 0.0
    assert client.tell("6 200 1") == "error Slave device or server failure"
    assert board["command/p_set_kw"] == -45.5


def test_a_master_of_each_make_can_share_the_simulated_pcs(
    peer: Start, ours: Driver, pcs: tuple[Board, int]
) -> None:
    board, port = pcs
    board["command/remote"], board["command/dead_man_s"], board["pcs-1/state"] = 1.0, 3.0, RUNNING
    board["command/alive_s"] = time.monotonic()
    writer = ours(f"tcp://127.0.0.1:{port}", PCS, span_kw=100.0)
    client = peer("client", "tcp", port, 1)
    writer.offer(25.0)
    until(lambda: client.tell("3 200 1") == "250")
    before = int(client.tell("3 203 1"))
    until(lambda: int(client.tell("3 203 1")) > before)  # the heartbeat of the controller goes on
    until(lambda: writer.sink.get("p_set_kw") == 25.0)
