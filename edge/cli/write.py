"""``edge write``: one write by hand, shown before it is sent, read back after it, and recorded.

A power goes the way of the operator's request, so that all limits hold. Registers are written as they are;
but never those by which a running controller steers the device, and never a power outside the nameplate.
Where no product is named nobody can tell what a register means: that needs ``--no-door``.
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from edge.cli.common import (
    config_option,
    emit,
    fail,
    find_run_dir,
    hint,
    json_option,
    option,
    run_dir_option,
    say,
    table,
    verb,
)
from edge.cli.names import battery_power, name_of
from edge.cli.read import TYPES, find_target, way, words
from edge.cli.why import seconds
from models.answer import Exit
from models.errors import DoorRefused, DriverError, LinkError, Problem, StoreError

if TYPE_CHECKING:
    from drivers.modbus.frames import Request
    from drivers.raw_write import RawWrite
    from drivers.talk import Ask
    from edge.target import Target

SCHEMA = "edge.write/1"
DEFAULT_FOR = "60s"
TAKES_S = 2.0
"""So long after a wish its effect is looked for."""
LOOK_S = 0.1


@verb(
    "write",
    en="Write one power, point or register of a device. Without --yes only shows what would be sent.",
    zh="写入设备的一个功率、点或寄存器。不加 --yes 时只显示将要发送的内容。",
    examples="edge write pcs-1 --p-kw 20 --for 60s --yes\nedge write pcs-1 --cancel --yes\n"
    "edge write pcs-1/dead_man_s 5\nedge write pcs-1 --address 204 --fn 6 --type u16 --value 3 --yes\n"
    "edge write pcs-1 --address 204 --value 10 --for 60s --yes\n"
    "edge write --link tcp://192.168.1.10:502 --unit-id 3 --address 204 --value 10 --no-door --yes",
)
@click.argument("device", required=False)
@click.argument("value", required=False, type=float)
@option("--p-kw", type=float, default=None, en="Power of the battery, discharge +.", zh="电池功率,放电为正。")
@option("--cancel", is_flag=True, en="Take back the operator's power.", zh="撤销操作员功率。")
@option("--for", "span", default=None, en="So long, like 60s; then the old value is restored.",
        zh="持续时间,如 60s;之后恢复原值。")  # fmt: skip
@option(
    "--address",
    type=click.IntRange(0, 65_535),
    default=None,
    en="Raw address, from 0.",
    zh="原始地址,从 0 起。",
)
@option(
    "--fn",
    type=click.Choice(["5", "6", "16"]),
    default="6",
    en="Function code of a raw write.",
    zh="写功能码。",
)
@option(
    "--type", "kind", type=click.Choice(TYPES), default="u16", en="Type of the raw value.", zh="原始值类型。"
)
@option("--value", "raw_value", type=float, default=None, en="Raw value.", zh="原始值。")
@option("--low-first", is_flag=True, en="The low word comes first.", zh="低字在前。")
@option("--link", default="", en="Link of the line, as in the site file.", zh="线路链接,与站点文件相同。")
@option("--product", default="", en="Product of the catalog.", zh="目录中的产品。")
@option("--variant", default="", en="Variant of the product.", zh="产品变体。")
@option("--unit-id", type=click.IntRange(0, 255), default=None, en="Modbus unit id.", zh="Modbus 设备地址。")
@option("--no-door", is_flag=True, en="Write although no product says what stands there.",
        zh="即使没有产品说明该处含义也写入。")  # fmt: skip
@option("--yes", is_flag=True, en="Really send it, once.", zh="确实发送(仅一次)。")
@config_option
@run_dir_option
@json_option
def command(
    device: str | None,
    value: float | None,
    config: Path | None,
    run_dir: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Show or send one write."""
    target, point = find_target(device, how, config, run_dir)
    if how["p_kw"] is not None or how["cancel"]:
        _power(target, find_run_dir(run_dir or target.run_dir, config), how, as_json)
        return
    span_s = seconds(how["span"]) if how["span"] else None
    with way(target, run_dir) as ask:
        write = _checked(target, point, value, how, ask)
        unjudged = target.product is None and not how["no_door"]
        if unjudged and how["yes"]:
            _rehearse(ask, write)
            fail(_unjudged(target), Exit.REFUSED)
        old = ask(write.look)
        if not how["yes"]:
            _rehearse(ask, write)
            _show(target, write, old, None, as_json, sent=False)
            if unjudged:
                problem = _unjudged(target)
                click.echo(f"{problem.what}\n   {problem.do}", err=True)
            hint("Nothing was sent. Add --yes to send it.", "未发送任何内容。加 --yes 才会发送。")
            return
        kept = _ledger(target, ask)  # first: what cannot be recorded is not sent
        if span_s is None:
            after = _send(target, ask, write, old, kept)
        else:
            after = _send_for(span_s, target, ask, write, old, kept)
    _show(target, write, old, after, as_json, sent=True)
    if after != write.data:
        raise click.exceptions.Exit(int(Exit.NO))


