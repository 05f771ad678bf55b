"""``edge check``: every mistake of a site file at once, with its line; or the site that results from it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.common import (
    cells,
    config_option,
    emit,
    find_config,
    json_option,
    language,
    option,
    say,
    table,
    verb,
)
from models.answer import Exit
from models.errors import ConfigError, Problem

if TYPE_CHECKING:
    from drivers.catalog.product import Product
    from edge.config import SiteConfig
    from edge.config_tables import DeviceTable


@verb(
    "check",
    en="Check a site file and the files that it names; show the resulting site. Changes nothing.",
    zh="检查站点文件及其引用的文件,并显示得到的站点。不做任何修改。",
    examples="edge check site.toml\nedge check --json\nedge check --schema > site.schema.json",
)
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@config_option
@option(
    "--schema", is_flag=True, en="Print the JSON Schema of the site file.", zh="输出站点文件的 JSON Schema。"
)
@json_option
def command(file: Path | None, config: Path | None, schema: bool, as_json: bool) -> None:
    """Print problems and end with 3, or print the site and end with 0."""
    if schema:
        click.echo(json.dumps(_schema(), indent=2, ensure_ascii=False))
        return
    path = find_config(file or config)
    from edge.config import load

    try:
        site = load(path, language())
    except ConfigError as error:
        if as_json:
            emit("edge.check/1", None, error.problems, ok=False)
        else:
            click.echo(render(error.problems, path), err=True)
        raise click.exceptions.Exit(int(Exit.CONFIG)) from None
    from edge.busplan import plans_of, warnings_of

    warnings = [*site.warnings, *warnings_of(plans_of(site), str(path), language())]
    if as_json:
        emit("edge.check/1", _data(site), warnings)
        return
    if warnings:
        click.echo(render(warnings, path), err=True)
    click.echo(summary(site))


def _schema() -> dict[str, Any]:
    from edge.config_tables import SiteFile

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SiteFile.model_json_schema()}


def render(problems: Sequence[Problem], path: Path) -> str:
    """Return all problems as text, each with its source line and a caret below what is meant."""
    try:
        text = path.read_text("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        text = ""
    lengths = _lengths(text)
    blocks = [_block(problem, str(path), text.split("\n"), lengths) for problem in problems]
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    count = say(f"{errors} error(s), {warnings} warning(s).", f"{errors} 个错误,{warnings} 个警告。")
    return "\n".join([*blocks, count + say(" Nothing was changed.", "未做任何修改。")])


def _lengths(text: str) -> dict[tuple[int, int], int]:
    """Return how long the key or value is that starts at a line and column."""
    import tomllib

    from edge.locate import locate

    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
    places = locate(text)
    return {(p.line, p.column): p.length for p in (*places.values.values(), *places.keys.values())}


def _block(problem: Problem, file: str, lines: Sequence[str], lengths: dict[tuple[int, int], int]) -> str:
    severity = say("warning", "警告") if problem.severity == "warning" else say("error", "错误")
    head = f"{problem.where}  {problem.code}  {severity}: {problem.what}"
    place = problem.where.removeprefix(f"{file}:").split(":")
    if not problem.where.startswith(f"{file}:") or len(place) != 2 or int(place[0]) > len(lines):
        return f"{head}\n   {problem.do}"
    line, column = int(place[0]), int(place[1])
    source = lines[line - 1].replace("\t", " ")
    margin = f"{line:>5} | "
    meant = source[column - 1 : column - 1 + lengths.get((line, column), 1)]
    caret = " " * cells(source[: column - 1]) + "^" * max(1, cells(meant))
    return f"{head}\n{margin}{source}\n{'':>5} | {caret}  {problem.do}"


def _product(device: "DeviceTable") -> "Product":
    from drivers.catalog.loader import load_product

    return load_product(device.product, device.variant)


def summary(site: "SiteConfig") -> str:
    """Return the site as tables: limits, units, devices."""
    limits = site.limits
    cell = [(name, getattr(limits, name)) for name in type(limits).model_fields]
    units = [
        *((b.name, say("battery", "电池"), f"{b.p_min_kw:g}…{b.p_max_kw:g} kW",
           f"{b.capacity_kwh:g} kWh, SOC {b.soc_min:.0%}…{b.soc_max:.0%}") for b in site.batteries),
        (site.meter.name, say("meter", "电表"), "", f"{site.meter.delay_s:g} s"),
        *((p.name, say("PV", "光伏"), f"0…{p.p_max_kw:g} kW", "") for p in site.pvs),
    ]  # fmt: skip
    devices = [
        (
            d.name,
            d.unit,
            d.product,
            d.link,
            d.station(_product(d).link.unit_id) if d.link[:3] in ("tcp", "tls", "rtu") else "",
            len(_product(d).points),
        )
        for d in site.devices
    ]
    total = sum(int(row[-1]) for row in devices)
    good = say("is valid", "有效")
    return "\n\n".join([
        f"{site.path}: {good}. {say('Site', '站点')} {site.name}, {site.time_zone}, {site.period_ms} ms",
        table([say("limit", "限值"), ""], [(name, f"{value:g}") for name, value in cell], right=[1]),
        table([say("unit", "单元"), say("kind", "类型"), say("power", "功率"), ""], units),
        table([say("device", "设备"), say("unit", "单元"), say("product", "产品"), say("link", "链路"), "id",
               say("points", "点数")], devices, right=[4, 5]),
        say(f"{len(devices)} devices, {total} points.", f"{len(devices)} 个设备,{total} 个点。"),
    ])  # fmt: skip


def _data(site: "SiteConfig") -> dict[str, Any]:
    """Return the site as JSON carries it; secrets are files, so none can be in it."""
    return {
        "name": site.name,
        "time_zone": site.time_zone,
        "state_dir": str(site.state_dir),
        "run_dir": str(site.run_dir),
        "period_ms": site.period_ms,
        "limits": site.limits.model_dump(),
        "batteries": [battery.model_dump() for battery in site.batteries],
        "meter": site.meter.model_dump(),
        "pvs": [pv.model_dump() for pv in site.pvs],
        "devices": [_device(device) for device in site.devices],
        "fleet": site.fleet.model_dump(mode="json") if site.fleet else None,
    }


def _device(device: "DeviceTable") -> dict[str, Any]:
    product = _product(device)
    usual = {"unit_id": device.station(product.link.unit_id), "points": len(product.points)}
    return {**device.model_dump(), **usual}
