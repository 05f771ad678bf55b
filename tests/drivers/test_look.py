"""Points are read once, with their registers, also those that depend on others or that the device lacks."""

import math

import pytest

from drivers.look import Shown, decode, read_points, resolved
from drivers.modbus.frames import Request
from drivers.modbus.line import parse_url
from drivers.modbus.link import link_to
from drivers.scan import first_variant
from drivers.simulator import sunspec
from drivers.talk import Direct, hold
from models.errors import NoReply
from tests.drivers.fake_line import asked, liven, simulated


def looked(key: str, *names: str, without: int = -1) -> dict[str, Shown]:
    device, product = simulated(key), first_variant(key)
    liven(device, product)
    for space in device.spaces.values():
        space.pop(without, None)
    if without >= 0:
        device._max_gap = 0
    shown = hold(read_points(product, (), device.unit_id, set(names)), asked(device))
    return {one.spec.name: one for one in shown}


@pytest.mark.parametrize("key", ["yunchu/pcs100", "sungrow/sh_hybrid", "victron/gx_system"])
def test_every_point_of_a_product(key: str) -> None:
    shown = looked(key)
    assert list(shown) == [point.name for point in first_variant(key).points]
    assert all(one.raw for one in shown.values() if one.spec.fn)
    assert all(one.t_ns for one in shown.values())


def test_a_derived_point_brings_what_it_needs_but_shows_itself_alone() -> None:
    product = first_variant("yunchu/bms215")
    derived = [point for point in product.points if point.derivation or point.by]
    for point in derived:
        shown = looked("yunchu/bms215", point.name)
        assert list(shown) == [point.name]


def test_registers_that_the_device_lacks_spoil_only_their_points() -> None:
    shown = looked("yunchu/pcs100", without=105)
    assert "exception 2" in shown["dc_a"].trouble
    assert shown["dc_a"].raw == b"" and not shown["dc_a"].good
    assert shown["dc_v"].value == 780.0


def test_a_silent_device_says_so_for_each_point() -> None:
    def silent(_: Request) -> bytes:
        raise NoReply("nobody")

    shown = hold(read_points(first_variant("yunchu/pcs100"), (), 1, set()), silent)
    assert {one.trouble for one in shown if one.spec.fn} == {"nobody"}
    assert {one.t_ns for one in shown} == {0}


def test_a_device_that_describes_itself() -> None:
    texts = {"Mn": "Fronius", "Md": "Symo GEN24 10.0"}
    inverter = {"W": 4200, "W_SF": 0}
    device = sunspec.Device(sunspec.Map([sunspec.Model(1, texts), sunspec.Model(103, inverter)]))
    product = first_variant("fronius/gen24")
    with sunspec.serve(device) as port:
        ask = Direct(link_to(parse_url(f"tcp://127.0.0.1:{port}")))
        found, hidden = hold(resolved(product, 1), ask)
        shown = hold(read_points(found, hidden, 1, set()), ask)
        ask.link.close()
    assert [one.spec.name for one in shown] == [point.name for point in product.points]
    assert any(one.trouble == "the device does not have it" for one in shown)


@pytest.mark.parametrize(
    ("data", "kind", "low_first", "numbers"),
    [
        (b"\xff\xff\0\1", "i16", False, [-1.0, 1.0]),
        (b"\0\1\0\0", "u32", True, [1.0]),
        (b"\x42\x48\0\0", "f32", False, [50.0]),
        (b"\5", "bit", False, [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        (b"\0\1", "u32", False, []),
    ],
)
def test_decoding(data: bytes, kind: str, low_first: bool, numbers: list[float]) -> None:
    assert decode(data, kind, low_first) == numbers


def test_a_float_that_is_none() -> None:
    assert math.isnan(decode(b"\x7f\xc0\0\0", "f32")[0])
