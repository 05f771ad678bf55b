"""``edge scan``: who is on a serial line, on a network, or in an OPC UA server, and what it probably is."""

import contextlib
import ipaddress
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from edge.cli.common import emit, fail, hint, json_option, option, run_dir_option, say, table, verb
from models.answer import Exit
from models.errors import LinkError, Problem

if TYPE_CHECKING:
    from drivers.catalog.product import Product
    from drivers.scan import Found, Step
    from edge.field import Holder

SCHEMA = "edge.scan/1"
SHOWN = 3
"""Products that are named for each device."""
HOSTS_MAX = 256
SERIAL_IDS, SERIAL_MOST, TCP_MOST = "1-32", 247, 255
RTU_BAUDS, METER_BAUDS = "9600,19200", "2400,9600,1200,4800"
METER_PRODUCT = "dlt645/three_phase"
HEAD = (
    ("link", "链路"),
    ("id", "地址"),
    ("says of itself", "自述"),
    ("product", "产品"),
    ("score", "评分"),
    ("because", "依据"),
)
NAMES = {"pcs": "pcs", "bms": "bms", "battery": "battery", "pv": "pv", "hybrid_inverter": "inverter"}
"""Beginning of the name of a device, by the kind of its product; a meter is a meter."""


@verb(
    "scan",
    en="Find devices: `rtu PORT`, `tcp HOST[/24]`, `dlt645 PORT` or `opcua URL`. "
    "Only reads; nothing is written or changed.",
    zh="查找设备:`rtu 串口`、`tcp 主机[/24]`、`dlt645 串口` 或 `opcua URL`。只读,不写入也不修改任何内容。",
    examples="edge scan rtu /dev/ttyUSB0 --baud 9600,19200 --ids 1-32\nedge scan tcp 192.168.1.0/24\n"
    "edge scan tcp 192.168.1.10 --port 502,1502 --ids 1-5\n"
    "edge scan rtu rtu+tcp://192.168.1.20:4001 --ids 1-32\nedge scan dlt645 /dev/ttyUSB0\n"
    "edge scan opcua opc.tcp://192.168.1.30:4840",
)
@click.argument("kind", type=click.Choice(["rtu", "tcp", "dlt645", "opcua"]))
@click.argument("target")
@option(
    "--baud",
    default=None,
    en="Baud rates, likely ones first; default 9600,19200, for meters 2400,9600,1200,4800.",
    zh="波特率,常用的在前;默认 9600,19200,电表为 2400,9600,1200,4800。",
)
@option("--parity", default="N,E", en="Parities to try.", zh="要尝试的校验。")
@option(
    "--ids",
    default=None,
    en="Unit ids, like 1-32,100; default 1-32, on TCP those that products have from the factory.",
    zh="设备地址,如 1-32,100;默认 1-32,TCP 时为各产品的出厂地址。",
)
@option("--port", default="502", en="TCP ports.", zh="TCP 端口。")
@option(
    "--product",
    "products",
    multiple=True,
    en="File of a product that is not in the catalog, to look for as well.",
    zh="目录之外、也要查找的产品文件。",
)
@option("--depth", default=5, en="Levels below Objects (OPC UA).", zh="Objects 以下的层数(OPC UA)。")
@run_dir_option
@json_option
def command(kind: str, target: str, as_json: bool, run_dir: Path | None, **how: Any) -> None:
    """Scan, then print who is there; Exit.NO_ANSWER when nobody is."""
    if kind == "opcua":
        _opcua(target, int(how["depth"]), as_json)
        return
    if kind == "dlt645":
        _meters(target, how, run_dir, as_json)
        return
    try:
        found = _rtu(target, how, run_dir) if kind == "rtu" else _tcp(target, how, run_dir)
    except ValueError as error:
        do = say("Correct it; see `edge scan --help`.", "请更正;见 `edge scan --help`。")
        fail(Problem("SCN-001", target, str(error), do), Exit.USAGE)
    if not found:
        _fail_nobody(target)
    if as_json:
        emit(SCHEMA, [_data(one) for one in found])
        return
    click.echo(_text(found))
    click.echo(
        "\n" + say("# For the site file; fill in what is missing:", "# 用于站点文件;请补全缺少的内容:")
    )
    click.echo("\n\n".join(_tables(found)))


def _candidates(how: dict[str, Any]) -> "list[Product]":
    from drivers.scan import candidates, first_variant

    return [*candidates(), *map(first_variant, how["products"])]


def _fail_nobody(target: str) -> NoReturn:
    what = say("nobody answers", "没有设备应答")
    do = say(
        "Check the wiring (A/B exchanged?), baud rate, parity and unit ids; try --ids 1-247.",
        "请检查接线(A/B 是否接反)、波特率、校验和设备地址;可尝试 --ids 1-247。",
    )
    fail(Problem("SCN-002", target, what, do), Exit.NO_ANSWER)


# serial line


