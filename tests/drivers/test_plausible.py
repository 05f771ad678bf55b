"""Believable registers speak for a product, zeros and refusals do not."""

import struct

import pytest

from drivers.plausible import DOUBT, Evidence, Registers, against, weight
from drivers.scan import first_variant
from models.point import Role


def evidence(key: str, fill: bytes) -> Evidence:
    registers = Registers(first_variant(key))
    return sum(
        (registers.weigh(b, (fill * b.read.count * 2)[: 2 * b.read.count]) for b in registers.blocks),
        Evidence(),
    )


@pytest.mark.parametrize(
    ("why", "fill", "most"),
    [
        ("all zero", b"\0\0\0\0", 0.05),
        ("all ones", b"\xff\xff\xff\xff", 0.02),
        ("counters in 16 bits are no floats", struct.pack(">HH", 3, 17), 0.05),
    ],
)
def test_what_says_nothing(why: str, fill: bytes, most: float) -> None:
    assert evidence("eastron/sdm630", fill).part <= most, why


def test_floats_of_ordinary_size_say_something() -> None:
    assert evidence("eastron/sdm630", struct.pack(">f", 50.25)).part > 0.3


def test_a_refusal_speaks_against_and_few_registers_never_are_certain() -> None:
    assert (
        (Evidence(3.0, 3.0, 1, 1) + against()).part < Evidence(3.0, 3.0, 1, 1).part < 3.0 / (3.0 + DOUBT / 2)
    )


def test_words_in_both_languages() -> None:
    en, zh = Evidence(1.0, 2.0, 1, 2, ("50 Hz",)).why
    assert en == "1 of 2 registers are believable (50 Hz)"
    assert "50 Hz" in zh


def test_the_block_that_tells_most_comes_first() -> None:
    registers = Registers(first_variant("janitza/umg96rme"))
    specs = registers._of(registers.blocks[0])
    assert any(spec.role in (Role.FREQUENCY_HZ, Role.V_V) for spec in specs)
    sums = [sum(map(weight, registers._of(block))) for block in registers.blocks]
    assert sums == sorted(sums, reverse=True)
