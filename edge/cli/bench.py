"""``edge bench``: run the measurements of ``benchmarks/``, which come with a clone, not with the wheel."""

import os
import sys
from pathlib import Path

import click

from edge.cli.common import emit, fail, json_option, say, verb
from models.answer import Exit
from models.errors import Problem

ROOT = Path(__file__).parents[2]
BENCHMARKS = {
    "poll": ("reading and decoding Modbus, and the plan of block reads", "Modbus 读取、解码与轮询规划"),
    "fuzz": ("Modbus replies that are harmed: values that are wrong", "受损的 Modbus 应答:错误值计数"),
    "rtu": ("share of the wire's limit on serial lines", "串口线路的线速利用率"),
    "dead_unit": ("what a silent unit costs the others", "失联单元对其他单元的影响"),
    "opcua": ("10,000 OPC UA changes a second beside the control loop", "每秒 1 万次 OPC UA 变化与控制循环"),
    "modbus_tcp": ("CPU of a Modbus TCP read", "Modbus TCP 读取的 CPU"),
    "cycle": ("CPU and memory of a control cycle", "控制周期的 CPU 和内存"),
    "lateness": ("how late the loop wakes", "循环唤醒延迟"),
    "mqtt": ("round trip of an MQTT message", "MQTT 消息往返时间"),
    "store": ("size of the history", "历史数据大小"),
    "cli": ("start of the light verbs", "轻量命令的启动时间"),
}
"""Name: what it measures, in English and Chinese."""


@verb(
    "bench",
    en="Measure this code beside its peers. Without NAME: the list. Further options go to the program.",
    zh="与同类软件在同一次运行中并排测量。不带 NAME 时列出可用项目;其余选项传给测量程序。",
    examples="edge bench\nedge bench poll --json",
)
@click.argument("name", required=False)
@json_option
@click.pass_context
def command(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Replace this process by the benchmark."""
    if name is None:
        rows = [(known, say(*texts)) for known, texts in BENCHMARKS.items()]
        if as_json:
            emit("edge.bench/1", dict(rows))
        else:
            click.echo("\n".join(f"{known:<12}{text}" for known, text in rows))
        return
    if name not in BENCHMARKS or not (ROOT / "benchmarks").is_dir():
        what = say(f"there is no benchmark {name!r} here", f"此处没有基准测试 {name!r}")
        do = say(f"Known in a clone: {', '.join(BENCHMARKS)}", f"源码目录中可用:{', '.join(BENCHMARKS)}")
        fail(Problem("BEN-001", name, what, do), Exit.USAGE)
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", f"benchmarks.{name}", *ctx.args, *["--json"] * as_json])


command.context_settings = {
    **command.context_settings,
    "ignore_unknown_options": True,
    "allow_extra_args": True,
}
