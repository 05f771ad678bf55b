"""``fleet dispatch``: ask one site for a power, through the running server."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from aggregator.cli.common import (
    db_option,
    emit,
    fail,
    fail_store,
    json_option,
    language,
    leave,
    now_ms,
    say,
    tell,
    verb,
)
from aggregator.cli.common import option as fleet_option
from aggregator.problems import FleetStoreError, Refusal, problem
from aggregator.rows import AckRow, CommandRow, OrderRow
from aggregator.store import Store
from aggregator.view import command_view
from aggregator.words import power_words, read_power, read_span
from models.answer import Exit
from models.errors import Problem
from models.units import MS_PER_S

T = TypeVar("T")

POLL_S = 0.02
TAKEN_S = 5.0
"""The server takes an order within 50 ms; this is long enough to say that it does not."""
ACCEPTED_S = 10.0
AFTER_S = 12.0
"""So long after the end of a command its last word must have come."""

GOALS = {False: ("accepted",), True: ("active", "reached")}
"""Stages that must all have been seen for exit code 0, without and with --wait; they come in any order."""
ENDS = ("rejected", "done", "expired", "superseded", "aborted")


@verb(
    "dispatch",
    en="Ask a site for a battery power for a while. POWER like 40kW (discharge) or -25kW (charge).",
    zh="要求站点在一段时间内以给定功率运行。POWER 如 40kW(放电)或 -25kW(充电)。",
    ends="fleet dispatch demo 40kW --for 20s --wait\nfleet dispatch demo -25 kW --for 15min --clip\n"
    "0 accepted, with --wait: reached · 1 ended otherwise · 2 usage · 4 the server does not run\n"
    "5 no answer · 6 refused by the fleet or the site · 8 no broker",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("site")
@click.argument("power", nargs=-1, required=True)
@fleet_option("--for", "span", required=True, en="How long: 20s, 15min, 1h.", zh="持续时间:20s、15min、1h。")
@fleet_option(
    "--clip", is_flag=True, en="Take what is possible instead of refusing.", zh="超出范围时按可用范围截断。"
)
@fleet_option(
    "--wait", is_flag=True, en="Show every stage until the power is reached.", zh="显示各阶段直至达到功率。"
)
@db_option
@json_option
def command(
    site: str, power: tuple[str, ...], span: str, clip: bool, wait: bool, db: Path, as_json: bool
) -> None:
    """Place an order and follow it."""
    p_kw, for_s = read_power(" ".join(power)), read_span(span)
    if p_kw is None:
        fail(problem("FLEET-025", "POWER", language(), asked=repr(" ".join(power))[:60]), Exit.USAGE)
    if for_s is None:
        fail(problem("FLEET-026", "--for", language(), asked=repr(span)[:60]), Exit.USAGE)
    try:
        with Store.attach(db) as store:
            _need_server(store, str(db))
            order = _place(store, site, p_kw, for_s, clip)
            _follow(store, order, wait, as_json)
    except FleetStoreError as error:
        fail_store(error)


def _need_server(store: Store, where: str) -> None:
    serving, connected = store.server(now_ms())
    if not serving:
        fail(problem("FLEET-010", where, language()), Exit.NOT_RUNNING)
    if not connected:
        fail(problem("FLEET-011", where, language()), Exit.NO_LINK)


def _place(store: Store, site: str, p_kw: float, for_s: float, clip: bool) -> OrderRow:
    """Hand the order to the server and return it answered."""
    number = store.add_order(site, p_kw, for_s, clip, now_ms())
    order = _until(lambda: store.order(number), lambda row: bool(row.command_id or row.refusal), TAKEN_S)
    if order.refusal:
        fail(Refusal(**json.loads(order.refusal)).problem(language()), Exit.REFUSED)
    if order.command_id is None:
        fail(problem("FLEET-012", site, language(), waited_s=round(TAKEN_S)), Exit.NO_ANSWER)
    return order


def _follow(store: Store, order: OrderRow, wait: bool, as_json: bool) -> None:
    """Show the stages as they come and end with what they mean."""
    row = _command(store, order)
    say_line = _quiet if as_json else click.echo
    say_line(_headline(order, row))
    seen: list[AckRow] = []

    def fetch() -> list[AckRow]:
        for ack in store.acks(row.id)[len(seen) :]:
            seen.append(ack)
            say_line(_line(ack))
        return seen

    longest_s = order.for_s + AFTER_S if wait else ACCEPTED_S
    _until(fetch, lambda acks: _met(acks, wait) or any(ack.stage in ENDS for ack in acks), longest_s)
    exit_code, trouble = _verdict(order, [ack for ack in seen], wait, longest_s)
    if as_json:
        data = {"order": asdict(order), "command": command_view(_command(store, order))}
        data["stages"] = [asdict(ack) for ack in seen]  # type: ignore[assignment]
        emit("fleet.dispatch/1", data, [trouble] if trouble else [], ok=exit_code is Exit.OK)
    elif trouble:
        tell([trouble])
    leave(exit_code)


def _met(acks: list[AckRow], wait: bool) -> bool:
    return set(GOALS[wait]) <= {ack.stage for ack in acks}


def _verdict(
    order: OrderRow, acks: list[AckRow], wait: bool, longest_s: float
) -> tuple[Exit, Problem | None]:
    if _met(acks, wait):
        return Exit.OK, None
    last = next((ack for ack in reversed(acks) if ack.stage in ENDS), None)
    if last is None:
        return Exit.NO_ANSWER, problem("FLEET-012", order.site, language(), waited_s=round(longest_s))
    reason = " ".join(filter(None, (last.code, last.detail))) or "-"
    trouble = problem("FLEET-030", order.site, language(), stage=last.stage, reason=reason)
    return (Exit.REFUSED if last.stage == "rejected" else Exit.NO), trouble


def _headline(order: OrderRow, row: CommandRow) -> str:
    words = power_words(row.p_kw, language())
    text = say(f"{row.site}: {words} for {order.for_s:g} s", f"{row.site}:{words},持续 {order.for_s:g} 秒")
    if abs(row.p_kw - order.p_kw) > 1e-9:
        asked = power_words(order.p_kw, language())
        text += say(f" (clipped: {asked} was asked)", f"(已截断:要求 {asked})")
    return text + say(f", command {row.id} number {row.seq}", f",命令 {row.id} 序号 {row.seq}")


def _line(ack: AckRow) -> str:
    moment = datetime.fromtimestamp(ack.received_ms / MS_PER_S, UTC).astimezone()
    actual = "" if ack.actual_kw is None else power_words(ack.actual_kw, language())
    text = (
        f"{moment:%H:%M:%S}.{ack.received_ms % 1000:03d}  {ack.stage:<10}  {ack.code} {actual} {ack.detail}"
    )
    return " ".join(text.split(" ")).rstrip()


def _command(store: Store, order: OrderRow) -> CommandRow:
    row = store.command(order.command_id or "")
    if row is None:  # the order names it, and both were stored together
        fail(problem("FLEET-002", str(store.path), language(), detail="command"), Exit.CONFIG)
    return row


def _until(fetch: Callable[[], T], done: Callable[[T], bool], longest_s: float) -> T:
    """Fetch until it is as wanted or the time is over; return the last fetch."""
    end_s = time.monotonic() + longest_s
    while True:
        found = fetch()
        if done(found) or time.monotonic() > end_s:
            return found
        time.sleep(POLL_S)


def _quiet(_: str) -> None:
    """Say nothing under --json until the end."""
