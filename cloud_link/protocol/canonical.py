"""Canonical bytes of a message and the strict reader of what comes in.

Canonical form: JSON, UTF-8, sorted keys, no spaces, integers as integers, finite floats in their shortest
form. Signatures are made over it, so both ends must agree on it to the byte.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from models.errors import LinkError

MAX_BYTES = 65_536
"""Longest message of our own plane, checked before parsing."""

_SURROGATE = re.compile("[\ud800-\udfff]")

Scalar: TypeAlias = str | int | float | bool | None


class Rejected(LinkError):
    """A message that must not be acted on.

    ``code`` is one of the reject codes of :mod:`cloud_link.protocol.command`; ``command_id`` is the id that
    the message claims (not proven), or empty.
    """

    def __init__(self, code: str, what: str, command_id: str = "") -> None:
        super().__init__(f"{code}: {what}")
        self.code = code
        self.what = what
        self.command_id = command_id


def canonical(message: Mapping[str, Scalar]) -> bytes:
    """Return the one byte string that stands for ``message``; LinkError if it has none (NaN, infinity)."""
    try:
        text = json.dumps(message, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (ValueError, TypeError) as error:
        raise LinkError(f"a message cannot be written: {error}") from error


def parse(raw: bytes) -> dict[str, Any]:
    """Read one flat JSON object strictly; raise Rejected MALFORMED (RANGE for a number that is none)."""
    if len(raw) > MAX_BYTES:
        raise Rejected("MALFORMED", f"message of {len(raw)} bytes; the limit is {MAX_BYTES}")
    try:
        message = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_no_twins,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Rejected("MALFORMED", f"not a JSON message: {error}"[:200]) from error
    except ValueError as error:  # an integer longer than the interpreter converts
        raise Rejected("MALFORMED", "a number is too long") from error
    if not isinstance(message, dict):
        raise Rejected("MALFORMED", "not a JSON object")
    return message


def _no_twins(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    message = dict(pairs)
    if len(message) != len(pairs):
        raise Rejected("MALFORMED", "a key is given twice")
    return message


def _no_constant(name: str) -> NoReturn:
    raise Rejected("RANGE", f"{name} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Rejected("RANGE", f"{text[:20]} is not a finite number")
    return value


def take(message: Mapping[str, Any], shape: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Return ``message`` if it has exactly the keys of ``shape`` with exactly those types.

    A bool is never a number and a text is never a number. An integer is a float where a float is asked for.
    """
    unknown, missing = message.keys() - shape.keys(), shape.keys() - message.keys()
    if unknown or missing:
        names = ", ".join(sorted(unknown or missing))[:80]
        raise Rejected("MALFORMED", f"{'unknown' if unknown else 'missing'} key {names}")
    for key, kinds in shape.items():
        allowed = kinds if isinstance(kinds, tuple) else (kinds,)
        if type(message[key]) not in allowed:
            raise Rejected("MALFORMED", f"{key} must be {allowed[0].__name__}")
        if isinstance(message[key], str) and _SURROGATE.search(message[key]):
            raise Rejected("MALFORMED", f"{key} holds half a character")
    return dict(message)
