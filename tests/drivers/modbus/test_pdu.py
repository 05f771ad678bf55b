"""The uncommon functions: encoded as the specification's examples, and which replies are believed."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus import frames, pdu
from models.errors import BadReply, DriverError, NoReply, Refused

EXAMPLES = [
    # request, its PDU, reply, data: the specification's own (V1.1b3, chapter 6) unless it has none
    (pdu.read_exception_status(1), "07", "07 6D", "6D"),
    (pdu.diagnose(1, 0, b"\xa5\x37"), "08 0000 A537", "08 0000 A537", ""),
    (pdu.diagnose(1, 12), "08 000C 0000", "08 000C 0005", "0005"),
    (pdu.read_event_counter(1), "0B", "0B FFFF 0108", "FFFF 0108"),
    (pdu.read_event_log(1), "0C", "0C 08 0000 0108 0121 2000", "08 0000 0108 0121 2000"),
    (pdu.report_server_id(1), "11", "11 03 05 FF 41", "03 05 FF 41"),
    (
        pdu.read_file(1, [(4, 1, 2), (3, 9, 2)]),
        "14 0E 06 0004 0001 0002 06 0003 0009 0002",
        "14 0C 05 06 0DFE 0020 05 06 33CD 0040",
        "05 06 0DFE 0020 05 06 33CD 0040",
    ),
    (
        pdu.write_file(1, [(4, 7, bytes.fromhex("06AF04BE100D"))]),
        "15 0D 06 0004 0007 0003 06AF 04BE 100D",
        "15 0D 06 0004 0007 0003 06AF 04BE 100D",
        "",
    ),
    (pdu.mask_register(1, 4, 0xF2, 0x25), "16 0004 00F2 0025", "16 0004 00F2 0025", ""),
    (
        pdu.write_and_read(1, 3, 6, 14, b"\x00\xff" * 3),
        "17 0003 0006 000E 0003 06 00FF 00FF 00FF",
        "17 0C 00FE 0ACD 0001 0003 000D 00FF",
        "00FE 0ACD 0001 0003 000D 00FF",
    ),
    (pdu.read_fifo(1, 0x4DE), "18 04DE", "18 0006 0002 01B8 1284", "0006 0002 01B8 1284"),
    (
        pdu.device_id(1),
        "2B 0E 01 00",
        "2B 0E 01 01 00 00 02 00 03 414243 01 01 44",
        "01 00 00 02 00 03 414243 01 01 44",
    ),
    (frames.write_coil(1, 0xAC, True), "05 00AC FF00", "05 00AC FF00", ""),
    (
        frames.write_coils(1, 0x13, [bool(0x1CD >> i & 1) for i in range(10)]),
        "0F 0013 000A 02 CD01",
        "0F 0013 000A",
        "",
    ),
]


@pytest.mark.parametrize(("request_", "asked", "reply", "data"), EXAMPLES)
def test_the_examples_of_the_specification(bench, request_, asked, reply, data) -> None:
    assert request_.pdu == bytes.fromhex(asked)
    assert frames.payload(request_, bytes.fromhex(reply)) == bytes.fromhex(data)
    frame = bench.rtu_wrap(1, bytes.fromhex(reply))
    assert request_.serial_payload(frame) == bytes.fromhex(data)


@pytest.mark.parametrize(("request_", "asked", "reply", "data"), EXAMPLES)
def test_a_reply_that_comes_byte_by_byte_is_complete_at_its_last(bench, request_, asked, reply, data) -> None:
    frame = bench.rtu_wrap(1, bytes.fromhex(reply))
    for have in range(len(frame)):
        assert 1 <= request_.missing(frame[:have]) <= len(frame) - have
    assert request_.missing(frame) == 0
    assert request_.missing(frame + b"\0") < 0
    assert len(frame) <= request_.largest
    refusal = bench.rtu_wrap(1, bytes((request_.pdu[0] | 0x80, 1)))
    assert [request_.missing(refusal[:n]) for n in (2, 5)] == [3, 0]
    with pytest.raises(Refused):
        request_.serial_payload(refusal)


@pytest.mark.parametrize(("request_", "asked", "reply", "data"), EXAMPLES)
def test_a_reply_of_another_function_or_length_is_not_believed(request_, asked, reply, data) -> None:
    right = bytes.fromhex(reply)
    for wrong in (b"\x03" + right[1:], right[:-1], right + b"\0", b"\x03\x02\x00\x01", b"\x2b"):
        with pytest.raises(BadReply):
            frames.payload(request_, wrong)


DISAGREEING = [
    (pdu.diagnose(1, 12), "08 000D 0005", "another sub function"),
    (pdu.diagnose(1, 0, b"\xa5\x37"), "08 0000 A538", "an echo that is none"),
    (pdu.read_event_log(1), "0C 04 0000 0108", "a log without its counters"),
    (pdu.read_file(1, [(4, 1, 2)]), "14 06 05 07 0DFE 0020", "another reference type"),
    (pdu.read_file(1, [(4, 1, 2)]), "14 06 03 06 0DFE 0020", "a record of another length"),
    (pdu.mask_register(1, 4, 0xF2, 0x25), "16 0004 00F2 0024", "another mask"),
    (pdu.read_fifo(1, 0x4DE), "18 0006 0003 01B8 1284", "counts that disagree"),
    (pdu.read_fifo(1, 0x4DE), "18 0042 0020" + "0000" * 32, "more than a queue holds"),
    (pdu.device_id(1), "2B 0E 02 01 00 00 00", "another access"),
    (pdu.device_id(1), "2B 0D 01 01 00 00 00", "another sub function"),
    (pdu.device_id(1), "2B 0E 01 01 00 00 02 00 03 414243", "an object less than counted"),
    (pdu.device_id(1), "2B 0E 01 01 00 00 01 00 04 414243", "an object shorter than it says"),
]


@pytest.mark.parametrize(("request_", "reply", "why"), DISAGREEING)
def test_what_disagrees_is_not_believed(request_, reply, why) -> None:
    with pytest.raises(BadReply):
        frames.payload(request_, bytes.fromhex(reply))


@given(st.sampled_from([row[0] for row in EXAMPLES]), st.binary(min_size=0, max_size=260))
def test_no_bytes_break_the_proof(request_, noise) -> None:
    request_.missing(noise)
    try:
        frames.payload(request_, noise)
    except DriverError:
        pass


def identify(*replies):
    """Run the generator against replies; return its result and the objects that were asked for."""
    steps, asked, sent = pdu.read_device_id(7), [], None
    try:
        for reply in (*replies, AssertionError("asked once more")):
            request = steps.send(sent)
            asked.append(request.pdu[3])
            if isinstance(reply, AssertionError):
                raise reply
            sent = reply if isinstance(reply, DriverError) else frames.payload(request, bytes.fromhex(reply))
    except StopIteration as end:
        return end.value, asked
    raise AssertionError


def test_the_identification_is_read_to_its_end() -> None:
    found, asked = identify(
        "2B 0E 01 01 FF 01 01 00 07 59756E63687520",
        "2B 0E 01 01 FF 02 01 01 03 504353",
        "2B 0E 01 01 00 00 01 02 02 3100",
    )
    assert found == {0: "Yunchu", 1: "PCS", 2: "1"} and asked == [0, 1, 2]


def test_an_identification_without_end_is_given_up() -> None:
    with pytest.raises(BadReply, match="back"):
        identify("2B 0E 01 01 FF 01 01 00 01 41", "2B 0E 01 01 FF 00 01 01 01 42")


def test_an_error_comes_out_again() -> None:
    with pytest.raises(NoReply):
        identify(NoReply("silent"))


IMPOSSIBLE = [
    lambda: pdu.diagnose(1, 4),
    lambda: pdu.diagnose(1, 12, b"\0\0\0\0"),
    lambda: pdu.read_file(1, [(1, 1, 122)]),
    lambda: pdu.read_file(1, []),
    lambda: pdu.write_file(1, [(1, 1, bytes(250))]),
    lambda: pdu.write_and_read(1, 0, 126, 0, b"\0\0"),
    lambda: pdu.write_and_read(1, 0, 1, 0, bytes(2 * 122)),
    lambda: frames.write_coils(1, 0, [True] * 1969),
    lambda: frames.write_coil(1, 65_536, True),
]


@pytest.mark.parametrize("build", IMPOSSIBLE)
def test_what_the_protocol_cannot_carry_is_not_built(build) -> None:
    with pytest.raises(ValueError):
        build()


def test_pymodbus_is_loaded_only_to_build_one() -> None:
    code = "import sys, drivers.modbus.pdu, drivers.modbus.build; sys.exit('pymodbus' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
