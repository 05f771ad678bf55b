"""One-shot dispatch: from an order to a signed command, and from a site's answers to what became of it.

A command leaves only if the site is online, was heard a moment ago and says that it can do it now. Its
number is on disk before it leaves. Sending the same bytes again is harmless, so that is what happens
when no answer comes; nothing is ever signed twice.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from aggregator.problems import Refusal
from aggregator.registry import Link, Now, Registry, Site
from aggregator.rows import AckRow, CommandRow
from aggregator.store import Store
from aggregator.words import kw, usable_power, usable_span
from cloud_link.protocol.canonical import Rejected
from cloud_link.protocol.command import (
    FINAL_STAGES,
    Ack,
    Command,
    command_hash,
    decode_ack,
    encode_command,
    is_reached,
)
from cloud_link.protocol.signing import Keyring, SigningKey
from cloud_link.protocol.topics import FLEET_HOST, VERSION
from models.point import Quality
from models.units import MS_PER_S, NS_PER_S

FRESH_NS = 10 * NS_PER_S
"""A site that was silent for longer is not asked for anything."""
RESEND_NS = 2 * NS_PER_S
"""A command without any answer is sent again after so long, while it is valid."""
GRACE_MS = 10 * MS_PER_S
"""So long after its end a command without a last word counts as expired."""
ROUND_KW = 0.001
SENT, REACHED = "sent", "reached"
RANK = {SENT: 0, "received": 1, "accepted": 2, "active": 3, REACHED: 4} | dict.fromkeys(FINAL_STAGES, 5)
"""How far a stage is; a command only goes forward."""
OPEN_STAGES = tuple(stage for stage, rank in RANK.items() if rank < 5)

MEASURED = "site/battery_p_kw"
SETPOINT = "site/battery_kw"
WINNER = "site/winner"

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants of a site."""

    site: str
    p_kw: float
    """Battery power, discharge +."""
    for_s: float
    clip: bool = False
    """Take what is possible instead of refusing."""


def check(site: Site | None, order: Order, now: Now) -> float | Refusal:
    """Return the power that may be sent [kW], or why nothing may.

    Pure: judges by the bounds that the site itself reported last.
    """
    if not usable_power(order.p_kw):
        return Refusal("FLEET-025", order.site, {"p_kw": order.p_kw})
    if not usable_span(order.for_s):
        return Refusal("FLEET-026", order.site, {"asked": f"{order.for_s:g} s"})
    if site is None:
        return Refusal("FLEET-020", order.site)
    if site.link is Link.OFFLINE:
        return Refusal("FLEET-021", order.site)
    silent_ns = now.mono_ns - site.heard_ns
    if site.link is not Link.ONLINE or silent_ns > FRESH_NS:
        age_s = (now.utc_ms - site.heard_ms) / MS_PER_S if site.heard_ns == 0 else silent_ns / NS_PER_S
        return Refusal("FLEET-022", order.site, {"age_s": round(age_s)})
    bounds = _good(site, "site/lo_kw"), _good(site, "site/hi_kw")
    if bounds[0] is None or bounds[1] is None or bounds[0] > bounds[1]:
        return Refusal("FLEET-023", order.site)
    return _fit(order, bounds[0], bounds[1])


def _fit(order: Order, lo_kw: float, hi_kw: float) -> float | Refusal:
    if lo_kw - ROUND_KW <= order.p_kw <= hi_kw + ROUND_KW:
        return min(max(order.p_kw, lo_kw), hi_kw)  # rounded beyond a bound, the site would refuse it
    if order.clip:
        return min(max(order.p_kw, lo_kw), hi_kw) + 0.0
    return Refusal("FLEET-024", order.site, {"p_kw": order.p_kw, "lo_kw": kw(lo_kw), "hi_kw": kw(hi_kw)})


def _good(site: Site, name: str) -> float | None:
    """Return a node-level number that may be relied on."""
    reading = site.node(name)
    if reading is None or reading.quality is not Quality.GOOD:
        return None
    return float(reading.value) if type(reading.value) in (int, float) else None  # type: ignore[arg-type]


def observed(site: Site, p_kw: float) -> float | None:
    """Return the site's battery power when it shows that ``p_kw`` is reached, else None.

    The measured power counts; of a site that reports none, the setpoint that its cycle gave for the fleet.
    """
    actual_kw = _good(site, MEASURED)
    if actual_kw is None:
        winner = site.node(WINNER)
        if winner is None or "fleet" not in str(winner.value):
            return None
        actual_kw = _good(site, SETPOINT)
    return actual_kw if is_reached(actual_kw, p_kw) else None


def new_id(utc_ms: int) -> str:
    """Return a ULID: 48 bits of time and 80 random bits in 26 letters that sort by time."""
    number = (utc_ms << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -5, -5))