command.context_settings["ignore_unknown_options"] = True  # a negative VALUE is no option


# a power


def _power(target: "Target", run_dir: Path, how: dict[str, Any], as_json: bool) -> None:
    """Ask for a power as the operator; limits hold, and it ends by itself."""
    from edge.cli.facts import gather

    if target.nameplate is None or target.batteries != 1:
        what = say("the operator's power is for all batteries of a site together",
                   "操作员功率针对站点所有电池之和")  # fmt: skip
        do = say("Name the converter of a site with one battery.", "请指定仅有一个电池的站点的变流器。")
        fail(Problem("FLD-010", target.name, what, do), Exit.REFUSED)
    message: dict[str, Any] = {"v": 1, "kind": "cancel", "source": "operator"}
    if not how["cancel"]:
        message = _wish(target, how)
    if how["yes"]:
        _post(run_dir, message, target)
        _await(run_dir, None if how["cancel"] else message["p_kw"])
    decision = gather(run_dir)["decision"] or {}
    if as_json:
        emit(SCHEMA, {"sent": how["yes"], "message": message, "decision": decision})
        return
    asked = (
        say("take back the operator's power", "撤销操作员功率")
        if how["cancel"]
        else battery_power(how["p_kw"])
    )
    click.echo(say("sent: ", "已发送:") * how["yes"] + asked)
    if decision:
        lo, hi = battery_power(decision["lo_kw"]), battery_power(decision["hi_kw"])
        click.echo(
            say(
                f"now: {name_of(decision['winner'])} → {battery_power(decision['p_set_kw'])}; allowed {lo} "
                f"({name_of(decision['lo_by'])}) to {hi} ({name_of(decision['hi_by'])})",
                f"当前:{name_of(decision['winner'])} → {battery_power(decision['p_set_kw'])};允许 {lo}"
                f"({name_of(decision['lo_by'])})至 {hi}({name_of(decision['hi_by'])})",
            )
        )
    if not how["yes"]:
        hint("Nothing was sent. Add --yes to send it.", "未发送任何内容。加 --yes 才会发送。")


