"""Only a reply that answers the open request brings a value; whatever is done to its bytes."""

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlt645 import values
from drivers.dlt645.frames import ANYONE, Request, is_address, read_address, read_item
from drivers.simulator.dlt645 import Meter, framed
from models.errors import BadReply, DriverError, NoReply, Refused

Say = Callable[[Meter, Request], bytes]
ADDRESS = "000012345678"
OWN = bytes.fromhex(ADDRESS)[::-1]
POWER = bytes.fromhex("00000302")
"""The data identifier 02030000, low byte first."""


def request(di: str = "02030000", unit: str = ADDRESS) -> Request:
    return next(read_item(unit, di, values.sizes(di) or range(9)))


def judged(asked: Request, frame: bytes) -> bytes | None:
    """Return what a link would hand on for the bytes that came, None when it is nothing."""
    if asked.missing(frame) != 0:
        return None
    try:
        return asked.serial_payload(frame)
    except DriverError:
        return None


@pytest.mark.parametrize(
    ("di", "sent", "came", "value"),
    [
        ("00010000", "fefefefe6861010000000068110433333433" "1416",
         "6861010000000068910833333433593333338a16", "26000000"),
        ("02010100", "fefefefe6861010000000068110433343435" "1716",
         "68610100000000689106333434353443" "1016", "0110"),
    ],
)  # fmt: skip
def test_frames_printed_elsewhere_are_sent_and_understood(di: str, sent: str, came: str, value: str) -> None:
    asked = request(di, "000000000161")
    assert asked.serial_frame().hex() == sent
    assert asked.serial_payload(bytes.fromhex(came)).hex() == "00" + value


def test_every_beginning_of_a_reply_tells_how_much_is_missing(meter: Meter, say: Say) -> None:
    asked = request()
    for wake in (0, 1, 4, 8):
        meter.wake = wake
        reply = say(meter, asked)
        for size in range(len(reply)):
            assert 1 <= asked.missing(reply[:size]) <= len(reply) - size, "never more than will come"
        assert asked.missing(reply) == 0
        assert asked.missing(reply + b"\x00") < 0
        assert len(reply) <= asked.largest


WRONG = [
    ("another meter", framed(bytes.fromhex("123456789012")[::-1], 0x91, POWER + bytes(3))),
    ("another item", framed(OWN, 0x91, bytes.fromhex("00000402") + bytes(3))),
    ("one byte of value too few", framed(OWN, 0x91, POWER + bytes(2))),
    ("one byte of value too many", framed(OWN, 0x91, POWER + bytes(4))),
    ("no value", framed(OWN, 0x91, POWER)),
    ("no data at all", framed(OWN, 0x91, b"")),
    ("the reply to a write", framed(OWN, 0x94, POWER + bytes(3))),
    ("the reply to a read of more frames", framed(OWN, 0x92, POWER + bytes(3))),
    ("a request, not a reply", framed(OWN, 0x11, POWER + bytes(3))),
    ("an error with two bytes", framed(OWN, 0xD1, bytes(2))),
    ("an error about something else", framed(OWN, 0xD4, bytes(1))),
    ("an address that is no number", framed(b"\xaa" * 6, 0x91, POWER + bytes(3))),
    ("our own request", framed(OWN, 0x11, POWER)),
]


@pytest.mark.parametrize(("what", "frame"), WRONG)
def test_a_whole_frame_that_does_not_answer_is_no_reply(what: str, frame: bytes) -> None:
    asked = request()
    assert asked.missing(frame) == 0
    with pytest.raises(BadReply):
        asked.serial_payload(frame)


def test_an_adapter_that_echoes_is_named() -> None:
    asked = request()
    with pytest.raises(BadReply, match="echoes"):
        asked.serial_payload(asked.serial_frame())


def test_bytes_that_wrap_when_33h_is_added_come_back(meter: Meter, say: Say) -> None:
    meter.values["02030000"] = -50.9999
    asked = request()
    reply = say(meter, asked)
    assert reply[-5:-2] == bytes((0x99 + 0x33, 0x99 + 0x33, (0xD0 + 0x33) & 0xFF))
    assert asked.serial_payload(reply) == bytes.fromhex("009999d0")


