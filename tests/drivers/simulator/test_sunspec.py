"""The simulated SunSpec device packs as the definitions say, byte for byte, and misbehaves when told to."""

import socket
import struct
from typing import Any

import pytest

from drivers.simulator.sunspec import Device, Map, Model, pack, serve


@pytest.mark.parametrize(
    "kind, registers, value, shown",
    [
        ("int16", 1, -2, "fffe"),
        ("int16", 1, None, "8000"),
        ("uint16", 1, 65_534, "fffe"),
        ("uint16", 1, None, "ffff"),
        ("enum16", 1, None, "ffff"),
        ("bitfield32", 2, 1 << 31, "80000000"),
        ("bitfield32", 2, None, "ffffffff"),
        ("count", 1, 3, "0003"),
        ("acc32", 2, 0x0102_0304, "01020304"),
        ("acc32", 2, None, "00000000"),
        ("acc64", 4, None, "0000000000000000"),
        ("int32", 2, None, "80000000"),
        ("uint64", 4, None, "ffffffffffffffff"),
        ("int64", 4, -1, "ffffffffffffffff"),
        ("sunssf", 1, -3, "fffd"),
        ("sunssf", 1, None, "8000"),
        ("float32", 2, 1.5, "3fc00000"),
        ("float32", 2, None, "7fc00000"),
        ("string", 3, "Abc", "416263000000"),
        ("string", 2, None, "00000000"),
        ("pad", 1, None, "8000"),
    ],
)
def test_how_a_value_is_packed(kind: str, registers: int, value: Any, shown: str) -> None:
    assert pack(kind, registers, value).hex() == shown


def test_a_map_is_marker_models_and_end() -> None:
    shown = Map([Model(160, {"DCW_SF": -1, "module": [{"DCW": 7}, {"DCW": 9}]})], 50_000)
    assert shown.words[:4] == [0x5375, 0x6E53, 160, 48]
    assert shown.words[-2:] == [0xFFFF, 0]
    assert len(shown.words) == 2 + 50 + 2
    assert shown.address("module[1].DCW") == 50_002 + 10 + 20 + 11
    assert shown.words[shown.address("module[1].DCW") - 50_000] == 9
    shown.put("module[1].DCW", None)
    assert shown.words[shown.address("module[1].DCW") - 50_000] == 0xFFFF


def test_counts_follow_from_the_groups_unless_they_are_given() -> None:
    curves = [{"Pt": [{"V": 1}, {"V": 2}]}, {"Pt": [{"V": 3}, {"V": 4}]}]
    shown = Map([Model(705, {"Crv": curves}), Model(705, {"Crv": curves, "NCrv": 7})])
    assert [shown.words[shown.address(name) - 40_000] for name in ("NCrv", "NPt")] == [2, 2]
    assert shown.words[shown.address("NCrv", 1) - 40_000] == 7
    assert shown.words[shown.address("Crv[1].Pt[1].V") - 40_000] == 4


@pytest.mark.parametrize("length", [5, 50, 80])
def test_a_length_that_is_not_the_definitions(length: int) -> None:
    shown = Map([Model(103, {"A": 3}, length=length)], end=False)
    assert shown.words[3] == length and shown.words[4] == 3
    assert len(shown.words) == 2 + 2 + length


def ask(port: int, unit_id: int, pdu: bytes, wait_s: float = 5.0) -> bytes:
    """Return the PDU that answers, empty when nothing came."""
    with socket.create_connection(("127.0.0.1", port), wait_s) as wire:
        wire.sendall(struct.pack(">HHHB", 1, 0, len(pdu) + 1, unit_id) + pdu)
        try:
            return wire.recv(300)[7:]
        except TimeoutError:
            return b""


def test_units_refusals_and_writes_over_a_socket() -> None:
    meter = Device(Map([Model(213, {"W": 2.5})], 0), 240)
    inverter = Device(Map([Model(123, {"WMaxLimPct": 100})]), 1, refused={40_010})
    limit = inverter.map.address("WMaxLimPct")
    with serve(inverter, meter) as port:
        assert ask(port, 1, struct.pack(">BHH", 3, 40_000, 2)) == b"\x03\x04SunS"
        assert ask(port, 240, struct.pack(">BHH", 3, meter.map.address("W"), 2)) == b"\x03\x04\x40\x20\0\0"
        assert ask(port, 240, struct.pack(">BHH", 3, 40_000, 2)) == b"\x83\x02"
        assert ask(port, 1, struct.pack(">BHH", 3, 40_008, 3)) == b"\x83\x02"
        assert ask(port, 1, struct.pack(">BHH", 4, 40_000, 2)) == b"\x84\x01"
        assert ask(port, 2, struct.pack(">BHH", 3, 40_000, 2), 0.2) == b""
        many = struct.pack(">BHHBH", 16, limit, 1, 2, 55)
        assert ask(port, 1, many) == many[:5]
        single = struct.pack(">BHH", 6, limit, 66)
        assert ask(port, 1, single) == single
        assert inverter.map.words[limit - 40_000] == 66
        assert inverter.written == [(limit, [55]), (limit, [66])]
        inverter.busy = True
        assert ask(port, 1, struct.pack(">BHH", 3, 40_000, 2)) == b"\x83\x06"
    assert (40_000, 2) in inverter.reads
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 1.0).close()
