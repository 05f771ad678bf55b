"""Which requests fetch which points."""

import math
from dataclasses import replace

import pytest

from drivers.catalog.product import PointSpec
from drivers.dlt645.block import Block, plan_reads, single_reads
from drivers.dlt645.frames import Request
from drivers.simulator.dlt645 import Meter
from models.errors import BadReply
from models.point import Quality, Role

ADDRESS = "000012345678"


def spec(di: str, period_s: float = 1.0) -> PointSpec:
    return PointSpec(di, Role.OTHER, "", period_s, 10.0, di=di)


def planned(*specs: PointSpec) -> list[tuple[str, tuple[int, ...]]]:
    return [(read.di, read.points) for read in plan_reads(specs)]


def test_items_of_one_block_share_a_request() -> None:
    assert planned(spec("02010100"), spec("02030000"), spec("02010300"), spec("02010200")) == [
        ("0201FF00", (0, 2, 3)),
        ("02030000", (1,)),
    ]


def test_items_of_other_periods_days_or_groups_do_not() -> None:
    for first, second in (
        (spec("02010100"), spec("02010200", 2.0)),
        (spec("00010000"), spec("00010101")),
        (spec("00010000"), spec("00020000")),
        (spec("02800002"), spec("02800004")),
    ):
        assert planned(first, second) == [(first.di, (0,)), (second.di, (1,))]


def test_yesterdays_rates_share_yesterdays_block() -> None:
    assert planned(spec("00010101"), spec("00010201")) == [("0001FF01", (0, 1))]


def test_one_item_that_is_two_points_is_asked_once() -> None:
    assert planned(spec("02030000"), spec("02030000")) == [("02030000", (0, 1))]


@pytest.mark.parametrize("di", ["", "02010000", "0201FF00", "04000101", "04000401", "12345678"])
def test_what_is_not_one_number_cannot_be_a_point(di: str) -> None:
    with pytest.raises(ValueError, match="number"):
        plan_reads([replace(spec("02010100"), di=di)])


def read(block: Block, meter: Meter) -> dict[str, float]:
    """Let a block read itself and return its good values by identifier."""
    for _ in range(99):
        request: Request = block.request
        reply = b"".join(chunk for _, chunk in meter.hear(request.serial_frame(), 0.0))
        if block.take(request.serial_payload(reply)):
            break
    return {
        spec.di: float(value)
        for spec, value, quality in zip(block._specs, block.value, block.quality, strict=True)
        if quality == Quality.GOOD
    }


def test_a_block_and_its_items_bring_the_same_values(meter: Meter) -> None:
    points = [spec("02020300"), spec("02020100"), spec("02020200")]
    (whole,) = plan_reads(points)
    values = {"02020100": 12.345, "02020200": -0.001, "02020300": 799.999}
    assert read(Block(whole, points, ADDRESS), meter) == values
    singles: dict[str, float] = {}
    for alone in single_reads(whole, points):
        singles |= read(Block(alone, points, ADDRESS), meter)
    assert singles == values


def test_a_block_in_several_frames_brings_the_same_values_every_time(meter: Meter) -> None:
    meter.largest = 9
    points = [spec(f"02030{phase}00") for phase in range(4)]
    block = Block(plan_reads(points)[0], points, ADDRESS)
    for _ in range(2):
        assert list(read(block, meter).values()) == [-12.3456, 1.0, -2.0, -11.3456]


def test_a_meter_with_fewer_phases_leaves_the_others_bad(meter: Meter) -> None:
    del meter.values["02010300"]
    points = [spec(f"02010{phase}00") for phase in (1, 2, 3)]
    block = Block(plan_reads(points)[0], points, ADDRESS)
    assert read(block, meter) == {"02010100": 231.4, "02010200": 230.9}
    assert math.isnan(block.value[2])


def test_a_phase_without_value_is_bad_but_a_wrong_digit_spoils_all(meter: Meter) -> None:
    points = [spec(f"02010{phase}00") for phase in (1, 2, 3)]
    block = Block(plan_reads(points)[0], points, ADDRESS)
    meter.values["02010200"] = b"\xff\xff"
    assert read(block, meter) == {"02010100": 231.4, "02010300": 229.8}
    meter.values["02010200"] = b"\xff\x0f"
    with pytest.raises(BadReply, match="digit"):
        read(block, meter)


def test_scale_range_and_map_are_the_products(meter: Meter) -> None:
    power = spec("02030000")
    points = [
        replace(power, scale=-40.0, add=1.0),
        replace(power, lo=-12.0),
        replace(power, map={-12: 4.0}),
        replace(power, map={3: 4.0}),
    ]
    block = Block(plan_reads(points)[0], points, ADDRESS)
    read(block, meter)
    assert block.value[0] == pytest.approx(12.3456 * 40.0 + 1.0)
    assert block.quality.tolist() == [Quality.GOOD, Quality.BAD, Quality.GOOD, Quality.BAD]
    assert block.value[2] == 4.0
