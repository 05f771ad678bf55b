"""Commands to a site and its acknowledgements: signed, expiring, numbered per issuer.

A command says what, from when to when, and who wants it. An acknowledgement is sent for each stage that a
command reaches. Both are flat messages in the envelope of :mod:`cloud_link.protocol.signing`.
"""

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from cloud_link.protocol.canonical import Rejected, parse
from cloud_link.protocol.signing import Keyring, SigningKey, seal, unseal
from cloud_link.protocol.topics import VERSION

STAGES = ("received", "accepted", "rejected", "active", "done", "expired", "superseded", "aborted")
"""Stages of a command; the last five and ``rejected`` can end it."""

FINAL_STAGES = frozenset(("rejected", "done", "expired", "superseded", "aborted"))

REJECT_CODES = (
    "SIG",
    "REPLAY",
    "EXPIRED",
    "FUTURE",
    "RANGE",
    "LOCAL_MODE",
    "SAFETY",
    "SOC",
    "CONFLICT",
    "UNKNOWN_KIND",
    "TIME_UNTRUSTED",
    "RATE",
    "MALFORMED",
    "SITE",
)

KINDS = ("setpoint", "stop")

REACHED_KW = 2.0
REACHED_SHARE = 0.05
"""A setpoint is reached within the larger of 2 kW and 5 % of it."""

SEQ_MAX = 2**64 - 1
TIME_MAX_MS = 2**53
_NAME = re.compile(r"[\w.:\-]{1,64}", re.ASCII)
_TEXT_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Command:
    """What the fleet wants of a site for a while."""

    v: int
    """Version of the message, 1."""
    id: str
    """Unique, 1 to 64 letters, digits or ``_ . : -`` (a ULID, say)."""
    issuer: str
    """Who wants it; bound to the key that signs."""
    site: str
    target: str
    """``site`` or the name of a unit."""
    kind: str
    """``setpoint`` or ``stop`` (zero power, accepted even when the clock cannot be trusted)."""
    p_kw: float
    """Wanted power of the batteries, discharge +; 0 for a stop."""
    valid_from_ms: int
    """UTC."""
    valid_to_ms: int
    """UTC."""
    seq: int
    """Number of the command, per issuer and site, growing, up to 2**64 - 1."""
    reason: str


@dataclass(frozen=True, slots=True)
class Ack:
    """What became of a command so far."""

    v: int
    command_id: str
    site: str
    stage: str
    """One of STAGES."""
    code: str
    """One of REJECT_CODES when rejected, else empty."""
    t_ms: int
    """UTC."""
    actual_kw: float | None
    """Battery power at that time, discharge +; None when not known."""
    detail: str
    command_hash: str = ""
    """SHA-256 (hex) of the command's bytes as received: proves which text was acknowledged."""


_COMMAND_SHAPE: dict[str, type | tuple[type, ...]] = {
    "v": int,
    "id": str,
    "issuer": str,
    "site": str,
    "target": str,
    "kind": str,
    "p_kw": (float, int),
    "valid_from_ms": int,
    "valid_to_ms": int,
    "seq": int,
    "reason": str,
}

_ACK_SHAPE: dict[str, type | tuple[type, ...]] = {
    "v": int,
    "command_id": str,
    "site": str,
    "stage": str,
    "code": str,
    "t_ms": int,
    "actual_kw": (float, int, type(None)),
    "detail": str,
    "command_hash": str,
}


def command_hash(raw: bytes) -> str:
    """Return the SHA-256 of a command as it travelled, in hex."""
    return hashlib.sha256(raw).hexdigest()


def encode_command(command: Command, key: SigningKey) -> bytes:
    """Return the signed bytes of a command; LinkError if a value cannot be written."""
    return seal("command", {**asdict(command), "p_kw": command.p_kw + 0.0}, key)


