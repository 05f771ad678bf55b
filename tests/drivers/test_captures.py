"""Recorded traffic of real devices: every reply is proven and decoded, and no reply passes for another one.

The recordings and their licences: examples/data/protocol/README.md.
"""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from cython_ext.registers import KINDS, Row, Table
from drivers.catalog.loader import load_product
from drivers.modbus import frames, pdu
from drivers.modbus.block import Block
from drivers.modbus.frames import Request
from drivers.modbus.plan import Read
from models.errors import BadReply, NoReply, Refused
from models.point import Quality

FOLDER = Path(__file__).parents[2] / "examples/data/protocol"
MODBUS = 502
DUMPS = sorted((FOLDER / "goodwe").glob("*.hex"))


class Packet(NamedTuple):
    """One Modbus TCP frame."""

    is_request: bool
    key: tuple[bytes, int]
    """Connection and transaction."""
    unit: int
    pdu: bytes


def packets(path: Path) -> Iterator[Packet]:
    """Read a pcap of Ethernet, IPv4, TCP (wiki.wireshark.org, Development/LibpcapFileFormat)."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    at = 24
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at + 8)
        ip = data[at + 30 : at + 16 + size]
        at += 16 + size
        if len(ip) < 20 or ip[0] >> 4 != 4 or ip[9] != 6:
            continue
        tcp = ip[4 * (ip[0] & 15) : int.from_bytes(ip[2:4], "big")]
        source, target = struct.unpack_from(">HH", tcp)
        body = tcp[4 * (tcp[12] >> 4) :]
        ends = ip[12:16] + tcp[:2], ip[16:20] + tcp[2:4]
        while len(body) > 7 and MODBUS in (source, target):
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", body)
            if protocol or len(body) < 6 + length:
                break
            yield Packet(target == MODBUS, (b"".join(sorted(ends)), transaction), unit, body[7 : 6 + length])
            body = body[6 + length :]


def request_of(packet: Packet) -> Request | None:
    """Build our own request from a recorded one, through the public builders; None for what nobody sends."""
    unit, code = packet.unit, packet.pdu[0]
    first, second = struct.unpack_from(">HH", packet.pdu.ljust(5, b"\0"), 1)
    if code in (1, 2, 3, 4):
        return frames.read(unit, code, first, second) if 1 <= second <= (2000 if code < 3 else 125) else None
    built = {
        5: lambda: frames.write_coil(unit, first, second == 0xFF00),
        6: lambda: frames.write_register(unit, first, packet.pdu[3:5]),
        7: lambda: pdu.read_exception_status(unit),
        8: lambda: pdu.diagnose(unit, first, packet.pdu[3:]),
        15: lambda: frames.write_coils(
            unit, first, [bool(packet.pdu[6 + k // 8] >> k % 8 & 1) for k in range(second)]
        ),
        17: lambda: pdu.report_server_id(unit),
        43: lambda: pdu.device_id(unit, packet.pdu[2], packet.pdu[3]),
    }.get(code)
    try:
        return built() if built else None
    except ValueError:
        return None


CAPTURES = [
    # file, replies that prove to answer, exceptions, replies of that transaction that answer something else
    ("modbus_tcp_small.pcap", 16, 0, 0),
    ("modbus_tcp_testdata_part1.pcap", 12, 4, 0),
    ("modbus_tcp_test_a.pcap.gz", 1113, 0, 2),
]


@pytest.mark.parametrize(("name", "answers", "exceptions", "bad"), CAPTURES, ids=[row[0] for row in CAPTURES])
def test_every_recorded_reply_is_classified(name: str, answers: int, exceptions: int, bad: int) -> None:
    asked: dict[tuple[bytes, int], Request] = {}
    found = {"answers": 0, "exceptions": 0, "bad": 0}
    for packet in packets(FOLDER / name):
        if packet.is_request:
            request = request_of(packet)
            if request is None and packet.pdu[0] == 8:  # malformed on purpose: the device must refuse it
                request = pdu.diagnose(packet.unit, 0)
            if request is not None:
                asked[packet.key] = request
        elif packet.key in asked:
            try:
                data = frames.payload(asked[packet.key], packet.pdu)
            except (Refused, NoReply):
                assert packet.pdu[0] == asked[packet.key].pdu[0] | 0x80
                found["exceptions"] += 1
            except BadReply:
                found["bad"] += 1
            else:
                assert packet.pdu.endswith(data)
                found["answers"] += 1
    assert found == {"answers": answers, "exceptions": exceptions, "bad": bad}


def test_no_recorded_reply_passes_for_a_request_of_another_kind() -> None:
    replies = {p.pdu for name, *_ in CAPTURES for p in packets(FOLDER / name) if not p.is_request}
    assert len(replies) > 100
    for reply in replies:
        for fn in (1, 2, 3, 4):
            for count in (1, 3, 8, 60):
                request = frames.read(1, fn, 0, count)
                size = (count + 7) // 8 if fn < 3 else 2 * count
                if reply[:2] == bytes((fn, size)) and len(reply) == 2 + size:
                    continue
                with pytest.raises((BadReply, Refused, NoReply)):
                    frames.payload(request, reply)


def dump(path: Path) -> bytes:
    return bytes.fromhex("".join(path.read_text().split()))


def registers_of(frame: bytes, request: Request) -> bytes:
    """Return the proven registers of a dump: RTU behind AA 55 (over UDP), or Modbus TCP."""
    if frame[:2] == b"\xaa\x55":
        return request.serial_payload(frame[2:])
    _, unit, size = frames.tcp_header(frame)
    assert (unit, size) == (request.unit, len(frame))
    return frames.payload(request, frame[7:])


RUNNING = [path for path in DUMPS if path.name.startswith("dt_") and path.stem.endswith("running_data")]
ABOUT = [path for path in DUMPS if path.name.startswith("dt_") and path.stem.endswith("device_info")]
ES = [path for path in DUMPS if path.name.startswith("es_")]


def test_all_dumps_are_there() -> None:
    assert len(DUMPS) == len(RUNNING) + len(ABOUT) + len(ES) == 28


@pytest.mark.parametrize("path", RUNNING, ids=lambda path: path.stem)
def test_a_real_inverter_is_read_by_its_catalog_file(path: Path) -> None:
    decode_as_dt(registers_of(dump(path), frames.read(127, 3, 30100, 73)))


def test_the_dump_without_a_frame_is_decoded_too() -> None:
    decode_as_dt((FOLDER / "goodwe/inverter_data.bin").read_bytes()[5:])


def decode_as_dt(data: bytes) -> None:
    """Decode registers 30100 to 30172 by the catalog file, and check what physics says about them."""
    specs = load_product("goodwe/dt").points
    block = Block(Read(3, 30100, 73, 1.0, tuple(range(len(specs)))), specs, 127)
    block.decode(data)
    value = {spec.name: float(block.value[k]) for k, spec in enumerate(specs)}
    good = {spec.name for k, spec in enumerate(specs) if block.quality[k] == Quality.GOOD}
    words = struct.unpack(">73H", data)
    assert {"p_kw", "state", "v_l1", "frequency_hz", "inside_degc"} <= good
    assert ("e_export_kwh" in good) == (words[45:47] != (0xFFFF, 0xFFFF))
    assert value["p_kw"] == pytest.approx((words[27] << 16 | words[28]) / 1000)
    assert 49.9 < value["frequency_hz"] < 50.2
    for k, name in enumerate(("v_l1", "v_l2", "v_l3"), 18):
        assert (name in good) == (words[k] != 0xFFFF)
    phases = [n for n in (1, 2, 3) if f"v_l{n}" in good]
    apparent_kva = sum(value[f"v_l{n}"] * value[f"i_l{n}"] for n in phases) / 1000
    factor = words[39] / 1000 if 0 < words[39] <= 1000 else 1.0
    assert value["p_kw"] == pytest.approx(apparent_kva * factor, rel=0.05, abs=0.1)


@pytest.mark.parametrize("path", ABOUT, ids=lambda path: path.stem)
def test_a_real_inverter_says_what_it_is(path: Path) -> None:
    data = registers_of(dump(path), frames.read(127, 3, 30001, 40))
    texts = {
        text.name: data[2 * (text.address - 30001) :][: 2 * text.registers]
        for text in load_product("goodwe/dt").texts
    }
    assert texts["serial"].isalnum()
    model = texts["model"].strip(b"\xff\0 ")
    assert model.startswith(b"GW") or not model, "some do not know their model"


@pytest.mark.parametrize("path", RUNNING + ABOUT, ids=lambda path: path.stem)
def test_a_changed_byte_of_a_real_reply_is_no_reply(path: Path) -> None:
    frame, request = dump(path), frames.read(127, 3, 30100, 73 if path in RUNNING else 40)
    if frame[:2] != b"\xaa\x55":
        pytest.skip("Modbus TCP carries no check sum of its own")
    for k in range(2, len(frame)):
        changed = frame[:k] + bytes((frame[k] ^ 0x10,)) + frame[k + 1 :]
        with pytest.raises((BadReply, Refused, NoReply)):
            registers_of(changed, request)


ES_FIELDS = [
    # name, first byte, step, believable range: what the ES family puts first in its running data
    ("pv1_v", 0, 0.1, (0.0, 600.0)),
    ("pv1_a", 2, 0.1, (0.0, 30.0)),
    ("pv2_v", 5, 0.1, (0.0, 600.0)),
    ("pv2_a", 7, 0.1, (0.0, 30.0)),
]


@pytest.mark.parametrize("path", ES, ids=lambda path: path.stem)
def test_the_other_framing_of_the_es_family_is_whole(path: Path) -> None:
    """AA 55, addresses, what, length, data, sum: not Modbus, so not spoken; the kernel reads its bytes."""
    frame = dump(path)
    assert frame[:4] == bytes.fromhex("aa557fc0")
    assert frame[6] == len(frame) - 9
    assert sum(frame[:-2]) & 0xFFFF == int.from_bytes(frame[-2:], "big")
    if not path.stem.endswith("running_data"):
        return
    kind = KINDS.index("u16")
    table = Table([Row(kind, at, scale=step, lo=lo, hi=hi) for _, at, step, (lo, hi) in ES_FIELDS])
    value, quality = np.zeros(len(ES_FIELDS)), np.zeros(len(ES_FIELDS), np.uint8)
    assert table.decode(frame[7:-2], value, quality) == len(ES_FIELDS), value
