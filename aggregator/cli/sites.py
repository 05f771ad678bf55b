"""``fleet sites``: every site in a line, or one site's newest values."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from aggregator.cli.common import (
    ago,
    db_option,
    emit,
    fail,
    fail_store,
    json_option,
    language,
    leave,
    now_ms,
    say,
    table,
    tell,
    verb,
)
from aggregator.problems import FleetStoreError, problem
from aggregator.store import Store
from aggregator.view import FleetView, SiteView, fleet_view, point_rows, troubles
from aggregator.words import kw, power_words
from models.answer import Exit


@verb(
    "sites",
    en="All sites, or the newest values of one site.",
    zh="全部站点,或单个站点的最新数值。",
    ends="fleet sites\nfleet sites demo\nfleet sites demo --json\n"
    "0 all well · 1 no such site · 4 the server does not run · 7 a site is missing or stale",
)
@click.argument("name", required=False)
@db_option
@json_option
def command(name: str | None, db: Path, as_json: bool) -> None:
    """Show the sites."""
    try:
        with Store.attach(db) as store:
            now = now_ms()
            whole, views = fleet_view(store, now)
            shown = [view for view in views if name in (None, view.site)]
            points = point_rows(store, shown[0], now) if name and shown else []
    except FleetStoreError as error:
        fail_store(error)
    if name and not shown:
        fail(problem("FLEET-020", name, language()), Exit.NO)
    _show(whole, shown, points if name else None, str(db), as_json)


def _show(
    whole: FleetView, shown: list[SiteView], points: list[dict[str, Any]] | None, where: str, as_json: bool
) -> None:
    problems = [trouble.problem(language()) for trouble in troubles(whole, shown, where)]
    if as_json:
        sites = [asdict(view) for view in shown]
        data = {"sites": sites} if points is None else {"sites": sites, "points": points}
        emit("fleet.sites/1", data, problems, ok=not problems)
    else:
        click.echo(_sites(shown))
        if points is not None:
            click.echo("\n" + _points(points))
        tell(problems)
    if problems:
        leave(Exit.DEGRADED if whole.serving else Exit.NOT_RUNNING)


def _sites(shown: list[SiteView]) -> str:
    head = (
        say("site", "站点"), say("state", "状态"), say("battery", "电池"),
        say("can do (kW)", "可用范围 (kW)"),
        say("decides", "决定者"), say("heard", "上次通信"), say("reports", "上报"), say("missing", "缺失"),
    )  # fmt: skip
    rows = [
        (
            view.site, view.state, _power(view.battery_kw), _bounds(view), view.winner or "-",
            ago(view.age_s), view.received, view.missing,
        )
        for view in shown
    ]  # fmt: skip
    return table(head, rows, right=(6, 7))


def _points(points: list[dict[str, Any]]) -> str:
    head = say("point", "点位"), say("value", "数值"), say("quality", "质量"), say("age", "时效")
    rows = [(p["point"], _value(p["value"]), p["quality"], ago(p["age_s"])) for p in points]
    return table(head, rows, right=(1,))


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _power(p_kw: float | None) -> str:
    return "-" if p_kw is None else power_words(p_kw, language())


def _bounds(view: SiteView) -> str:
    return "-" if view.lo_kw is None or view.hi_kw is None else f"{kw(view.lo_kw)} … {kw(view.hi_kw)}"
