"""``fleet status``: the whole fleet at a glance."""

from dataclasses import asdict
from pathlib import Path

import click

from aggregator.cli.common import (
    ago,
    db_option,
    emit,
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
from aggregator.problems import FleetStoreError
from aggregator.store import Store
from aggregator.view import FleetView, fleet_view, troubles
from aggregator.words import power_words
from models.answer import Exit


@verb(
    "status",
    en="Sites online, power now, what can be done, the newest commands.",
    zh="在线站点、当前功率、可用范围和最近的命令。",
    ends="fleet status\nfleet status --json\n"
    "0 all well · 4 the server does not run · 7 a site is missing or stale",
)
@db_option
@json_option
def command(db: Path, as_json: bool) -> None:
    """Show the fleet."""
    try:
        with Store.attach(db) as store:
            whole, views = fleet_view(store, now_ms())
    except FleetStoreError as error:
        fail_store(error)
    problems = [trouble.problem(language()) for trouble in troubles(whole, views, str(db))]
    if as_json:
        emit("fleet.status/1", asdict(whole), problems, ok=not problems)
    else:
        click.echo(_text(whole))
        tell(problems)
    if problems:
        leave(Exit.DEGRADED if whole.serving else Exit.NOT_RUNNING)


def _text(whole: FleetView) -> str:
    state = say("not running", "未运行")
    if whole.serving:
        state = say("connected", "已连接") if whole.connected else say("no broker", "未连接消息服务器")
    lines = [
        (say("server", "服务"), state),
        (
            say("sites", "站点"),
            say(f"{whole.online} of {whole.sites} online", f"{whole.online}/{whole.sites} 在线"),
        ),
        (say("power", "功率"), f"{whole.battery_mw:+.3f} MW {say('(discharge +)', '(放电为正)')}"),
        (say("can do", "可用范围"), f"{whole.lo_mw:+.3f} … {whole.hi_mw:+.3f} MW"),
        (say("last report", "最近上报"), ago(whole.last_report_s)),
    ]
    text = table(("", ""), lines).lstrip("\n")
    if whole.commands:
        head = (say("command", "命令"), say("site", "站点"), say("power", "功率"), say("stage", "阶段"), "")
        rows = [
            (one["id"], one["site"], power_words(one["p_kw"], language()), one["stage"], one["code"])
            for one in whole.commands
        ]
        text += "\n\n" + table(head, rows)
    return text