def test_garbage_is_no_reply() -> None:
    asked = request()
    reply = framed(OWN, 0x91, POWER + bytes(3))
    assert asked.missing(bytes(9)) < 0, "nothing begins in the first 8 bytes"
    assert asked.missing(b"\x68" + bytes(7)) < 0, "the second 68 is missing"
    assert asked.missing(reply[:9] + b"\xff") < 0, "longer than a reply can be"
    assert asked.serial_payload(b"\x00\xff" + reply) == bytes(4), "spoiled wake-up bytes do no harm"
    with pytest.raises(BadReply, match="no frame"):
        asked.serial_payload(reply[:-1])


@pytest.mark.parametrize(
    ("bits", "words"), [(2, "no such data"), (0x44, "wrong password.*rates"), (0, "unnamed")]
)
def test_an_error_byte_is_told_in_words(meter: Meter, say: Say, bits: int, words: str) -> None:
    asked = request()
    with pytest.raises(Refused, match=words):
        asked.serial_payload(framed(OWN, 0xD1, bytes((bits,))))


def run(meter: Meter, say: Say, steps: Iterator[Request]) -> object:
    """Carry out a generator against a meter."""
    asked = next(steps)
    while True:
        try:
            asked = steps.send(asked.serial_payload(say(meter, asked)))  # type: ignore[attr-defined]
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("largest", [200, 30, 9])
def test_a_long_item_comes_in_several_frames(meter: Meter, say: Say, largest: int) -> None:
    meter.largest = largest
    meter.values |= {f"0001{rate:02X}00": rate + 0.25 for rate in range(64)}
    value = run(meter, say, read_item(ADDRESS, "0001FF00"))
    assert isinstance(value, bytes)
    group = values.find("0001FF00")[0]  # type: ignore[index]
    assert [values.number(group, value[4 * k : 4 * k + 4]) for k in range(64)] == [
        k + 0.25 for k in range(64)
    ]
    assert len(meter.asked) == -(-256 // (largest - 5))


def test_frames_of_a_long_item_must_follow_each_other(meter: Meter, say: Say) -> None:
    meter.largest = 9
    steps = read_item(ADDRESS, "0203FF00", range(3, 13, 3))
    second = steps.send(next(steps).serial_payload(say(meter, request("0203FF00"))))
    third = next(read_item(ADDRESS, "0203FF00"))
    with pytest.raises(BadReply):
        second.serial_payload(say(meter, third))
    third = Request(second.unit, second.control, second.data[:4] + b"\x02", second.sizes)
    with pytest.raises(BadReply):
        second.serial_payload(say(meter, third))
    assert second.shape != third.shape


def test_a_long_item_of_a_length_that_cannot_be_is_no_reply() -> None:
    steps = read_item(ADDRESS, "0203FF00", range(3, 13, 3))
    next(steps)
    steps.send(b"\x01" + bytes(4))
    with pytest.raises(BadReply, match="2 frames"):
        steps.send(b"\x00" + bytes(1))


def test_frames_without_end_are_no_reply() -> None:
    steps = read_item(ADDRESS, "0203FF00")
    next(steps)
    with pytest.raises(BadReply, match="do not end"):
        for _ in range(256):
            steps.send(b"\x01\x00")


@pytest.mark.parametrize("steps", [read_item(ADDRESS, "02030000"), read_address()])
def test_an_error_that_is_sent_in_comes_out(steps: Iterator[Request]) -> None:
    next(steps)
    with pytest.raises(NoReply):
        steps.send(NoReply("nothing came"))  # type: ignore[attr-defined]


def test_the_address_of_the_only_meter_can_be_asked(meter: Meter, say: Say) -> None:
    assert run(meter, say, read_address()) == ADDRESS
    assert run(meter, say, read_address("AAAAAAAA5678")) == ADDRESS
    assert say(meter, next(read_address("AAAAAAAA5679"))) == b"", "not this one"
    with pytest.raises(BadReply, match="answered"):
        next(read_address("AAAAAAAA5679")).serial_payload(framed(OWN, 0x93, OWN))
    with pytest.raises(BadReply, match="says that it is"):
        next(read_address()).serial_payload(framed(OWN, 0x93, OWN[:5] + b"\x01"))
    with pytest.raises(BadReply):
        next(read_address()).serial_payload(framed(OWN, 0xB3, OWN))


def test_a_wildcard_reads_whatever_meter_is_there(meter: Meter, say: Say) -> None:
    asked = request(unit=ANYONE)
    assert asked.serial_payload(say(meter, asked)).hex() == "00563492"


@pytest.mark.parametrize(
    "address", ["", "12345678901", "1234567890123", "12345678901A", "١٢٣٤٥٦٧٨٩٠١٢", "0000AAAA0000"]
)
def test_what_is_no_address_is_not_asked(address: str) -> None:
    assert not is_address(address)
    with pytest.raises(ValueError):
        next(read_item(address, "02030000"))


@pytest.mark.parametrize("di", ["", "0203000", "02030000FF", "0203000G"])
def test_what_is_no_data_identifier_is_not_asked(di: str) -> None:
    with pytest.raises(ValueError):
        next(read_item(ADDRESS, di))


def spoiled(frame: bytes) -> Iterator[bytes]:
    """Yield what one fault makes of a frame: byte, burst of up to 8 bits, byte lost, added, doubled."""
    for at in range(len(frame)):
        for byte in range(256):
            if byte != frame[at]:
                yield frame[:at] + bytes((byte,)) + frame[at + 1 :]
        yield frame[:at]
        yield frame[:at] + frame[at + 1 :]
        yield frame[:at] + frame[at : at + 1] + frame[at:]
        for byte in (0x00, 0x16, 0x33, 0x68, 0xFE, 0xFF):
            yield frame[:at] + bytes((byte,)) + frame[at:]
    bits = int.from_bytes(frame, "little")
    for at in range(8 * len(frame) - 8):
        for burst in range(3, 256, 2):
            yield (bits ^ burst << at).to_bytes(len(frame), "little")


@pytest.mark.parametrize("di", ["02030000", "02010100", "0201FF00", "00010000"])
def test_no_single_fault_makes_a_wrong_value(meter: Meter, say: Say, di: str) -> None:
    asked = request(di)
    reply = say(meter, asked)[meter.wake :]
    truth = asked.serial_payload(reply)
    wrong = [frame.hex() for frame in spoiled(reply) if judged(asked, frame) not in (None, truth)]
    assert not wrong


@given(st.binary(max_size=60))
def test_bytes_at_random_are_no_reply(noise: bytes) -> None:
    assert judged(request(), noise) is None


def test_two_errors_that_cancel_pass_the_sum() -> None:
    """What the sum cannot see the parity bit of each byte can; this is why the line has to check it."""
    asked, reply = request(), framed(OWN, 0x91, POWER + b"\x11\x22\x33")
    cancelled = reply[:14] + bytes((reply[14] + 1, reply[15] - 1)) + reply[16:]
    assert judged(asked, cancelled) == b"\x00\x12\x21\x33"
    assert [(old ^ new).bit_count() % 2 for old, new in zip(reply[14:16], cancelled[14:16], strict=True)] != [
        0,
        0,
    ]


@pytest.mark.slow
def test_noise_on_a_line_with_parity_hardly_ever_makes_a_wrong_value(meter: Meter, say: Say) -> None:
    """A byte with an odd number of flipped bits is dropped by the parity check of the port."""
    asked, dice = request(), random.Random()
    reply = say(meter, asked)
    truth, wrong, spoiled_frames = asked.serial_payload(reply), 0, 0
    for _ in range(200_000):
        flips = [sum(1 << bit for bit in range(9) if dice.random() < 0.01) for _ in reply]
        heard = bytes(
            byte ^ flip & 0xFF for byte, flip in zip(reply, flips, strict=True) if flip.bit_count() % 2 == 0
        )
        spoiled_frames += heard != reply
        wrong += judged(asked, heard) not in (None, truth)
    print(f"{wrong} wrong values in {spoiled_frames} spoiled replies")
    assert wrong < 1e-3 * spoiled_frames