def _wish(target: "Target", how: dict[str, Any]) -> dict[str, Any]:
    assert target.nameplate is not None
    try:
        p_kw = target.nameplate.check(how["p_kw"])
    except DoorRefused as error:
        _refuse(target, str(error))
    valid_s = float(seconds(how["span"] or DEFAULT_FOR))
    return {"v": 1, "kind": "operator", "ref": time.time_ns() // 1_000_000, "p_kw": p_kw, "valid_s": valid_s}


def _post(run_dir: Path, message: dict[str, Any], target: "Target") -> None:
    from edge.field import ledger
    from edge.mailbox import ask
    from edge.target import who

    try:
        answer = ask(run_dir / "control.sock", message)
    except LinkError as error:
        do = say("Start it with `edge run`.", "用 `edge run` 启动。")
        fail(Problem("RUN-001", str(run_dir), str(error), do), Exit.NOT_RUNNING)
    if not answer.get("ok"):
        fail(Problem(answer["code"], target.name, answer["what"], answer["do"]), Exit.REFUSED)
    asked = (
        "takes back the power"
        if message["kind"] == "cancel"
        else f"asks for {message['p_kw']:g} kW, {message['valid_s']:g} s"
    )
    _record(ledger(run_dir), target.name, f"{who()} {asked}")


def _await(run_dir: Path, p_kw: float | None) -> None:
    """Wait until the controller has taken the wish, or a little longer than it needs for that."""
    from edge.cli.facts import gather

    ends_s = time.monotonic() + TAKES_S
    while time.monotonic() < ends_s:
        decision = gather(run_dir)["decision"]
        taken = decision and decision["winner"] == "operator"
        if decision and (not taken if p_kw is None else taken and abs(decision["p_set_kw"] - p_kw) < 0.05):
            return
        time.sleep(LOOK_S)


# a register


def _checked(
    target: "Target", point: str, value: float | None, how: dict[str, Any], ask: "Ask"
) -> "RawWrite":
    """Return the write that is meant, when the catalog and the nameplate allow it; or end the command."""
    from drivers.look import resolved
    from drivers.raw_write import check, overwritten, raw, to_point
    from drivers.talk import hold

    product = hold(resolved(target.product, target.unit_id), ask)[0] if target.product else None
    try:
        if point and value is not None and product:
            spec = next(spec for spec in product.points if spec.name == point)
            write = to_point(spec, target.unit_id, value)
        elif how["address"] is not None and how["raw_value"] is not None:
            place = target.unit_id, int(how["fn"]), how["address"]
            write = raw(place, how["kind"], how["raw_value"], how["low_first"])
        else:
            raise ValueError(say("name DEVICE/POINT and VALUE, --address and --value, or --p-kw",
                                 "请指定 DEVICE/POINT 和 VALUE、--address 和 --value,或 --p-kw"))  # fmt: skip
    except ValueError as error:
        do = say("See `edge write --help`.", "见 `edge write --help`。")
        fail(Problem("FLD-011", target.name, str(error), do), Exit.USAGE)
    if step := overwritten(write, product, target.unit_id):
        hint(f"A running controller writes there by itself: {step}", f"运行中的控制器会自行写入该处:{step}")
    try:
        check(write, product, target.unit_id, target.nameplate)
    except DoorRefused as error:
        _refuse(target, str(error))
    return write


def _refuse(target: "Target", what: str) -> NoReturn:
    do = say("Ask for less; the nameplate stands in the site file.", "请减小数值;额定值见站点文件。")
    fail(Problem("FLD-012", target.name, what, do), Exit.REFUSED)


def _unjudged(target: "Target") -> Problem:
    what = say("no product is named, so nobody can tell whether this is a power, or how much",
               "未指定产品,无法判断这是否为功率及其大小")  # fmt: skip
    do = say("Add --product KEY; or --no-door to write it all the same.",
             "请加 --product KEY;或加 --no-door 仍然写入。")  # fmt: skip
    return Problem("FLD-014", target.name, what, do)


def _rehearse(ask: "Ask", write: "RawWrite") -> None:
    """Ask the controller whether it would let the write pass."""
    from edge.field import Through

    if isinstance(ask, Through):
        ask.rehearse(write.request)


def _send(target: "Target", ask: "Ask", write: "RawWrite", old: bytes, kept: Path | None) -> bytes | None:
    """Send the write once, record it in ``kept``; return what the device shows then, None when nothing."""
    from edge.target import who

    outcome = "interrupted, nobody knows"
    try:
        ask(write.request)
        outcome = "confirmed"
    except DriverError as error:
        outcome = str(error)
        hint(f"not confirmed: {error}", f"未确认:{error}")
    finally:
        at = f"unit {write.unit_id} fn {write.fn} address {write.address}"
        _record(kept, target.name, f"{who()} wrote {at}: {old.hex()} → {write.data.hex()}; {outcome}")
    with contextlib.suppress(DriverError):
        return ask(write.look)[: len(write.data)]
    return None


def _record(kept: Path | None, name: str, what: str) -> None:
    from edge.events import Events

    if kept:
        Events(kept, "cli").emit("FIELD_WRITE", name, what)


def _ledger(target: "Target", ask: "Ask") -> Path | None:
    """Return the file for the record; None where the controller keeps its own. StoreError: see ``ledger``."""
    from edge.field import Through, ledger

    if isinstance(ask, Through):
        return None
    kept = ledger(target.run_dir)
    if target.run_dir != kept.parent:
        hint(f"recorded in {kept}", f"记录于 {kept}")
    return kept


def _send_for(
    span_s: float, target: "Target", ask: "Ask", write: "RawWrite", old: bytes, kept: Path | None
) -> bytes | None:
    """Send the write, wait, restore the old value: also after Ctrl-C, or when the terminal is closed."""
    hint(f"the old value {words(old)} is restored after {span_s:g} s, or with Ctrl-C",
         f"{span_s:g} 秒后或按 Ctrl-C 时恢复原值 {words(old)}")  # fmt: skip
    after = None
    with _signals(signal.default_int_handler):
        try:
            after = _send(target, ask, write, old, kept)
            time.sleep(span_s)
        except KeyboardInterrupt:
            pass
        finally:
            with _signals(signal.SIG_IGN):
                _restore(target, ask, write, old, kept)
    return after


def _restore(target: "Target", ask: "Ask", write: "RawWrite", old: bytes, kept: Path | None) -> None:
    from edge.field import way_to
    from edge.target import who

    back = write.back(old)
    try:
        shows = _send(target, ask, back, write.data, kept)
    except LinkError:  # the controller has ended meanwhile: the line is free
        ask = way_to(target.link, target.run_dir, who())[0]
        with contextlib.suppress(StoreError):  # restoring comes first
            kept = _ledger(target, ask)
        shows = _send(target, ask, back, write.data, kept)
    if shows != back.data:
        do = say("Look with `edge read` and write it by hand.", "请用 `edge read` 查看并手动写回。")
        what = say(f"the old value {words(old)} could not be restored", f"未能恢复原值 {words(old)}")
        fail(Problem("FLD-013", target.name, what, do), Exit.NO)
    hint(f"restored: {words(old)}", f"已恢复:{words(old)}")


@contextlib.contextmanager
def _signals(handler: Any) -> Iterator[None]:
    """Handle Ctrl-C, a closed terminal and the request to end in the same way."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)


def _frame(target: "Target", request: "Request") -> str:
    """Return the frame as it goes out; on TCP the transaction number is only known then."""
    from drivers.modbus.frames import tcp_frame
    from drivers.modbus.line import parse_url

    serial = parse_url(target.link).serial_frames
    return (request.serial_frame() if serial else tcp_frame(0, request)).hex(" ")


def _show(
    target: "Target", write: "RawWrite", old: bytes, after: bytes | None, as_json: bool, *, sent: bool
) -> None:
    frame = _frame(target, write.request)
    shown = None if after is None else after.hex()
    if as_json:
        facts = {"unit_id": write.unit_id, "fn": write.fn, "address": write.address, "frame": frame}
        values = {"old": old.hex(), "new": write.data.hex(), "readback": shown}
        emit(SCHEMA, {"sent": sent, **facts, **values}, ok=not sent or after == write.data)
        return
    rows = [
        (say("device", "设备"), f"{target.name}, {say('unit', '地址')} {write.unit_id}"),
        (say("frame", "报文"), frame),
        (say("at", "位置"), f"{write.fn}/{write.address}"),
        (say("old", "原值"), words(old)),
        (say("new", "新值"), words(write.data)),
    ]
    if after is not None:
        rows.append((say("reads back", "回读"), words(after)))
    click.echo(table(("", ""), rows).lstrip("\n"))