class Dispatcher:
    """Commands of this fleet and what became of them.

    Args:
        registry: what is believed of the sites.
        store: where numbers, commands and answers are kept.
        key: signs the commands.
        keys: public keys of the sites.
        send: hands the signed bytes of a command to the link: (site, bytes, seconds until it is useless).
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        key: SigningKey,
        keys: Keyring,
        send: Callable[[str, bytes, int], None],
    ) -> None:
        self.keys = keys
        self._registry, self._store, self._key, self._send = registry, store, key, send
        self._open = {row.id: row for row in store.commands_in(OPEN_STAGES)}
        self._sent_ns: dict[str, int] = {}
        self.bad_acks = 0
        """Answers that were not believed."""

    def order(self, order_id: int, order: Order, now: Now) -> CommandRow | Refusal:
        """Turn an order into a command on its way, or refuse it; either way the order is answered."""
        p_kw = check(self._registry.sites.get(order.site), order, now)
        if isinstance(p_kw, Refusal):
            with self._store.transaction():
                self._store.order_refused(order_id, p_kw)
            return p_kw
        with self._store.transaction():
            row = self._sign(order, p_kw, self._store.next_seq(order.site), now)
            self._store.put_command(row)
            self._store.order_sent(order_id, row.id, p_kw)
        self._open[row.id] = row
        self._give(row, now)
        return row

    def _sign(self, order: Order, p_kw: float, seq: int, now: Now) -> CommandRow:
        end_ms = now.utc_ms + round(order.for_s * MS_PER_S)
        command = Command(
            VERSION, new_id(now.utc_ms), FLEET_HOST, order.site, "site", "setpoint", p_kw,
            now.utc_ms, end_ms, seq, "dispatch",
        )  # fmt: skip
        raw = encode_command(command, self._key)
        return CommandRow(
            command.id, order.site, seq, command.kind, p_kw, now.utc_ms, end_ms,
            SENT, "", None, now.utc_ms, now.utc_ms, raw,
        )  # fmt: skip

    def _give(self, row: CommandRow, now: Now) -> None:
        self._sent_ns[row.id] = now.mono_ns
        self._send(row.site, row.body, max(1, (row.valid_to_ms - now.utc_ms) // MS_PER_S))

    def ack(self, site: str, raw: bytes, now: Now) -> str:
        """Take a site's answer; return why it was not believed, or an empty text."""
        try:
            ack = decode_ack(raw, self.keys)
        except Rejected as rejected:
            self.bad_acks += 1
            return rejected.what
        row = self._open.get(ack.command_id) or self._store.command(ack.command_id)
        why = _doubts(ack, row, site)
        if why or row is None:
            self.bad_acks += 1
            return why
        for stage in _stages(ack, row):
            code, detail = (ack.code, ack.detail) if stage == ack.stage else ("", "")
            self._note(row, AckRow(row.id, stage, code, ack.t_ms, now.utc_ms, ack.actual_kw, detail))
        return ""

    def _note(self, known: CommandRow, ack: AckRow) -> None:
        """Store a stage; the command itself only goes forward."""
        row = self._open.get(known.id, known)
        with self._store.transaction():
            self._store.put_ack(ack)
            if RANK[ack.stage] > RANK[row.stage]:
                row = _moved(row, ack)
                self._store.put_command(row)
        if row.stage in FINAL_STAGES:
            self._open.pop(row.id, None)
            self._sent_ns.pop(row.id, None)
        else:
            self._open[row.id] = row

    def tick(self, now: Now) -> None:
        """Send again what nobody answered, see what was reached, close what is over."""
        for row in list(self._open.values()):
            site = self._registry.sites.get(row.site)
            if now.utc_ms > row.valid_to_ms + GRACE_MS:
                self._note(row, AckRow(row.id, "expired", "", now.utc_ms, now.utc_ms, None, "no last word"))
            elif row.stage in ("accepted", "active") and site is not None and site.link is Link.ONLINE:
                actual_kw = observed(site, row.p_kw)
                if actual_kw is not None:
                    self._note(row, AckRow(row.id, REACHED, "", now.utc_ms, now.utc_ms, actual_kw, ""))
            elif self._is_unanswered(row, now):
                self._give(row, now)

    def _is_unanswered(self, row: CommandRow, now: Now) -> bool:
        newest = max((other.seq for other in self._open.values() if other.site == row.site), default=row.seq)
        waited_ns = now.mono_ns - self._sent_ns.get(row.id, now.mono_ns - RESEND_NS)
        return (
            row.stage == SENT
            and row.seq == newest
            and now.utc_ms < row.valid_to_ms
            and waited_ns >= RESEND_NS
        )


def _stages(ack: Ack, row: CommandRow) -> list[str]:
    """Return what an answer proves, in the order of the stages: its own stage, and perhaps REACHED."""
    power = ack.actual_kw if ack.stage in ("active", "done") else None
    proven = [ack.stage, REACHED] if is_reached(power, row.p_kw) else [ack.stage]
    return sorted(proven, key=RANK.__getitem__)


def _doubts(ack: Ack, row: CommandRow | None, site: str) -> str:
    """Return why a signed answer is still not to be believed, or an empty text."""
    if row is None:
        return "no such command"
    if ack.site != site or row.site != site:
        return "an answer of another site"
    if ack.command_hash and ack.command_hash != command_hash(row.body):
        return "an answer to other bytes"
    return ""


def _moved(row: CommandRow, ack: AckRow) -> CommandRow:
    actual_kw = row.actual_kw if ack.actual_kw is None else ack.actual_kw
    return CommandRow(
        row.id, row.site, row.seq, row.kind, row.p_kw, row.valid_from_ms, row.valid_to_ms,
        ack.stage, ack.code, actual_kw, row.sent_ms, ack.received_ms, row.body,
    )  # fmt: skip