def decode_command(raw: bytes, keys: Keyring) -> Command:
    """Read a command: size, parse, schema, key, signature, in this order.

    Whether it is new, in time, for this site and inside limits is for the site to decide.

    Raises:
        Rejected: MALFORMED, RANGE (not a usable number), UNKNOWN_KIND or SIG.
    """
    envelope = parse(raw)
    claimed = envelope.get("id")
    try:
        return _command(envelope, keys)
    except Rejected as rejected:
        rejected.command_id = claimed if isinstance(claimed, str) and _NAME.fullmatch(claimed) else ""
        raise


def _command(envelope: dict[str, Any], keys: Keyring) -> Command:
    _check_version(envelope)
    kind = envelope.get("kind")
    if isinstance(kind, str) and kind not in KINDS:
        raise Rejected("UNKNOWN_KIND", f"kind {kind[:40]!r} is not one of {', '.join(KINDS)}")
    body, key = unseal("command", envelope, _COMMAND_SHAPE, keys)
    command = Command(**{**body, "p_kw": _power(body["p_kw"])})
    for name, fits, code in _COMMAND_CHECKS:
        if not fits(command):
            raise Rejected(code, f"{name} is not allowed")
    if key.issuer and key.issuer != command.issuer:
        raise Rejected("SIG", f"the key does not belong to {command.issuer}")
    if key.kinds and command.kind not in key.kinds:
        raise Rejected("SIG", f"the key may not sign a {command.kind}")
    return command


_COMMAND_CHECKS: tuple[tuple[str, Callable[[Command], bool], str], ...] = (
    ("id", lambda command: bool(_NAME.fullmatch(command.id)), "MALFORMED"),
    ("issuer", lambda command: bool(_NAME.fullmatch(command.issuer)), "MALFORMED"),
    ("reason", lambda command: len(command.reason) <= _TEXT_LONGEST, "MALFORMED"),
    ("seq", lambda command: 0 <= command.seq <= SEQ_MAX, "MALFORMED"),
    ("valid_from_ms", lambda command: 0 <= command.valid_from_ms <= TIME_MAX_MS, "MALFORMED"),
    ("valid_to_ms", lambda command: 0 <= command.valid_to_ms <= TIME_MAX_MS, "MALFORMED"),
    ("p_kw of a stop", lambda command: command.kind != "stop" or command.p_kw == 0.0, "RANGE"),
)


def _check_version(envelope: dict[str, Any]) -> None:
    version = envelope.get("v")
    if type(version) is int and version != VERSION:
        raise Rejected("UNKNOWN_KIND", f"version {version} of the message is not known here; {VERSION} is")


def _power(value: float) -> float:
    """Return a power that can be meant: finite and not the negative zero, which only mistakes produce."""
    try:
        power = float(value)
    except OverflowError:
        power = math.inf
    if not math.isfinite(power) or (power == 0.0 and math.copysign(1.0, power) < 0):
        raise Rejected("RANGE", "the power is not a usable number")
    return power


def encode_ack(ack: Ack, key: SigningKey) -> bytes:
    """Return the signed bytes of an acknowledgement."""
    return seal("ack", asdict(ack), key)


def decode_ack(raw: bytes, keys: Keyring) -> Ack:
    """Read an acknowledgement; raises Rejected with MALFORMED, RANGE, UNKNOWN_KIND or SIG."""
    envelope = parse(raw)
    _check_version(envelope)
    body, key = unseal("ack", envelope, _ACK_SHAPE, keys)
    actual = body["actual_kw"]
    ack = Ack(**{**body, "actual_kw": None if actual is None else float(actual)})
    if ack.stage not in STAGES or (ack.stage == "rejected") != (ack.code in REJECT_CODES):
        raise Rejected("MALFORMED", f"stage {ack.stage[:20]!r} with code {ack.code[:20]!r}")
    if key.issuer and key.issuer != ack.site:
        raise Rejected("SIG", f"the key does not belong to {ack.site[:40]}")
    return ack


def is_reached(actual_kw: float | None, target_kw: float) -> bool:
    """Tell whether a measured power, None when it is not known, is close enough to a target."""
    if actual_kw is None or not math.isfinite(target_kw):
        return False
    return abs(actual_kw - target_kw) <= max(REACHED_KW, REACHED_SHARE * abs(target_kw))
