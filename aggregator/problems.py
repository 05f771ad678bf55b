"""Everything that the fleet program can complain about, in both languages; the only place with these texts.

A refusal is a value: a stable code and the numbers that belong into its text. It travels through the
store as such and becomes words where somebody reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aggregator.words import power_words
from models.errors import Problem, StoreError
from models.language import tr


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not done."""

    code: str
    where: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def problem(self, language: str) -> Problem:
        """Return it in words."""
        return problem(self.code, self.where, language, **self.values)


# code: (what en, what zh, do en, do zh)
TEXTS: dict[str, tuple[str, str, str, str]] = {
    "FLEET-001": (
        "the fleet store does not exist",
        "聚合平台数据库不存在",
        "Start `fleet serve` first, or give the right file with --db",
        "请先启动 `fleet serve`,或用 --db 指定正确的文件",
    ),
    "FLEET-002": (
        "the fleet store is not usable: {detail}",
        "聚合平台数据库不可用:{detail}",
        "Move the file away and start `fleet serve` again; sites send again what was not confirmed",
        "请移走该文件后重新启动 `fleet serve`;未确认的数据站点会重新发送",
    ),
    "FLEET-003": (
        "the fleet store is held by another process: {detail}",
        "聚合平台数据库被其他进程占用:{detail}",
        "Stop the other `fleet serve` or tool that uses this file",
        "请停止正在使用该文件的其他 `fleet serve` 或工具",
    ),
    "FLEET-004": (
        "the fleet store cannot be read or written: {detail}",
        "聚合平台数据库无法读写:{detail}",
        "Check free disk space and the rights of the file and its folder",
        "请检查磁盘剩余空间以及文件和目录的权限",
    ),
    "FLEET-005": (
        "the fleet store is of version {found}, this program knows {known}",
        "聚合平台数据库版本为 {found},本程序支持 {known}",
        "Use the newer program",
        "请使用更新的程序版本",
    ),
    "FLEET-010": (
        "`fleet serve` is not running on this store",
        "该数据库上没有运行中的 `fleet serve`",
        "Start it: fleet serve --db FILE --broker URL",
        "请启动:fleet serve --db FILE --broker URL",
    ),
    "FLEET-011": (
        "`fleet serve` has no connection to the broker",
        "`fleet serve` 未连接到消息服务器",
        "Check the broker's address and that it runs",
        "请检查消息服务器地址以及其是否在运行",
    ),
    "FLEET-012": (
        "no answer within {waited_s} s",
        "{waited_s} 秒内没有应答",
        "See `fleet status`; the command expires by itself",
        "请查看 `fleet status`;命令到期后自动失效",
    ),
    "FLEET-020": (
        "no site of this name has ever reported",
        "没有该名称的站点上报过",
        "See the names with `fleet sites`",
        "请用 `fleet sites` 查看站点名称",
    ),
    "FLEET-021": (
        "the site is offline",
        "站点离线",
        "Check the site's link; the site keeps its own plan meanwhile",
        "请检查站点通信;站点在此期间按本地计划运行",
    ),
    "FLEET-022": (
        "the site's data is {age_s} s old",
        "站点数据已 {age_s} 秒未更新",
        "Wait for fresh data; a command is never based on old bounds",
        "请等待数据刷新;命令不会依据过期的功率范围下发",
    ),
    "FLEET-023": (
        "the site has not reported what its batteries may do now",
        "站点没有上报电池当前可用功率范围",
        "Check the site with `edge status`",
        "请在站点侧用 `edge status` 检查",
    ),
    "FLEET-024": (
        "{asked} is outside what the site can do now ({lo_kw} … {hi_kw} kW)",
        "{asked} 超出站点当前可用范围({lo_kw} … {hi_kw} kW)",
        "Ask for less, or add --clip to take what is possible",
        "请减小功率,或加 --clip 按可用范围截断",
    ),
    "FLEET-025": (
        "{asked} is not a power that a site can have",
        "{asked} 不是有效的功率",
        "Write it like 40kW or -25kW (discharge +)",
        "请写成 40kW 或 -25kW(放电为正)",
    ),
    "FLEET-026": (
        "{asked} is not a duration from 1 s to 24 h",
        "{asked} 不是 1 秒到 24 小时之间的时长",
        "Write it like 20s, 15min or 1h",
        "请写成 20s、15min 或 1h",
    ),
    "FLEET-027": (
        "the order waited {age_s} s for the server and was dropped",
        "指令等待服务器 {age_s} 秒,已作废",
        "Give it again",
        "请重新下达",
    ),
    "FLEET-030": (
        "the command ended as {stage} ({reason})",
        "命令结束状态为 {stage}({reason})",
        "See the site's `edge why`",
        "请在站点侧用 `edge why` 查看原因",
    ),
    "FLEET-040": (
        "the key file cannot be used: {detail}",
        "密钥文件不可用:{detail}",
        "Give the right file, or move it away to make a new key",
        "请指定正确的文件,或移走后重新生成",
    ),
    "FLEET-041": (
        "{detail} is not a public key",
        "{detail} 不是公钥",
        "Give the public key that the site shows, in hexadecimal",
        "请提供站点显示的十六进制公钥",
    ),
    "FLEET-050": (
        "the broker address {detail} is not usable",
        "消息服务器地址 {detail} 不可用",
        "Write it like mqtt://127.0.0.1:1883",
        "请写成 mqtt://127.0.0.1:1883",
    ),
}


def problem(code: str, where: str, language: str = "en", **values: Any) -> Problem:
    """Return one problem in words."""
    what_en, what_zh, do_en, do_zh = TEXTS[code]
    if "p_kw" in values:
        values["asked"] = power_words(values["p_kw"], language)
    return Problem(code, where, tr(language, what_en, what_zh).format(**values), tr(language, do_en, do_zh))


class FleetStoreError(StoreError):
    """A store error that can be put into words in either language."""

    def __init__(self, code: str, where: str, **values: Any) -> None:
        self.refusal = Refusal(code, where, values)
        super().__init__(str(self.refusal.problem("en")))
