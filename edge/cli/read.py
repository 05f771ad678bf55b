"""``edge read``: points or raw registers of a device once, through the running controller if there is one."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from edge.cli.common import (
    config_option,
    emit,
    fail,
    find_config,
    hint,
    is_terminal,
    json_option,
    option,
    run_dir_option,
    say,
    table,
    verb,
)
from models.answer import Exit
from models.errors import DriverError, LinkError, Problem, Refused

if TYPE_CHECKING:
    from drivers.look import Shown
    from drivers.talk import Ask
    from edge.target import Target

SCHEMA = "edge.read/1"
WATCH_S = 1.0
LONG = 1e15
"""Whole numbers from here on are written with an exponent."""
TYPES = ("bit", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64")
MANY = (
    ("u16", False),
    ("i16", False),
    ("u32", False),
    ("u32", True),
    ("i32", False),
    ("f32", False),
    ("f32", True),
)
"""Types, and whether the low word comes first, that raw registers are shown as when no type is named."""
HEAD = (
    ("point", "点"),
    ("value", "值"),
    ("unit", "单位"),
    ("quality", "质量"),
    ("age", "年龄"),
    ("raw", "原始值"),
    ("at", "位置"),
    ("", ""),
)


@verb(
    "read",
    en="Read points or raw registers once, through the running controller when it holds the line. "
    "DEVICE is one of the site file, or give --link.",
    zh="读取一次点或原始寄存器;线路由运行中的控制器占用时经其读取。"
    "DEVICE 为站点文件中的设备,或用 --link 指定。",
    examples="edge read pcs-1\nedge read bms-1/soc --watch\n"
    "edge read pcs-1 --fn 3 --address 100 --count 4\n"
    "edge read --link 'rtu:///dev/ttyUSB0?baud=9600' --unit-id 3 --product eastron/sdm630\n"
    "edge read --link tcp://192.168.1.10:502 --fn 4 --address 5016 --count 2 --type u32 --low-first",
)
@click.argument("device", required=False)
@option("--link", default="", en="Link of the line, as in the site file.", zh="线路链接,与站点文件相同。")
@option("--product", default="", en="Product of the catalog.", zh="目录中的产品。")
@option("--variant", default="", en="Variant of the product.", zh="产品变体。")
@option("--unit-id", type=click.IntRange(0, 255), default=None, en="Modbus unit id.", zh="Modbus 设备地址。")
@option(
    "--fn",
    type=click.IntRange(1, 4),
    default=3,
    en="Function code of raw registers.",
    zh="原始寄存器的功能码。",
)
@option(
    "--address",
    type=click.IntRange(0, 65_535),
    default=None,
    en="First raw address, from 0.",
    zh="原始起始地址,从 0 起。",
)
@option("--count", type=click.IntRange(1, 125), default=1, en="How many.", zh="数量。")
@option(
    "--type",
    "kind",
    type=click.Choice(TYPES),
    default=None,
    en="Type; without it several are shown.",
    zh="类型;省略时显示多种。",
)
@option("--low-first", is_flag=True, en="The low word comes first.", zh="低字在前。")
@option("--watch", is_flag=True, en="Again every second, until Ctrl-C.", zh="每秒读取一次,直到 Ctrl-C。")
@config_option
@run_dir_option
@json_option
def command(
    device: str | None, config: Path | None, run_dir: Path | None, watch: bool, as_json: bool, **how: Any
) -> None:
    """Read and print; Exit.NO_ANSWER when nothing came, Exit.DEGRADED when something is missing."""
    target, point = find_target(device, how, config, run_dir)
    if how["address"] is None and target.product is None:
        do = say(
            "Add --product, or --address for raw registers.", "请加 --product,或用 --address 读取原始寄存器。"
        )
        fail(
            Problem("FLD-003", target.name, say("nothing is named to read", "未指定读取内容"), do), Exit.USAGE
        )
    with way(target, run_dir) as ask:
        look = (
            _points(target, point, ask, as_json)
            if how["address"] is None
            else _raw(target, ask, how, as_json)
        )
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                if watch and is_terminal():
                    click.clear()
                code = look()
                if not watch:
                    raise click.exceptions.Exit(int(code))
                time.sleep(WATCH_S)
    raise click.exceptions.Exit(int(Exit.INTERRUPTED))


def find_target(
    device: str | None, how: dict[str, Any], config: Path | None, run_dir: Path | None
) -> "tuple[Target, str]":
    """Return what is meant, and the name of the point, if one is named; or end the command."""
    from edge.target import device_of, named

    if how["link"]:
        return named(how["link"], how["unit_id"], how["product"], how["variant"], run_dir), ""
    if not device:
        do = say("Name a device of the site file, or give --link.", "请指定站点文件中的设备,或用 --link。")
        fail(Problem("FLD-003", "edge", say("no device is named", "未指定设备"), do), Exit.USAGE)
    name, _, point = device.partition("/")
    target = device_of(find_config(config), name, run_dir)
    if point and target.product and point not in [spec.name for spec in target.product.points]:
        known = ", ".join(spec.name for spec in target.product.points)
        what = say(f"{name} has no point {point!r}", f"{name} 没有点 {point!r}")
        fail(Problem("FLD-004", device, what, say(f"Known: {known}", f"已有:{known}")), Exit.USAGE)
    return target, point


@contextlib.contextmanager
def way(target: "Target", run_dir: Path | None) -> "Iterator[Ask]":
    """Give the way to a device, and end the command well when it leads nowhere."""
    from drivers.modbus.line import LineLost
    from drivers.talk import Direct
    from edge.field import Forbidden, way_to
    from edge.target import who

    ask, holder = way_to(target.link, run_dir or target.run_dir, who())
    if holder:
        hint(f"through the controller of {holder.site}", f"经由站点 {holder.site} 的控制器")
    try:
        yield ask
    except Forbidden as error:
        fail(Problem(error.code, target.name, str(error), error.do), Exit.REFUSED)
    except LinkError as error:
        do = say("Try again; `edge status` shows how it is.", "请重试;用 `edge status` 查看状态。")
        fail(Problem("FLD-006", target.name, str(error), do), Exit.NOT_RUNNING)
    except LineLost as error:
        _no_line(target, error)
    except Refused as error:
        do = say("Ask for other registers, or another function.", "请换用其他寄存器或功能码。")
        fail(Problem("FLD-007", target.name, str(error), do), Exit.NO_ANSWER)
    except DriverError as error:
        do = say("Find it with `edge scan`.", "用 `edge scan` 查找。")
        fail(Problem("FLD-005", target.name, str(error), do), Exit.NO_ANSWER)
    finally:
        if isinstance(ask, Direct):
            ask.link.close()


def _no_line(target: "Target", error: Exception) -> NoReturn:
    locked = "lock" in str(error).lower()
    do = say("Stop the program that holds the port.", "请停止占用该串口的程序。") if locked else say(
        "Check link, wiring and power.", "请检查链接、接线和电源。")  # fmt: skip
    code, exit_code = ("BUS-001", Exit.BUSY) if locked else ("BUS-002", Exit.NO_ANSWER)
    fail(Problem(code, target.link, str(error), do), exit_code)


# points


def _points(target: "Target", point: str, ask: "Ask", as_json: bool) -> Callable[[], Exit]:
    """Return what reads and shows the points once."""
    from drivers.look import read_points, resolved
    from drivers.talk import hold

    assert target.product is not None
    product, hidden = hold(resolved(target.product, target.unit_id), ask)

    def look() -> Exit:
        shown = hold(read_points(product, hidden, target.unit_id, {point} if point else set()), ask)
        now_ns = time.monotonic_ns()
        if as_json:
            emit(SCHEMA, [_data(one, now_ns) for one in shown], ok=all(one.good for one in shown))
        else:
            click.echo(
                table([say(*title) for title in HEAD], [_row(one, now_ns) for one in shown], right=(1, 4))
            )
        if all(one.good for one in shown):
            return Exit.OK
        return Exit.DEGRADED if any(one.t_ns for one in shown) else Exit.NO_ANSWER

    return look


def number(value: float) -> str:
    """Return a value as a person would write it."""
    return "—" if math.isnan(value) else f"{value:.6f}".rstrip("0").rstrip(".")


def _age_s(one: "Shown", now_ns: int) -> float | None:
    return (now_ns - one.t_ns) / 1e9 if one.t_ns else None


def place(one: "Shown") -> str:
    """Return where a point lies, or how it is derived."""
    spec = one.spec
    if spec.derivation:
        return f"{spec.derivation} {', '.join(spec.of)}"
    scale = f" ×{spec.scale:g}" if spec.scale != 1.0 else ""
    return f"{spec.fn}/{spec.address} {spec.type}{scale}"


def why(one: "Shown") -> str:
    """Return why a value is not usable; empty when it is."""
    spec = one.spec
    if one.good or one.trouble:
        return one.trouble
    if int.from_bytes(one.raw, "big") in spec.na and one.raw:
        return say("the device says: not available", "设备表示:不可用")
    if spec.map:
        return say("this code is not in the catalog", "目录中没有该代码")
    if spec.by or spec.derivation:
        return say("it depends on a point that is not usable", "依赖的点不可用")
    return say(f"outside {spec.lo:g}…{spec.hi:g}", f"超出 {spec.lo:g}…{spec.hi:g}")


def words(raw: bytes) -> str:
    """Return registers in hexadecimal, one after another."""
    return raw.hex(" ", -2) if len(raw) > 1 else raw.hex()


def _row(one: "Shown", now_ns: int) -> tuple[str, ...]:
    age_s = _age_s(one, now_ns)
    return (
        one.spec.name,
        number(one.value),
        one.spec.symbol,
        "GOOD" if one.good else "BAD",
        "—" if age_s is None else f"{age_s:.2f} s",
        words(one.raw),
        place(one),
        why(one),
    )


def _data(one: "Shown", now_ns: int) -> dict[str, Any]:
    return {
        "point": one.spec.name,
        "part": one.spec.part,
        "role": str(one.spec.role),
        "value": None if math.isnan(one.value) else one.value,
        "symbol": one.spec.symbol,
        "quality": "GOOD" if one.good else "BAD",
        "age_s": _age_s(one, now_ns),
        "raw": one.raw.hex(),
        "fn": one.spec.fn,
        "address": one.spec.address,
        "type": one.spec.type,
        "trouble": why(one),
    }


# raw registers


def _raw(target: "Target", ask: "Ask", how: dict[str, Any], as_json: bool) -> Callable[[], Exit]:
    """Return what reads and shows raw registers once."""
    from drivers.modbus import frames

    request = frames.read(target.unit_id, how["fn"], how["address"], how["count"])
    bits = how["fn"] < frames.READ_HOLDING
    named = [(how["kind"], how["low_first"])] if how["kind"] else MANY
    kinds = [("bit", False)] if bits else named

    def look() -> Exit:
        data = ask(request)
        rows = list(_bit_rows(data, how) if bits else _register_rows(data, how, kinds))
        if as_json:
            emit(SCHEMA, {"fn": how["fn"], "address": how["address"], "raw": data.hex(), "registers": rows})
            return Exit.OK
        head = [say("address", "地址"), say("raw", "原始值"), *rows[0]["values"]]
        cells = [(row["address"], row["raw"], *map(_short, row["values"].values())) for row in rows]
        click.echo(table(head, cells, right=(0, *range(2, len(head)))))
        return Exit.OK

    return look


def _bit_rows(data: bytes, how: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from drivers.look import decode

    for k, bit in enumerate(decode(data, "bit")[: how["count"]]):
        yield {"address": how["address"] + k, "raw": "", "values": {"bit": bit}}


def _register_rows(
    data: bytes, how: dict[str, Any], kinds: Sequence[tuple[str, bool]]
) -> Iterator[dict[str, Any]]:
    """Yield one row a register; what is longer than a register begins there."""
    from drivers.look import decode

    for k in range(how["count"]):
        values: dict[str, float | None] = {}
        for kind, low_first in kinds:
            found = decode(data[2 * k : 2 * k + 8], kind, low_first)
            name = f"{kind} lo-hi" if low_first else kind
            values[name] = found[0] if found and math.isfinite(found[0]) else None
        yield {"address": how["address"] + k, "raw": data[2 * k : 2 * k + 2].hex(), "values": values}


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value.is_integer() and abs(value) < LONG else f"{value:.6g}"
