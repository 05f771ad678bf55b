from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_link.accept import FUTURE_MS, KEEP_MS, LONGEST_MS, RATE_MAX, RATE_S, UNKEPT, Acceptor
from cloud_link.protocol.canonical import Rejected
from cloud_link.protocol.command import SEQ_MAX, Command, encode_command
from cloud_link.protocol.signing import Keyring, SigningKey
from models.errors import StoreError

KEY, REVOKED = SigningKey.generate(), SigningKey.generate()
NOW = 1_800_000_000_000
COMMAND = Command(1, "c1", "fleet", "demo", "site", "setpoint", -50.0, NOW, NOW + 15_000, 10, "")
TARGETS = {"site": (-100.0, 100.0), "battery-1": (-60.0, 50.0)}


def open_at(path: Path, *keys: SigningKey) -> Acceptor:
    return Acceptor(path, "demo", Keyring.of(*(keys or (KEY,))), TARGETS)


@pytest.fixture
def acceptor(tmp_path: Path) -> Iterator[Acceptor]:
    acceptor = open_at(tmp_path / "commands.db")
    yield acceptor
    acceptor.close()


def admit(acceptor: Acceptor, command: Command, now_s: float = 0.0, key: SigningKey = KEY) -> int:
    return acceptor.admit(encode_command(command, key), now_s).ref


def refused(acceptor: Acceptor, command: Command, now_s: float = 0.0, key: SigningKey = KEY) -> str:
    with pytest.raises(Rejected) as caught:
        admit(acceptor, command, now_s, key)
    assert caught.value.command_id == command.id
    return caught.value.code


@pytest.mark.parametrize(
    ("why", "command", "key", "code"),
    [
        ("a key that is not known (B9)", COMMAND, REVOKED, "SIG"),
        ("well signed, for another site (B8)", replace(COMMAND, site="demo2"), KEY, "SITE"),
        ("an unknown kind (B5)", replace(COMMAND, kind="explode"), KEY, "UNKNOWN_KIND"),
        ("not even a schema", replace(COMMAND, seq=-1), KEY, "MALFORMED"),
    ],
)
def test_what_proves_nothing_leaves_no_trace(
    acceptor: Acceptor, why: str, command: Command, key: SigningKey, code: str
) -> None:
    assert refused(acceptor, command, key=key) == code
    assert admit(acceptor, COMMAND), "its number was not used up"


@pytest.mark.parametrize(
    ("why", "seq", "code"),
    [
        ("equal (B6)", 10, "REPLAY"),
        ("lower (B6)", 9, "REPLAY"),
        ("higher", 11, ""),
        ("gaps are fine", 999, ""),
    ],
)
def test_a_number_is_good_once(acceptor: Acceptor, why: str, seq: int, code: str) -> None:
    admit(acceptor, COMMAND)
    later = replace(COMMAND, id="c2", seq=seq)
    if code:
        assert refused(acceptor, later) == code
    else:
        assert not acceptor.admit(encode_command(later, KEY), 0.0).again


def test_the_highest_number_is_accepted_once_and_then_the_key_is_used_up(acceptor: Acceptor) -> None:
    admit(acceptor, replace(COMMAND, seq=SEQ_MAX))
    assert refused(acceptor, replace(COMMAND, id="c2", seq=SEQ_MAX)) == "REPLAY"
    assert admit(acceptor, replace(COMMAND, id="c3", issuer="other", seq=1)), "issuers count for themselves"


def test_the_same_command_again_is_recognised_even_after_a_restart(tmp_path: Path) -> None:
    raw = encode_command(COMMAND, KEY)
    first = open_at(tmp_path / "commands.db")
    ref = first.admit(raw, 0.0).ref
    first.record(ref, "rejected", b"the answer")
    first.sent(first.unsent()[0][0])
    first.close()
    second = open_at(tmp_path / "commands.db")
    again = second.admit(raw, 0.0)
    assert (again.again, again.ref) == (True, ref)
    assert second.unsent() == []
    second.repeat(ref)
    assert [body for _, body in second.unsent()] == [b"the answer"]
    assert refused(second, replace(COMMAND, p_kw=-49.0, seq=11)) == "REPLAY", "an id stands for one text"
    assert refused(second, replace(COMMAND, id="c2")) == "REPLAY", "the number is on disk"
    second.close()


def test_the_number_is_on_disk_before_anything_is_done(tmp_path: Path) -> None:
    """A second reader sees the number the moment that admit returns."""
    first, second = open_at(tmp_path / "commands.db"), open_at(tmp_path / "commands.db")
    admit(first, COMMAND)
    assert refused(second, replace(COMMAND, id="c2")) == "REPLAY"
    first.close()
    second.close()