def _rtu(path: str, how: dict[str, Any], run_dir: Path | None) -> "list[Found]":
    from drivers.modbus.line import PARITIES, LineLost
    from drivers.scan import estimate_s, parse_numbers, scan_serial, serial_links

    path = path if "://" in path else str(Path(path).absolute())
    bauds = _bauds(how, RTU_BAUDS)
    parities = how["parity"].upper().split(",")
    if unknown := sorted({*parities} - {*PARITIES}):
        raise ValueError(f"parity {unknown[0]} is none of {', '.join(PARITIES)}")
    ids = parse_numbers(how["ids"] or SERIAL_IDS, 1, SERIAL_MOST)
    links, products = serial_links(path, bauds, parities), _candidates(how)
    _refuse_held(links[0], run_dir)
    seconds = estimate_s(links, ids)
    hint(f"{len(links)} settings, {len(ids)} ids: at most {seconds:.0f} s when nobody answers.",
         f"{len(links)} 种设置,{len(ids)} 个地址:无应答时最多 {seconds:.0f} 秒。")  # fmt: skip
    with _progress(len(links) * len(ids)) as step:
        try:
            return scan_serial(links, ids, products, step)
        except LineLost as error:
            _fail_locked(path, str(error))


def _bauds(how: dict[str, Any], usual: str) -> list[int]:
    from drivers.modbus.line import BAUDS
    from drivers.scan import parse_numbers

    bauds = parse_numbers(how["baud"] or usual, BAUDS[0], BAUDS[-1])
    if unknown := sorted({*bauds} - {*BAUDS}):
        raise ValueError(f"baud rate {unknown[0]} is none of {', '.join(map(str, BAUDS))}")
    return bauds


def _meters(path: str, how: dict[str, Any], run_dir: Path | None, as_json: bool) -> None:
    """Find the one DL/T 645 meter of a line."""
    from drivers.modbus.line import LineLost
    from drivers.scan import scan_meters
    from models.errors import DriverError

    path = str(Path(path).absolute())
    try:
        bauds = _bauds(how, METER_BAUDS)
    except ValueError as error:
        do = say("Correct it; see `edge scan --help`.", "请更正;见 `edge scan --help`。")
        fail(Problem("SCN-001", path, str(error), do), Exit.USAGE)
    _refuse_held(f"dlt645://{path}", run_dir)
    try:
        with _progress(len(bauds)) as step:
            found = scan_meters(path, bauds, step)
    except LineLost as error:
        _fail_locked(path, str(error))
    except DriverError as error:
        do = say("Leave one meter on the line, or take the 12 digits from its label.",
                 "线路上只保留一块电表,或直接使用铭牌上的 12 位地址。")  # fmt: skip
        fail(Problem("SCN-004", path, str(error), do), Exit.NO_ANSWER)
    if not found:
        _fail_nobody(path)
    (meter,) = found
    if as_json:
        emit(SCHEMA, [meter._asdict()])
        return
    click.echo(f'[[device]]\nname = "meter-1"\nunit = "FILL IN"\nproduct = "{METER_PRODUCT}"\n'
               f'link = "{meter.link}"\naddress = "{meter.address}"')  # fmt: skip


def _refuse_held(link: str, run_dir: Path | None) -> None:
    """End the command when a controller of this machine serves the line: a line has one master."""
    from drivers.modbus.line import parse_url
    from edge.field import holder_of

    if held := holder_of(parse_url(link), run_dir):
        _fail_held(held)


def _fail_held(held: "Holder") -> NoReturn:
    devices = ", ".join(held.devices)
    what = say(
        f"the controller of {held.site} holds this line ({devices})",
        f"站点 {held.site} 的控制器正占用该线路({devices})",
    )
    _fail_busy(held.line, what)


def _fail_locked(path: str, error: str) -> NoReturn:
    from edge.field import users_of

    users = ", ".join(users_of(path))
    what = say(f"{error}; open in: {users}", f"{error};占用进程:{users}") if users else error
    if "lock" in error.lower() or users:
        _fail_busy(path, what)
    do = say("Name the port, and check that you may use it (group dialout).",
             "请指定正确的串口,并检查使用权限(dialout 组)。")  # fmt: skip
    fail(Problem("BUS-002", path, what, do), Exit.NO_ANSWER)


def _fail_busy(where: str, what: str) -> NoReturn:
    do = say(
        "Stop it, or use `edge read`, which goes through it.",
        "请先停止它,或使用 `edge read`(经由控制器读取)。",
    )
    fail(Problem("BUS-001", where, what, do), Exit.BUSY)


# network


def _tcp(target: str, how: dict[str, Any], run_dir: Path | None) -> "list[Found]":
    from drivers.scan import factory_units, open_hosts, parse_numbers, scan_hosts

    hosts, ports = _hosts(target), parse_numbers(how["port"], 1, 65_535)
    products = _candidates(how)
    ids = parse_numbers(how["ids"], 0, TCP_MOST) if how["ids"] else factory_units(products)
    places = _free([(host, port) for host in hosts for port in ports], run_dir)
    with _progress(len(places)) as step:
        places = open_hosts(places, step)
    hint(
        f"{len(places)} open port(s), {len(ids)} ids each.",
        f"{len(places)} 个开放端口,每个 {len(ids)} 个地址。",
    )
    with _progress(len(places) * len(ids)) as step:
        return scan_hosts(places, ids, products, step)


