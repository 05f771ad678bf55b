"""The command line of a site: ``edge VERB``.

The table of verbs is literal, and a verb's module is imported only when that verb is used, so that
``edge --help`` and the light verbs start at once on a small machine.
"""

import gc
import importlib
from typing import Any

import click

from edge.cli.common import LANGUAGE_KEY, fail_all, say
from edge.suggest import nearest
from edge.version import VERSION
from models.answer import Exit
from models.errors import BusyError, ConfigError, Problem, YunchuError

VERBS = {
    "init": ("edge.cli.init", "Write a new site folder.", "生成新的站点目录。"),
    "check": ("edge.cli.check", "Check a site file and show the resulting site.", "检查站点文件并显示结果。"),
    "run": ("edge.cli.run", "Run the controller.", "运行控制器。"),
    "services": ("edge.cli.services", "Run planner, recorder and uplink.", "运行计划、记录和上行服务。"),
    "up": ("edge.cli.up", "Run controller and services together.", "同时运行控制器和各服务。"),
    "demo": ("edge.cli.demo", "Run a simulated site; touches no hardware.", "运行仿真站点,不接触任何硬件。"),
    "status": ("edge.cli.status", "Show how the site is and who decides.", "显示站点状态和当前决策者。"),
    "points": ("edge.cli.points", "List points with value, quality and age.", "列出点位的值、质量和时龄。"),
    "catalog": ("edge.cli.catalog", "List, check and import device types.", "列出、检查和导入设备类型。"),
    "scan": ("edge.cli.scan", "Find devices on a line or a network.", "在总线或网络上查找设备。"),
    "read": ("edge.cli.read", "Read points or registers of a device once.", "读取一次设备的点或寄存器。"),
    "write": ("edge.cli.write", "Write a power or a register by hand.", "手动写入功率或寄存器。"),
    "bus": ("edge.cli.bus", "Show what the lines carry.", "显示各总线的流量。"),
    "watch": ("edge.cli.watch", "Watch the site live.", "实时查看站点。"),
    "why": ("edge.cli.why", "Explain the setpoint of now or of a moment.", "解释当前或某时刻的设定值。"),
    "plan": ("edge.cli.plan", "Show the plan and what it earns.", "显示计划及其收益。"),
    "history": ("edge.cli.history", "Show or export recorded points.", "查看或导出历史数据。"),
    "certificate": ("edge.cli.certificate", "Make a certificate for OPC UA.", "生成 OPC UA 证书。"),
    "bench": ("edge.cli.bench", "Measure this code beside its peers.", "与同类软件并排测量性能。"),
    "replay": ("edge.cli.replay", "Run recorded cycles again and compare.", "重放已记录的周期并比较。"),
}
"""Verb: (module, help in English, help in Chinese); the module exposes a click command named ``command``."""

EXIT_TEXTS = {
    Exit.OK: ("done, healthy", "完成,正常"),
    Exit.NO: ("the answer is no: a difference or a failed test", "答案为否:有差异或测试未通过"),
    Exit.USAGE: ("wrong use of the command line", "命令行用法错误"),
    Exit.CONFIG: ("the configuration is invalid", "配置无效"),
    Exit.NOT_RUNNING: ("the controller is not running", "控制器未运行"),
    Exit.NO_ANSWER: ("a device or a bus gives no answer", "设备或总线无应答"),
    Exit.REFUSED: ("refused by a guard", "被保护逻辑拒绝"),
    Exit.DEGRADED: ("it works, but something is stale or alarmed", "可运行,但有过期数据或告警"),
    Exit.NO_LINK: ("the fleet cannot be reached", "无法连接云端"),
    Exit.BUSY: ("busy, try again", "忙,请重试"),
    Exit.INTERRUPTED: ("interrupted", "被中断"),
}


class Verbs(click.Group):
    """The group that knows its verbs from the table and imports only the one that is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one verb and return its command."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(VERBS[cmd_name][0]).command
        gc.enable()
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; a wrong one is answered with the nearest right one."""
        wanted = args[0]
        if wanted in VERBS or wanted.startswith("-"):
            return super().resolve_command(ctx, args)
        near = nearest(wanted, VERBS)
        guess = say(f" Did you mean `{near}`?", f" 是否想用 `{near}`?") if near else ""
        ctx.fail(say(f"There is no verb `{wanted}`.", f"没有命令 `{wanted}`。") + guess)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the program is for."""
        self.help = say(
            "Run and inspect a battery-storage site. Every verb takes --help and --json.",
            "运行和查看储能站点。每个命令都支持 --help 和 --json。",
        )
        super().format_help_text(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of verbs without importing any of them."""
        with formatter.section(say("Verbs", "命令")):
            formatter.write_dl([(name, say(en, zh)) for name, (_, en, zh) in VERBS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the exit codes say."""
        with formatter.section(say("Exit codes", "退出码")):
            formatter.write_dl([(str(int(code)), say(*texts)) for code, texts in EXIT_TEXTS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; what is raised on purpose ends as a problem with advice, never as a traceback."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            fail_all(error.problems, Exit.CONFIG)
        except BusyError as error:
            do = say("Wait for the other one, or stop it.", "等待或停止另一个进程。")
            fail_all([Problem("RUN-002", ctx.info_name or "edge", str(error), do)], Exit.BUSY)
        except YunchuError as error:
            do = say("Run `edge check`; then look at the log.", "先运行 `edge check`,再查看日志。")
            fail_all([Problem("RUN-003", ctx.info_name or "edge", str(error), do)], Exit.NO)


def _set_language(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    if value:
        ctx.meta[LANGUAGE_KEY] = value
    return value


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"yunchu {VERSION}")
        ctx.exit()


@click.command("edge", cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--lang", type=click.Choice(["en", "zh"]), is_eager=True, expose_value=False,
              callback=_set_language, help="Language / 语言.")  # fmt: skip
@click.option("-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version)
def program() -> None:
    """Stand for the whole program; the texts are written by :class:`Verbs`."""


def main() -> None:
    """Run the command line."""
    program(prog_name="edge")
