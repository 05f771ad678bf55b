"""``edge status``: how the site is, who decides, and what to do about what is wrong."""

import math
import time
from pathlib import Path
from typing import Any

import click

from edge.cli.common import config_option, emit, find_run_dir, json_option, run_dir_option, say, table, verb
from edge.cli.facts import gather
from edge.cli.names import battery_power, grid_power, name_of
from models.answer import Exit
from models.errors import Problem

STATES = {"running": ("running", "运行"), "degraded": ("degraded", "降级"), "stopped": ("stopped", "停止")}
EXITS = {"running": Exit.OK, "degraded": Exit.DEGRADED, "stopped": Exit.NOT_RUNNING}


def problems(facts: dict[str, Any]) -> list[Problem]:
    """Return everything that is wrong, worst first, each with what to do."""
    found = []
    if facts["state"] == "stopped":
        what = say("the controller does not run", "控制器未运行")
        do = say("Start it with `systemctl start edge-controller` or `edge up`.",
                 "用 `systemctl start edge-controller` 或 `edge up` 启动。")  # fmt: skip
        found.append(Problem("RUN-001", facts["site"], what, do))
    for device in facts["devices"]:
        if not device["online"]:
            what = say("the device does not answer", "设备无应答")
            do = say("Check power, wiring, address and baud rate.", "检查电源、接线、地址和波特率。")
            found.append(Problem("DEV-001", device["name"], what, do))
    if (facts["recorder"] or {}).get("degraded"):
        what = say("the history cannot be written", "历史数据无法写入")
        do = say(
            "Free disk space; the newest hour is kept in memory.", "请释放磁盘空间;最近一小时暂存于内存。"
        )
        found.append(Problem("REC-001", facts["site"], what, do, "warning"))
    if facts["state"] != "stopped" and not facts["services"]:
        what = say("the services (planner, recorder, uplink) do not run", "服务(计划、记录、上行)未运行")
        do = say("Start them with `systemctl start edge-services` or `edge up`; the controller goes on.",
                 "用 `systemctl start edge-services` 或 `edge up` 启动;控制器在此期间照常运行。")  # fmt: skip
        found.append(Problem("SRV-001", facts["site"], what, do, "warning"))
    offline = tuple(d["name"] + "/" for d in facts["devices"] if not d["online"])
    for point in facts["bad_points"]:
        if not point.startswith(offline or ("\0",)):
            what = say("the point has no good value", "该点没有有效值")
            do = say("See `edge points --bad`; its limits are narrowed meanwhile.",
                     "查看 `edge points --bad`;在此期间相关限值已收紧。")  # fmt: skip
            found.append(Problem("DEV-002", point, what, do, "warning"))
    return found


def last_line(text: str) -> str:
    """Return the last line of an event's text, which may have none."""
    return (text.splitlines() or [""])[-1]


def _plan_line(plan: dict[str, Any] | None) -> str:
    if plan is None:
        return say("none yet; the fall-back rule decides", "尚无计划;由后备规则决定")
    if time.time() * 1000 >= plan.get("expires_utc_ms", math.inf):
        return say("expired; the fall-back rule decides", "已过期;由后备规则决定")
    saving, status = plan.get("saving_cny") or 0.0, plan.get("status")
    return say(f"{status}, saves {saving:.0f} CNY", f"{status},节省 {saving:.0f} 元")


def _link_line(link: dict[str, Any] | None) -> str:
    if link is None:
        return say("not configured or not yet up", "未配置或尚未建立")
    state = say("connected", "已连接") if link.get("connected") else say("not connected", "未连接")
    return say(
        f"{state}, {link.get('backlog', 0)} reports waiting", f"{state},{link.get('backlog', 0)} 条报告待发"
    )


def summary(facts: dict[str, Any]) -> list[str]:
    """Return the status as lines of text, the most important first."""
    minutes = (time.time() * 1000 - facts["since_ms"]) / 60_000
    site, state = facts["site"], say(*STATES[facts["state"]])
    up = say(f"controller up {minutes:.0f} min", f"控制器已运行 {minutes:.0f} 分钟")
    lines = [f"{site}: {state}, {up}"]
    power, decision = facts["power"], facts["decision"]
    soc = "—" if power["soc"] is None else f"{100 * power['soc']:.1f} %"
    load = "—" if power["load_kw"] is None else f"{power['load_kw']:.1f} kW"
    pv = "—" if power["pv_kw"] is None else f"{power['pv_kw']:.1f} kW"
    battery, grid = battery_power(power["battery_kw"]), grid_power(power["grid_kw"])
    lines.append(say(f"battery {battery} (SOC {soc}) · grid {grid} · PV {pv} · load {load}",
                     f"电池 {battery}(SOC {soc})· 电网 {grid} · 光伏 {pv} · 负荷 {load}"))  # fmt: skip
    if decision:
        winner, target = name_of(decision["winner"]), battery_power(decision["target_kw"])
        lines.append(say(f"decided by: {winner} → {target}", f"决策者:{winner} → {target}"))
        if decision["bound_by"] != "none":
            bound, wish = name_of(decision["bound_by"]), battery_power(decision["wish_kw"])
            lines.append(say(f"held by: {bound}; the wish is {wish}", f"受限于:{bound};期望为 {wish}"))
        lines.append(say(f"cycle {facts['cycle']}, {facts['missed']} missed",
                         f"周期 {facts['cycle']},错过 {facts['missed']}"))  # fmt: skip
    lines.append(say(f"plan: {_plan_line(facts['plan'])}", f"计划:{_plan_line(facts['plan'])}"))
    lines.append(say(f"fleet: {_link_line(facts['link'])}", f"云端:{_link_line(facts['link'])}"))
    return lines


def device_table(facts: dict[str, Any]) -> str:
    """Return the devices as a table."""
    titles = ("device 设备", "protocol 协议", "online 在线", "polls 轮询", "errors 错误", "writes 写入")
    yes, no = say("yes", "是"), say("NO", "否")
    rows = [
        [d["name"], d["protocol"], yes if d["online"] else no, d["polls"], d["errors"], d["writes"]]
        for d in facts["devices"]
    ]
    return table([say(*title.split()) for title in titles], rows, right=(3, 4, 5))


@verb(
    "status",
    en="Show how the site is: state, powers, who decides, devices, plan, link, last events.",
    zh="显示站点状况:状态、功率、决策者、设备、计划、上行链路和最近事件。",
    examples="edge status\nedge status --json\nedge status --lang zh",
)
@config_option
@run_dir_option
@json_option
def command(config: Path | None, run_dir: Path | None, as_json: bool) -> None:
    """Show the status; exit 0 healthy, 7 degraded, 4 not running."""
    facts = gather(find_run_dir(run_dir, config))
    wrong = problems(facts)
    if as_json:
        emit("edge.status/1", facts, wrong, ok=facts["state"] == "running")
    else:
        click.echo("\n".join(summary(facts)) + "\n\n" + device_table(facts))
        for problem in wrong:
            click.echo(f"! {problem.where}  {problem.code}  {problem.what}. {problem.do}")
        for event in facts["events"]:
            stamp = time.strftime("%H:%M:%S", time.localtime(event["t_ms"] / 1000))
            click.echo(f"{stamp}  {event['code']}  {event['where']}  {last_line(event['what'])}")
    raise click.exceptions.Exit(EXITS[facts["state"]])
