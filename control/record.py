"""What is stored of a cycle: all of its inputs and all of its decisions, in a row of fixed size.

A row is enough to run the cycle again (``control.replay``). Fields that others read: ``cycle``, ``mono_ns``,
``utc_ms``; ``value``, ``quality``, ``t_ns`` (P,) the image as the cycle got it; ``p_set_kw`` (U,);
``site_lo_kw`` and ``site_hi_kw``, what the batteries may do together now; ``target_kw``; ``winner``. Owners
(``*_by``, ``winner``) are positions in ``control.owners.OWNERS``.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from control.arbitrate import Decision
from control.inputs import Inputs, Now
from control.obey import Follow
from control.owners import OWNER_INDEX
from control.state import H, State
from control.watch import Watch
from models.interval import Interval
from models.point import Image
from models.proposal import Request, Source
from models.site import Site

Field = tuple[str, Any] | tuple[str, Any, tuple[int, ...]]

WATCH: list[Field] = [
    ("beat", "<f8"),
    ("beat_ns", "<i8"),
    ("good_ns", "<i8"),
    ("trust", "u1"),
    ("lost", "u1"),
]
FOLLOW: list[Field] = [
    ("second", "<i8"),
    ("lo_kw", "<f8"),
    ("hi_kw", "<f8"),
    ("lo_before_kw", "<f8"),
    ("hi_before_kw", "<f8"),
    ("lo_oldest_kw", "<f8"),
    ("hi_oldest_kw", "<f8"),
    ("p_kw", "<f8"),
    ("t_ns", "<i8"),
    ("side", "i1"),
    ("out_ns", "<i8"),
    ("from_kw", "<f8"),
    ("over_ns", "<i8"),
    ("calm_ns", "<i8"),
    ("charge_kw", "<f8"),
    ("discharge_kw", "<f8"),
    ("stopped", "u1"),
    ("stop_ns", "<i8"),
    ("stop_before_ns", "<i8"),
]
REQUEST: list[Field] = [
    ("present", "u1"),
    ("in_force", "u1"),
    ("source", "u1"),
    ("p_kw", "<f8"),
    ("expires_ns", "<i8"),
    ("ref", "<i8"),
]
INT64_MAX = 2**63 - 1
NO_REQUEST = (0, 0, 0, 0.0, 0, 0)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a cycle has found out and decided, besides its next state."""

    net_kw: float
    """Net load at the meter's time, nan when it is not known."""
    units: tuple[Interval, ...]
    """(U,) envelopes."""
    decision: Decision
    p_set_kw: tuple[float, ...]
    """(U,) what is sent."""
    expires_ns: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The two descriptions of one row, which must agree: for numpy, and for packing."""

    row: np.dtype[np.void]
    state: struct.Struct
    findings: struct.Struct


HEAD = struct.Struct("<Qqq")
REQUESTS = struct.Struct("<" + "BBBdqq" * len(Source))


@lru_cache(maxsize=8)
def layout(points: int, units: int) -> Layout:
    """Return the row of a site with so many points and batteries."""
    state: list[Field] = [
        ("cycle", "<u8"),
        ("last_kw", "<f8", (units,)),
        ("history_ns", "<i8", (H,)),
        ("history_kw", "<f8", (H,)),
        ("members", "<u8"),
        ("watches", WATCH, (2 * units + 1,)),
        ("follows", FOLLOW, (units,)),
    ]
    row: list[Field] = [
        ("cycle", "<u8"),
        ("mono_ns", "<i8"),
        ("utc_ms", "<i8"),
        ("value", "<f8", (points,)),
        ("quality", "u1", (points,)),
        ("t_ns", "<i8", (points,)),
        ("requests", REQUEST, (len(Source),)),
        ("state_in", state),
        ("net_kw", "<f8"),
        ("unit_lo_kw", "<f8", (units,)),
        ("unit_hi_kw", "<f8", (units,)),
        ("unit_lo_by", "u1", (units,)),
        ("unit_hi_by", "u1", (units,)),
        ("site_lo_kw", "<f8"),
        ("site_hi_kw", "<f8"),
        ("site_lo_by", "u1"),
        ("site_hi_by", "u1"),
        ("reach_lo_kw", "<f8"),
        ("reach_hi_kw", "<f8"),
        ("reach_lo_by", "u1"),
        ("reach_hi_by", "u1"),
        ("wish_kw", "<f8"),
        ("winner", "u1"),
        ("target_kw", "<f8"),
        ("forced", "i1"),
        ("conflicts", "<u8"),
        ("p_set_kw", "<f8", (units,)),
        ("expires_ns", "<i8"),
        ("state_out", state),
    ]
    u = units
    return Layout(
        np.dtype(row),
        struct.Struct(f"<Q{u}d{H}q{H}dQ" + "dqqBB" * (2 * u + 1) + "q7dqbqdqqddBqq" * u),
        struct.Struct(f"<d{u}d{u}d{u}B{u}BddBBddBBdBdbQ{u}dq"),
    )


def dtype(site: Site) -> np.dtype[np.void]:
    """Return the structured type of a row of ``site``."""
    return layout(len(site.points), len(site.batteries)).row


def pack(
    site: Site, image: Image, state: State, now: Now, inputs: Inputs, found: Findings, after: State
) -> bytes:
    """Return one row of :func:`dtype`.

    Args:
        site: the site.
        image: as the cycle got it.
        state: as the cycle got it.
        now: time of the cycle.
        inputs: as the cycle got them.
        found: what the cycle found.
        after: the next state.
    """
    form = layout(len(site.points), len(site.batteries))
    return b"".join(
        (
            HEAD.pack(state.cycle, now.mono_ns, now.utc_ms),
            image.value.tobytes(),
            image.quality.tobytes(),
            image.t_ns.tobytes(),
            REQUESTS.pack(*chain.from_iterable(_request(source, now, inputs) for source in Source)),
            form.state.pack(*_state(state)),
            form.findings.pack(*_findings(found)),
            form.state.pack(*_state(after)),
        )
    )


def unpack(site: Site, row: bytes | np.void) -> tuple[Image, State, Now, Inputs]:
    """Return what the cycle was given."""
    data = as_row(site, row)
    image = Image(data["value"].copy(), data["quality"].copy(), data["t_ns"].copy())
    was = data["state_in"]
    state = State(
        int(was["cycle"]),
        tuple(was["last_kw"].tolist()),
        tuple(was["history_ns"].tolist()),
        tuple(was["history_kw"].tolist()),
        int(was["members"]),
        tuple(Watch(*watch) for watch in was["watches"].tolist()),
        tuple(Follow(*follow) for follow in was["follows"].tolist()),
    )
    requests = tuple(
        Request(Source(int(r["source"])), float(r["p_kw"]), int(r["expires_ns"]), int(r["ref"]))
        for r in data["requests"]
        if r["present"]
    )
    return image, state, Now(int(data["mono_ns"]), int(data["utc_ms"])), Inputs(requests)


def as_row(site: Site, row: bytes | np.void) -> np.void:
    """Return a row as a structured scalar; bytes must have exactly the size of a row."""
    if isinstance(row, bytes):
        scalar: np.void = np.frombuffer(row, dtype(site), count=1)[0]
        return scalar
    return row


def differing(site: Site, row: bytes | np.void, other: bytes | np.void) -> list[str]:
    """Return the names of the fields in which two rows differ in any bit."""
    a, b = as_row(site, row), as_row(site, other)
    return [name for name in dtype(site).names or () if a[name].tobytes() != b[name].tobytes()]


def _request(source: Source, now: Now, inputs: Inputs) -> tuple[int, int, int, float, int, int]:
    request = inputs.of(source)
    if request is None:
        return NO_REQUEST
    in_force = inputs.in_force(source, now) is not None
    return 1, int(in_force), int(source), request.p_kw, _int64(request.expires_ns), _int64(request.ref)


def _int64(number: int) -> int:
    return min(max(number, -INT64_MAX), INT64_MAX)


def _state(state: State) -> tuple[float, ...]:
    return (
        state.cycle,
        *state.last_kw,
        *state.history_ns,
        *state.history_kw,
        state.members,
        *chain.from_iterable(state.watches),
        *chain.from_iterable(state.follows),
    )


def _findings(found: Findings) -> tuple[float, ...]:
    units, made = found.units, found.decision
    return (
        found.net_kw,
        *(unit.lo_kw for unit in units),
        *(unit.hi_kw for unit in units),
        *(OWNER_INDEX[unit.lo_by] for unit in units),
        *(OWNER_INDEX[unit.hi_by] for unit in units),
        *_ends(made.envelope),
        *_ends(made.reach),
        made.wish_kw,
        OWNER_INDEX[made.winner],
        made.target_kw,
        made.forced,
        made.conflicts,
        *found.p_set_kw,
        found.expires_ns,
    )


def _ends(interval: Interval) -> tuple[float, float, int, int]:
    return interval.lo_kw, interval.hi_kw, OWNER_INDEX[interval.lo_by], OWNER_INDEX[interval.hi_by]