JUDGED = [
    ("in time", {}, NOW, True, ""),
    ("at its very end", {}, NOW + 15_000, True, ""),
    ("over", {}, NOW + 15_001, True, "EXPIRED"),
    ("begins in 48 h", {"valid_from_ms": NOW + FUTURE_MS, "valid_to_ms": NOW + FUTURE_MS + 1}, NOW, True, ""),
    (
        "begins later",
        {"valid_from_ms": NOW + FUTURE_MS + 1, "valid_to_ms": NOW + FUTURE_MS + 2},
        NOW,
        True,
        "FUTURE",
    ),
    ("lasts 24 h", {"valid_to_ms": NOW + LONGEST_MS}, NOW, True, ""),
    ("lasts longer", {"valid_to_ms": NOW + LONGEST_MS + 1}, NOW, True, "RANGE"),
    ("ten years (B7)", {"valid_to_ms": NOW + 10 * 365 * LONGEST_MS}, NOW, True, "RANGE"),
    ("ends before it begins (B7)", {"valid_from_ms": NOW + 2, "valid_to_ms": NOW + 1}, NOW, True, "RANGE"),
    ("lasts no time", {"valid_from_ms": NOW, "valid_to_ms": NOW}, NOW, True, "RANGE"),
    ("no clock", {}, NOW, False, "TIME_UNTRUSTED"),
    ("a stop without a clock", {"kind": "stop", "p_kw": 0.0}, 0, False, ""),
    ("a stop that is over", {"kind": "stop", "p_kw": 0.0}, NOW + 15_001, True, "EXPIRED"),
    (
        "a ten-year stop without a clock",
        {"kind": "stop", "p_kw": 0.0, "valid_to_ms": 2 * NOW},
        0,
        False,
        "RANGE",
    ),
    ("all that the nameplate gives", {"p_kw": 100.0}, NOW, True, ""),
    ("above the nameplate", {"p_kw": 100.001}, NOW, True, "RANGE"),
    ("below the nameplate", {"p_kw": -100.001}, NOW, True, "RANGE"),
    ("1e308 (B1)", {"p_kw": 1e308}, NOW, True, "RANGE"),
    ("a unit's own nameplate", {"p_kw": 55.0, "target": "battery-1"}, NOW, True, "RANGE"),
    ("a unit", {"p_kw": 50.0, "target": "battery-1"}, NOW, True, ""),
    ("something unknown", {"target": "battery-9"}, NOW, True, "UNKNOWN_KIND"),
]


@pytest.mark.parametrize(
    ("why", "changes", "now_ms", "trusted", "code"), JUDGED, ids=[row[0] for row in JUDGED]
)
def test_validity_and_range(
    acceptor: Acceptor, why: str, changes: dict[str, object], now_ms: int, trusted: bool, code: str
) -> None:
    command = replace(COMMAND, **changes)  # type: ignore[arg-type]
    if not code:
        acceptor.judge(command, now_ms, clock_trusted=trusted)
        return
    with pytest.raises(Rejected) as caught:
        acceptor.judge(command, now_ms, clock_trusted=trusted)
    assert caught.value.code == code


def test_a_flood_is_limited_for_its_issuer_but_a_stop_always_comes_through(acceptor: Acceptor) -> None:
    def numbered(n: int, **changes: object) -> Command:
        return replace(COMMAND, **{"id": f"c{n}", "seq": n, **changes})  # type: ignore[arg-type]

    for n in range(1, RATE_MAX + 1):
        admit(acceptor, numbered(n))
    over = RATE_MAX + 1
    assert refused(acceptor, numbered(over)) == "RATE"
    assert admit(acceptor, numbered(over, id="other", issuer="other"))
    assert admit(acceptor, numbered(over, id="stop", kind="stop", p_kw=0.0))
    assert admit(acceptor, numbered(over + 1), now_s=RATE_S)


def test_open_commands_and_their_ends(tmp_path: Path, acceptor: Acceptor) -> None:
    refs = [admit(acceptor, replace(COMMAND, id=f"c{n}", seq=n)) for n in (1, 2, 3)]
    acceptor.record(refs[0], "accepted", b"a")
    acceptor.record(refs[1], "expired", b"b")
    assert [(each.ref, each.stage) for each in acceptor.open_commands()] == [
        (refs[0], "accepted"),
        (refs[2], "received"),
    ]
    assert acceptor.find("c2") is None and acceptor.find("nobody") is None
    found = acceptor.find("c1")
    assert found is not None and found.command == replace(COMMAND, id="c1", seq=1)
    revoked = open_at(tmp_path / "commands.db", REVOKED)
    assert revoked.open_commands() == [], "nobody follows a command whose key is trusted no more"
    revoked.close()


def test_answers_are_due_until_the_broker_has_them_and_old_ones_are_forgotten(acceptor: Acceptor) -> None:
    ref = admit(acceptor, COMMAND)
    acceptor.record(ref, "received", b"a")
    acceptor.record(ref, "expired", b"b")
    numbers = [number for number, _ in acceptor.unsent()]
    acceptor.sent(numbers[0])
    assert [body for _, body in acceptor.unsent()] == [b"b"]
    long_after = COMMAND.valid_to_ms + KEEP_MS + 1
    acceptor.forget_old(long_after)
    assert [body for _, body in acceptor.unsent()] == [b"b"], "what was never sent is never forgotten"
    acceptor.sent(numbers[1])
    acceptor.forget_old(long_after)
    assert refused(acceptor, COMMAND) == "REPLAY", "the number outlives the rest"


def test_a_disk_that_takes_nothing_holds_up_all_but_a_stop(acceptor: Acceptor) -> None:
    admit(acceptor, COMMAND)
    acceptor._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError):
        admit(acceptor, replace(COMMAND, id="c2", seq=11))
    stop = replace(COMMAND, id="stop", seq=12, kind="stop", p_kw=0.0)
    assert admit(acceptor, stop) == UNKEPT
    assert refused(acceptor, replace(stop, seq=10)) == "REPLAY", "what can be read still counts"
    acceptor._db.execute("PRAGMA query_only = OFF")
    assert admit(acceptor, stop) > UNKEPT


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "commands.db").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(StoreError):
        open_at(tmp_path / "commands.db")