def _hosts(target: str) -> list[str]:
    """Return one host, or the addresses of a network."""
    if "/" not in target:
        return [target]
    network = ipaddress.ip_network(target, strict=False)
    if network.num_addresses > HOSTS_MAX:
        raise ValueError(say(f"{target} is larger than a /24", f"{target} 大于 /24"))
    return [str(host) for host in network.hosts()]


def _free(places: list[tuple[str, int]], run_dir: Path | None) -> list[tuple[str, int]]:
    """Return the places that no controller talks to: many devices take one connection only."""
    from edge.field import holders, same_line

    held = {
        place: one
        for one in holders(run_dir)
        for place in places
        if same_line(one.line, f"{place[0]}:{place[1]}")
    }
    if held and len(held) == len(places):
        _fail_held(next(iter(held.values())))
    for (host, port), one in held.items():
        hint(f"{host}:{port} is left out: the controller of {one.site} talks to it.",
             f"跳过 {host}:{port}:站点 {one.site} 的控制器正与其通信。")  # fmt: skip
    return [place for place in places if place not in held]


# OPC UA


def _opcua(url: str, depth: int, as_json: bool) -> None:
    from drivers.browse import browse

    try:
        nodes = browse(url, depth)
    except LinkError as error:
        do = say("Check address and port; a server with security wants a certificate.",
                 "请检查地址和端口;启用安全的服务器需要证书。")  # fmt: skip
        fail(Problem("SCN-003", url, str(error), do), Exit.NO_ANSWER)
    if as_json:
        emit(SCHEMA, [node._asdict() for node in nodes])
        return
    head = [say("path", "路径"), say("node", "节点"), say("type", "类型"), say("value", "值")]
    click.echo(table(head, [(node.path, node.node, node.type, node.value) for node in nodes]))


# what is shown


@contextlib.contextmanager
def _progress(total: int) -> "Iterator[Step]":
    """Draw a bar on stderr when that is a terminal."""
    if not sys.stderr.isatty() or not total:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda what: bar.update(task, advance=1, description=what)


def _data(found: "Found") -> dict[str, Any]:
    identity = found.identity
    return {
        "link": found.link,
        "unit_id": identity.unit_id,
        "any_unit": found.any_unit,
        "texts": identity.texts,
        "sunspec_models": identity.models,
        "requests": identity.requests,
        "products": [
            {"product": match.product, "score": match.score, "why": say(*match.why)}
            for match in identity.matches[:SHOWN]
        ],
        "device": _table(found, 1),
    }


def _text(found: "Sequence[Found]") -> str:
    rows: list[tuple[object, ...]] = []
    for one in found:
        identity = one.identity
        said = " ".join(identity.texts.values()) or "—"
        unit = f"{identity.unit_id}*" if one.any_unit else str(identity.unit_id)
        first = (one.link, unit, said)
        for match in identity.matches[:SHOWN]:
            rows.append((*first, match.product, f"{match.score:.2f}", say(*match.why)))
            first = ("", "", "")
        if not identity.matches:
            rows.append((*first, say("unknown", "未知"), "", say("no product fits", "没有匹配的产品")))
    text = table([say(*title) for title in HEAD], rows, right=(4,))
    if any(one.any_unit for one in found):
        text += "\n" + say("* answers on every unit id", "* 对任何地址都应答")
    return text


def _tables(found: "Sequence[Found]") -> list[str]:
    numbers: dict[str, int] = {}
    tables = []
    for one in found:
        kind = _kind(one)
        numbers[kind] = numbers.get(kind, 0) + 1
        tables.append(_table(one, numbers[kind]))
    return tables


def _kind(found: "Found") -> str:
    from drivers.scan import first_variant

    if not found.identity.matches:
        return "device"
    return NAMES.get(first_variant(found.identity.matches[0].product).kind, "meter")


def _table(found: "Found", number: int) -> str:
    """Return a device table of the site file; what nobody can know is marked FILL IN."""
    from drivers.scan import first_variant

    matches = found.identity.matches
    lines = ["[[device]]", f'name = "{_kind(found)}-{number}"']
    product = first_variant(matches[0].product) if matches else None
    if product and product.parts:
        parts = ", ".join(f'{part} = "FILL IN"' for part in product.parts)
        lines.append(f"unit = {{ {parts} }}")
    else:
        lines.append('unit = "FILL IN"')
    lines.append(f'product = "{product.key if product else "FILL IN"}"')
    if product and product.variants:
        lines.append(f'variant = "FILL IN"  # {", ".join(product.variants)}')
    lines += [f'link = "{found.link}"', f"unit_id = {found.identity.unit_id}"]
    return "\n".join(lines)
