"""The rows of the fleet store, field by field in the order of their columns."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SiteRow:
    """What is known of a site between two runs of the server."""

    site: str
    state: str
    """online, stale or offline."""
    bd_seq: int
    birth_ms: int
    last_ms: int
    """UTC at which the fleet heard it last."""
    epoch: int
    """Which outbox the numbers belong to; a new disk at the site is a new epoch."""
    contiguous: int
    """Every outbox number up to this one is stored."""
    received: int
    missing: int
    """Numbers below the highest one that are still to come."""
    duplicates: int


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One report of a site as it came."""

    site: str
    epoch: int
    first: int | None
    """It stands for every number from here to its own."""
    number: int | None
    """Outbox number in that epoch; None for a site without an outbox."""
    t_ms: int
    received_ms: int
    history: bool
    names: int
    """Alias table that explains the body."""
    body: bytes


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command with the furthest stage that it reached."""

    id: str
    site: str
    seq: int
    kind: str
    p_kw: float
    valid_from_ms: int
    valid_to_ms: int
    stage: str
    code: str
    actual_kw: float | None
    sent_ms: int
    stage_ms: int
    body: bytes
    """Signed bytes as sent, so that sending again is sending the same."""


@dataclass(frozen=True, slots=True)
class AckRow:
    """One verified answer of a site, or a stage that the fleet itself observed."""

    command_id: str
    stage: str
    code: str
    t_ms: int
    received_ms: int
    actual_kw: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class OrderRow:
    """What somebody asked the server to dispatch."""

    id: int
    site: str
    p_kw: float
    for_s: float
    clip: bool
    created_ms: int
    command_id: str | None
    sent_kw: float | None
    refusal: str | None
    """JSON of a Refusal."""
