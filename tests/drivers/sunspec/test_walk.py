"""Discovery on good maps and on every kind of bad one."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.frames import Request
from drivers.simulator.sunspec import Device, Map, Model, serve
from drivers.sunspec.walk import BASES, MODELS_MAX, ModelAt, discover, text
from models.errors import BadReply, DriverError, NoReply, Refused
from tests.drivers.sunspec.reader import Memory, Wire, drive, memory

COMMON = Model(1, {"Mn": "Acme", "Md": "X-9", "Vr": "1.0", "SN": "007"})


def words_of(*words: int, base: int = 40_000) -> Memory:
    """Return a map of these words behind the marker."""
    empty = Map([], base, end=False)
    empty.words += words
    return Memory([Device(empty)])


@pytest.mark.parametrize("base", BASES)
def test_the_chain_is_found_at_every_base(base: int) -> None:
    ask = memory(COMMON, Model(103), Model(160, {"module": [{}, {}]}), base=base)
    chain = drive(discover(1), ask)
    assert chain.base == base
    assert chain.models == (
        ModelAt(1, base + 2, 66),
        ModelAt(103, base + 70, 50),
        ModelAt(160, base + 122, 48),
    )
    assert chain.texts == {"Mn": "Acme", "Md": "X-9", "Opt": "", "Vr": "1.0", "SN": "007"}
    assert not chain.trouble
    assert {count for _, _, count in ask.asked} <= {2, 8, 16}


def test_the_second_model_of_a_number_is_its_second_instance() -> None:
    chain = drive(discover(1), memory(COMMON, Model(203), Model(203), Model(160, {"module": [{}]})))
    first, second = chain.find(203, 1), chain.find(203, 2)
    assert first and second and second.address == first.address + 107
    assert [chain.find(203, number) for number in (0, 3)] == [None, None]
    assert chain.find(101) is None


@pytest.mark.parametrize(
    "words, models, trouble",
    [
        # an end model of one register, as some devices have it
        ((1, 66, *[0] * 66, 0xFFFF), 1, ""),
        # an end model with a length
        ((1, 66, *[0] * 66, 0xFFFF, 7), 1, ""),
        # nothing behind the last model
        ((1, 66, *[0] * 66), 1, "there is no model at 40070"),
        # half a header
        ((1, 66, *[0] * 66, 103), 1, "there is no model at 40070"),
        # the map ends inside a model: the model is there, its end is not
        ((1, 66, *[0] * 66, 103, 50, 1), 2, "there is no model at 40122"),
        # memory of zeros behind the last model
        ((1, 66, *[0] * 100), 1, "model number 0 at 40070"),
        # a length beyond all addresses
        ((1, 66, *[0] * 66, 103, 0xFFF0), 1, "model 103 at 40070 claims 65520 registers"),
        # rubbish that never ends
        ((7, 0) * 400, MODELS_MAX, "more than 250 models"),
        # no common model, but an end
        ((103, 2, 0, 0, 0xFFFF, 0), 1, ""),
        # an unknown vendor's model with a length of its own is walked over
        ((64_900, 3, 1, 2, 3, 103, 0, 0xFFFF, 0), 2, ""),
        # an empty map
        ((0xFFFF, 0), 0, ""),
        ((), 0, "there is no model at 40002"),
    ],
)
def test_what_a_bad_chain_ends_at(words: tuple[int, ...], models: int, trouble: str) -> None:
    chain = drive(discover(1), words_of(*words))
    assert len(chain.models) == models
    assert chain.trouble.startswith(trouble) and bool(chain.trouble) == bool(trouble)


def test_a_chain_that_runs_to_the_last_address_ends_there() -> None:
    size = 0x1_0000 - 50_000 - 2
    chain = drive(discover(1), words_of(7, size - 2, *[0] * (size - 2), base=50_000))
    assert chain.models == (ModelAt(7, 50_002, size - 2),)
    assert chain.trouble == "the map has no end model"
    chain = drive(discover(1), words_of(7, size - 3, *[0] * (size - 3), 0xFFFF, base=50_000))
    assert not chain.trouble


def test_a_device_without_a_map_answers_but_is_no_sunspec() -> None:
    other = Memory([Device(Map([], 40_000, end=False))])
    other.devices[0].map.words[0] = 0x1234
    with pytest.raises(BadReply, match="no SunSpec map at 40000, 0, 50000"):
        drive(discover(1), other)


@pytest.mark.parametrize(
    "silent, found",
    [
        ((), 40_000),
        # the marker's own reply was lost: whether there is a map is unknown
        ((40_000,), None),
        # silence at another place than the marker's is how some devices refuse
        ((0, 50_000), 40_000),
    ],
)
def test_silence_is_not_taken_for_having_no_map(silent: tuple[int, ...], found: int | None) -> None:
    ask = memory(COMMON)
    ask.faults = {base: [NoReply("silent")] for base in silent}
    if found is None:
        with pytest.raises(NoReply):
            drive(discover(1), ask)
    else:
        assert drive(discover(1), ask).base == found


def test_a_silent_unit_costs_three_requests() -> None:
    asked: list[Request] = []

    def nobody(request: Request) -> DriverError:
        asked.append(request)
        return NoReply("silent")

    with pytest.raises(NoReply):
        drive(discover(9), nobody)
    assert [(request.unit, request.pdu) for request in asked] == [
        (9, struct.pack(">BHH", 3, base, 2)) for base in BASES
    ]


@pytest.mark.parametrize(
    "errors, ends",
    [
        # one lost or broken reply is asked for again
        ([NoReply("")], None),
        ([BadReply("")], None),
        # two are not: a chain must not look shorter because the line is bad
        ([NoReply(""), NoReply("")], NoReply),
        # a device that is busy says nothing about its map
        ([Refused("exception 6 (busy)", 6)], Refused),
    ],
)
def test_a_reply_that_is_missing_in_the_middle(errors: list[DriverError], ends: type | None) -> None:
    ask = memory(COMMON, Model(103), Model(160))
    ask.faults = {40_070: errors}
    if ends:
        with pytest.raises(ends):
            drive(discover(1), ask)
    else:
        assert len(drive(discover(1), ask).models) == 3


def test_exception_2_in_the_middle_ends_the_chain_with_what_was_found() -> None:
    ask = memory(COMMON, Model(103), Model(160))
    ask.devices[0].refused = {40_122}
    chain = drive(discover(1), ask)
    assert [model.id for model in chain.models] == [1, 103]
    assert chain.trouble == "there is no model at 40122, and no end model before it"


def test_a_text_that_is_refused_is_left_out() -> None:
    ask = memory(COMMON)
    ask.devices[0].refused = {40_020}
    assert drive(discover(1), ask).texts == {"Mn": "Acme", "Opt": "", "Vr": "1.0", "SN": "007"}


def test_a_common_model_that_is_too_short_has_only_the_texts_that_fit() -> None:
    ask = memory(Model(1, {"Mn": "Acme", "Md": "X-9"}, length=40))
    assert drive(discover(1), ask).texts == {"Mn": "Acme", "Md": "X-9", "Opt": ""}


@pytest.mark.parametrize(
    "data, shown",
    [
        (b"Acme\0\0\0\0", "Acme"),
        (b"  Acme  ", "Acme"),
        (b"Ac\0me", "Ac"),
        (b"\xff\xff", "��"),
        (b"\0\0", ""),
        ("Fröh\n\x1b[31m".encode(), "Fröh[31m"),
    ],
)
def test_a_text_is_shown_without_what_cannot_be_printed(data: bytes, shown: str) -> None:
    assert text(data) == shown


def test_discovery_works_over_a_real_socket_for_each_unit_of_a_gateway() -> None:
    inverter, meter = Map([COMMON, Model(103)]), Map([COMMON, Model(203)], 0)
    with serve(Device(inverter, 1), Device(meter, 240)) as port, Wire(port) as wire:
        assert [model.id for model in drive(discover(1), wire).models] == [1, 103]
        assert [model.id for model in drive(discover(240), wire).models] == [1, 203]


@given(st.binary(max_size=400))
def test_no_rubbish_makes_the_walk_fail_or_run_on(rubbish: bytes) -> None:
    words = struct.unpack(f">{len(rubbish) // 2}H", rubbish[: len(rubbish) // 2 * 2])
    ask = words_of(*words)
    chain = drive(discover(1), ask)
    assert len(ask.asked) <= 3 * MODELS_MAX
    assert all(model.address + 2 + model.length <= 0x1_0000 for model in chain.models)
