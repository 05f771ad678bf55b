import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_link.protocol.canonical import MAX_BYTES, Rejected, canonical
from cloud_link.protocol.command import (
    FINAL_STAGES,
    REJECT_CODES,
    SEQ_MAX,
    STAGES,
    Ack,
    Command,
    command_hash,
    decode_ack,
    decode_command,
    encode_ack,
    encode_command,
    is_reached,
)
from cloud_link.protocol.confirm import Confirm, decode_confirm, encode_confirm
from cloud_link.protocol.signing import Keyring, SigningKey, TrustedKey, seal
from models.errors import LinkError

KEY = SigningKey.generate()
RING = Keyring.of(KEY)
COMMAND = Command(1, "01J", "fleet", "demo", "site", "setpoint", -50.5, 1_000, 2_000, 7, "test")
ACK = Ack(1, "01J", "demo", "active", "", 1_500, -50.0, "reached", command_hash(b"x"))

NAMES = st.from_regex(r"[A-Za-z0-9_.:\-]{1,64}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
POWERS = st.floats(allow_nan=False, allow_infinity=False).map(lambda power: power + 0.0)
TIMES = st.integers(0, 2**53)


def sealed(**changes: Any) -> bytes:
    """A well signed command with some fields replaced: the signer is honest, the content is odd."""
    return seal("command", {**asdict(COMMAND), **changes}, KEY)


def code_of(raw: bytes, ring: Keyring = RING) -> str:
    with pytest.raises(Rejected) as caught:
        decode_command(raw, ring)
    return caught.value.code


@given(
    st.builds(
        Command,
        st.just(1),
        NAMES,
        NAMES,
        TEXTS,
        TEXTS,
        st.just("setpoint"),
        POWERS,
        TIMES,
        TIMES,
        st.integers(0, SEQ_MAX),
        TEXTS,
    )
)
def test_a_command_comes_back_as_it_was(command: Command) -> None:
    assert decode_command(encode_command(command, KEY), RING) == command


@given(
    st.builds(
        Ack,
        st.just(1),
        TEXTS,
        TEXTS,
        st.sampled_from([s for s in STAGES if s != "rejected"]),
        st.just(""),
        st.integers(),
        st.none() | POWERS,
        TEXTS,
        TEXTS,
    )
)
def test_an_ack_comes_back_as_it_was(ack: Ack) -> None:
    assert decode_ack(encode_ack(ack, KEY), RING) == ack


@given(st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1), TEXTS)
def test_a_confirmation_comes_back_as_it_was(epoch: int, number: int, site: str) -> None:
    confirm = Confirm(1, site, epoch, number)
    assert decode_confirm(encode_confirm(confirm, KEY), RING) == confirm


@given(st.binary(max_size=300))
def test_noise_is_rejected_and_nothing_else(raw: bytes) -> None:
    for decode in (decode_command, decode_ack, decode_confirm):
        with pytest.raises(Rejected):
            decode(raw, RING)


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_flipped_byte_is_never_accepted(position: int, flip: int) -> None:
    raw = bytearray(encode_command(COMMAND, KEY))
    raw[position % len(raw)] ^= flip
    with pytest.raises(Rejected):
        decode_command(bytes(raw), RING)


GOOD = encode_command(COMMAND, KEY)

MALFORMED = [
    ("empty", b""),
    ("not an object", b"[1]"),
    ("a number as text (B2)", sealed(p_kw="100")),
    ("a number as exponent text (B2)", sealed(p_kw="1e2")),
    ("a number in hex text (B2)", sealed(p_kw="0x64")),
    ("full-width digits (B2)", sealed(p_kw="１００")),
    ("hexadecimal (B2)", GOOD.replace(b"-50.5", b"0x64")),
    ("a bool as power", sealed(p_kw=True)),
    ("a bool as version", sealed(v=True)),
    ("a bool as number", sealed(seq=True)),
    ("a float as number", sealed(seq=7.0)),
    ("a float as time", sealed(valid_to_ms=2_000.0)),
    ("no power", sealed(p_kw=None)),
    ("a key twice (B3)", GOOD.replace(b'"seq":7', b'"seq":7,"seq":8')),
    ("trailing bytes (B3)", GOOD + b"x"),
    ("two messages (B3)", GOOD + GOOD),
    ("a byte order mark (B3)", b"\xef\xbb\xbf" + GOOD),
    ("invalid UTF-8 (B3)", GOOD.replace(b'"test"', b'"tes\xff"')),
    ("UTF-16 (B3)", GOOD.decode().encode("utf-16")),
    ("half a character (B3)", GOOD.replace(b'"test"', b'"\\ud800"')),
    ("too long (B4)", GOOD[:-1] + b" " * MAX_BYTES + b"}"),
    ("nested 60000 deep (B4)", b"[" * 60_000),
    ("nested objects (B4)", b'{"a":' * 10_000),
    ("an integer of 5000 digits (B4)", GOOD.replace(b'"seq":7', b'"seq":' + b"7" * 5_000)),
    ("a nested field", sealed().replace(b'"test"', b'{"a":1}')),
    ("an unknown key", sealed(extra=1)),
    ("a missing key", canonical({"v": 1, "id": "01J"})),
    ("an id with a space", sealed(id="a b")),
    ("an id of 65 letters", sealed(id="a" * 65)),
    ("an empty issuer", sealed(issuer="")),
    ("a negative number", sealed(seq=-1)),
    ("a number above 64 bits (B6)", sealed(seq=SEQ_MAX + 1)),
    ("a time before 1970", sealed(valid_from_ms=-1)),
    ("a time beyond exact integers", sealed(valid_to_ms=2**60)),
    ("a book as reason", sealed(reason="x" * 501)),
]

WRONG = [
    ("NaN (B1)", GOOD.replace(b"-50.5", b"NaN"), "RANGE"),
    ("infinity (B1)", GOOD.replace(b"-50.5", b"-Infinity"), "RANGE"),
    ("a number that overflows (B1)", GOOD.replace(b"-50.5", b"1e400"), "RANGE"),
    ("negative zero (B1)", sealed(p_kw=-0.0), "RANGE"),
    ("an integer beyond floats (B1)", sealed(p_kw=10**400), "RANGE"),
    ("a stop with a power", sealed(kind="stop", p_kw=5.0), "RANGE"),
    ("an unknown kind (B5)", sealed(kind="explode"), "UNKNOWN_KIND"),
    ("a version of the future (B5)", sealed(v=2), "UNKNOWN_KIND"),
    ("an altered power (B9)", GOOD.replace(b"-50.5", b"-51.5"), "SIG"),
    ("an upper-case signature (B9)", GOOD.replace(b'"sig":"', b'"sig":"A'), "SIG"),
    ("an ack sent as a command", seal("ack", asdict(COMMAND), KEY), "SIG"),
    ("a stranger's key (B9)", seal("command", asdict(COMMAND), SigningKey.generate()), "SIG"),
]


@pytest.mark.parametrize(("why", "raw"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_malformed_commands(why: str, raw: bytes) -> None:
    assert code_of(raw) == "MALFORMED"


@pytest.mark.parametrize(("why", "raw", "code"), WRONG, ids=[row[0] for row in WRONG])
def test_wrong_commands(why: str, raw: bytes, code: str) -> None:
    assert code_of(raw) == code


def test_the_claimed_id_of_a_rejected_command_is_told_when_it_is_one() -> None:
    for raw, claimed in [(sealed(kind="x"), "01J"), (sealed(id="a b"), ""), (b"{}", ""), (b'{"id":3}', "")]:
        with pytest.raises(Rejected) as caught:
            decode_command(raw, RING)
        assert caught.value.command_id == claimed


def test_a_key_speaks_only_for_its_issuer_and_its_kinds() -> None:
    def ring(issuer: str, *kinds: str) -> Keyring:
        return Keyring({KEY.key_id: TrustedKey(KEY.public, issuer, frozenset(kinds))})

    assert decode_command(GOOD, ring("fleet", "setpoint")) == COMMAND
    assert code_of(GOOD, ring("other")) == "SIG"
    assert code_of(GOOD, ring("fleet", "stop")) == "SIG"


def test_an_integer_power_is_a_power_and_zero_has_one_sign() -> None:
    assert decode_command(sealed(p_kw=-50), RING).p_kw == -50.0
    raw = encode_command(replace(COMMAND, p_kw=-0.0), KEY)
    assert json.loads(raw)["p_kw"] == 0.0 and b"-0.0" not in raw
    assert decode_command(raw, RING).p_kw == 0.0


@pytest.mark.parametrize("power", [float("nan"), float("inf")])
def test_what_is_no_number_cannot_be_sent(power: float) -> None:
    with pytest.raises(LinkError):
        encode_command(replace(COMMAND, p_kw=power), KEY)


def test_extra_spaces_and_another_order_are_the_same_message() -> None:
    message = json.loads(GOOD)
    assert decode_command(json.dumps(dict(reversed(message.items())), indent=2).encode(), RING) == COMMAND


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "maybe"},
        {"stage": "rejected"},
        {"stage": "rejected", "code": "BECAUSE"},
        {"code": "SIG"},
        {"t_ms": "now"},
        {"actual_kw": "5"},
        {"actual_kw": True},
    ],
)
def test_malformed_acks(changes: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as caught:
        decode_ack(seal("ack", {**asdict(ACK), **changes}, KEY), RING)
    assert caught.value.code == "MALFORMED"


def test_a_site_acknowledges_only_for_itself() -> None:
    raw = encode_ack(ACK, KEY)
    assert decode_ack(raw, Keyring.of(KEY, issuer="demo")) == ACK
    with pytest.raises(Rejected, match="SIG"):
        decode_ack(raw, Keyring.of(KEY, issuer="other"))
    with pytest.raises(Rejected, match="SIG"):
        decode_ack(seal("command", asdict(ACK), KEY), RING)


def test_every_code_can_be_told() -> None:
    for code in REJECT_CODES:
        rejected = replace(ACK, stage="rejected", code=code)
        assert decode_ack(encode_ack(rejected, KEY), RING) == rejected
    assert set(STAGES) > FINAL_STAGES


@pytest.mark.parametrize("changes", [{"v": 2}, {"epoch": -1}, {"number": -1}, {"number": 2**53}, {"site": 3}])
def test_malformed_confirmations(changes: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        decode_confirm(seal("confirm", {**asdict(Confirm(1, "demo", 3, 4)), **changes}, KEY), RING)


@pytest.mark.parametrize(
    ("actual_kw", "target_kw", "reached"),
    [
        (None, 0.0, False),
        (2.0, 0.0, True),
        (2.1, 0.0, False),
        (-95.0, -100.0, True),
        (-94.9, -100.0, False),
        (0.0, float("nan"), False),
    ],
)
def test_reached_is_within_2_kw_or_5_percent(
    actual_kw: float | None, target_kw: float, reached: bool
) -> None:
    assert is_reached(actual_kw, target_kw) is reached
