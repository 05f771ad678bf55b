"""``edge catalog``: the device types that this gateway knows, and how one is added without programming."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.common import emit, fail, fail_all, json_option, option, say, table, verb
from models.answer import Exit
from models.errors import ConfigError, Problem

if TYPE_CHECKING:
    from drivers.catalog.importer import Imported
    from drivers.catalog.product import Product

KINDS = ("meter", "pcs", "bms", "battery", "pv", "hybrid_inverter", "gateway")
CONTROLLED = {True: ("takes setpoints", "可控"), False: ("read only", "只读")}


class Group(click.Group):
    """The verbs of the catalog, with their help in both languages."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what it is for."""
        self.help = say(
            "The device types that can be connected: list, look up, check, add from a vendor's table.",
            "可接入的设备类型:列出、查看、检查、从厂家点表导入。",
        )
        super().format_help_text(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs."""
        with formatter.section(say("Verbs", "命令")):
            formatter.write_dl([(name, say(*texts)) for name, texts in TEXTS.items()])


TEXTS = {
    "list": ("List all products.", "列出所有产品。"),
    "show": ("Show one product with its points.", "显示一个产品及其点位。"),
    "lint": ("Check catalog files beyond what must hold.", "检查产品文件的可疑之处。"),
    "import": ("Make a catalog file from a vendor's register table in CSV.", "由厂家 CSV 点表生成产品文件。"),
}


@click.group("catalog", cls=Group, invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the products when no verb is given; the texts are written by :class:`Group`."""
    if ctx.invoked_subcommand is None:
        _list("*", as_json)
    elif as_json:
        ctx.fail(say("Write --json after the verb.", "请把 --json 写在子命令之后。"))


def subverb(name: str, **texts: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a verb of the group."""

    def add(function: Callable[..., Any]) -> click.Command:
        made = verb(name, **texts)(function)
        command.add_command(made)
        return made

    return add


def _load(key: str) -> "tuple[Product, ...]":
    """Return a product in each of its variants."""
    from drivers.catalog.loader import FOLDER, load_product, read_file

    path = FOLDER / f"{key}.toml"
    variants = read_file(path, key).variants if path.is_file() else []
    return tuple(load_product(key, variant) for variant in variants or [""])


def _read(path: Path) -> "tuple[Product, ...]":
    from drivers.catalog.loader import read_file, read_product

    key = f"{path.absolute().parent.name}/{path.stem}"
    return tuple(read_product(path, key, variant) for variant in read_file(path, key).variants or [""])


def _matching(pattern: str) -> list[str]:
    import fnmatch

    from drivers.catalog.loader import known_products

    return [key for key in known_products() if pattern in key or fnmatch.fnmatch(key, pattern)]


def _none(pattern: str) -> Problem:
    what = say(f"no product matches {pattern!r}", f"没有匹配 {pattern!r} 的产品")
    return Problem("CAT-005", "catalog", what, say("See `edge catalog list`.", "见 `edge catalog list`。"))


@subverb(
    "list",
    en="List the products: kind, protocol, points, whether they take setpoints. PATTERN: part of a key.",
    zh="列出产品:类型、协议、点数、是否可控。PATTERN 为键的一部分。",
    examples="edge catalog list\nedge catalog list sungrow\nedge catalog list --json",
)
@click.argument("pattern", default="*")
@json_option
def list_products(pattern: str, as_json: bool) -> None:
    """List the products."""
    _list(pattern, as_json)


def _list(pattern: str, as_json: bool) -> None:
    products = [_load(key)[0] for key in _matching(pattern)]
    if as_json:
        emit("edge.catalog.list/1", [_summary(product) for product in products], ok=bool(products))
    elif products:
        head = [say("key", "键"), say("product", "产品"), say("kind", "类型"), say("protocol", "协议"),
                say("points", "点数"), say("control", "控制"), say("tested on", "测试于")]  # fmt: skip
        rows = [
            (p.key, f"{p.vendor} {p.product}", p.kind, p.protocol, len(p.points),
             say(*CONTROLLED[p.write is not None]), p.tested_on)
            for p in products
        ]  # fmt: skip
        click.echo(table(head, rows, right=[4]))
    if not products:
        if not as_json:
            click.echo(_none(pattern).what, err=True)
        raise click.exceptions.Exit(int(Exit.NO))


def _summary(product: "Product") -> dict[str, Any]:
    return {
        "key": product.key,
        "vendor": product.vendor,
        "product": product.product,
        "kind": product.kind,
        "protocol": product.protocol,
        "points": len(product.points),
        "parts": list(product.parts),
        "variants": list(product.variants),
        "takes_setpoints": product.write is not None,
        "recognised": bool(product.identity),
        "tested_on": product.tested_on,
    }


@subverb(
    "show",
    en="Show a product: link, points with address, type and role, how it is controlled, sources, notes.",
    zh="显示产品:链路、点位(地址、类型、角色)、控制方式、来源和说明。",
    examples="edge catalog show eastron/sdm630\nedge catalog show huawei/sun2000 --json",
)
@click.argument("key")
@json_option
def show(key: str, as_json: bool) -> None:
    """Show one product."""
    if key not in _matching(key):
        fail(_none(key), Exit.NO)
    product = _load(key)[0]
    if as_json:
        emit("edge.catalog.show/1", asdict(product))
        return
    link = product.link
    facts = [
        (say("kind", "类型"), product.kind),
        (say("protocol", "协议"), f"{product.protocol} {' '.join(link.transports)}".strip()),
        (say("unit id", "单元号"), str(link.unit_id)),
        (say("parts", "部分"), " ".join(product.parts) or "—"),
        (say("variants", "变体"), " ".join(product.variants) or "—"),
        (say("control", "控制"), say(*CONTROLLED[product.write is not None])),
        (say("source", "来源"), "; ".join(product.source)),
        (say("tested on", "测试于"), product.tested_on),
    ]
    head = [say("point", "点"), say("role", "角色"), say("unit", "单位"), say("where", "位置"),
            say("type", "数据类型"), say("every", "周期")]  # fmt: skip
    rows = [
        (p.name, "" if p.role == "other" else p.role, p.symbol, _where(p), "" if p.derivation else p.type,
         f"{p.period_s:g} s")
        for p in product.points
    ]  # fmt: skip
    click.echo(f"{product.key}: {product.vendor} {product.product}\n{table(['', ''], facts).lstrip()}\n")
    click.echo(table(head, rows, right=[5]))
    if product.note:
        click.echo(f"\n{product.note}")


def _where(point: Any) -> str:
    if point.derivation:
        return f"{point.derivation}({', '.join(point.of)})"
    if point.sunspec:
        return f"SunSpec {point.sunspec[0]}"
    if point.node:
        return "/".join(point.node)
    if point.di:
        return f"DI {point.di}"
    unit = f"@{point.unit_id} " if point.unit_id is not None else ""
    return f"{unit}{point.fn}:{point.address}"


@subverb(
    "lint",
    en="Check products, or FILES of catalogs of your own: errors end with 3, warnings alone with 0.",
    zh="检查产品,或自己的产品文件 FILES:有错误时以 3 结束,仅有警告时以 0 结束。",
    examples="edge catalog lint\nedge catalog lint sungrow\nedge catalog lint ./acme/bms9.toml",
)
@click.argument("files", nargs=-1)
@json_option
def lint_files(files: tuple[str, ...], as_json: bool) -> None:
    """Check products."""
    problems: list[Problem] = []
    seen = 0
    for name in files or ("*",):
        wanted: Sequence[str | Path] = [Path(name)] if name.endswith(".toml") else _matching(name)
        if not wanted:
            fail(_none(name), Exit.NO)
        seen += len(wanted)
        problems += [problem for one in wanted for problem in _checked(one)]
    _end(problems, as_json, "edge.catalog.lint/1", {"products": seen})
    if not as_json:
        click.echo(say(f"{seen} product(s) checked.", f"已检查 {seen} 个产品。"))


def _checked(what: Path | str) -> list[Problem]:
    from drivers.catalog.lint import lint

    try:
        variants = _load(what) if isinstance(what, str) else _read(what)
    except ConfigError as error:
        return error.problems
    return list(dict.fromkeys(problem for product in variants for problem in lint(product)))


def _end(problems: Sequence[Problem], as_json: bool, schema: str, data: Any) -> None:
    """Print the problems; errors end the verb."""
    errors = [problem for problem in problems if problem.severity == "error"]
    if as_json:
        emit(schema, data, problems, ok=not errors)
    for problem in problems if not as_json else ():
        severity = say("error", "错误") if problem.severity == "error" else say("warning", "警告")
        click.echo(f"{problem.where}  {problem.code}  {severity}: {problem.what}\n   {problem.do}", err=True)
    if errors:
        raise click.exceptions.Exit(int(Exit.CONFIG))


@subverb(
    "import",
    en="Make a catalog file from a vendor's register table (CSV; titles in English or Chinese). Roles are "
    "only proposed: look for `# review` in the file. What could not be understood is listed with its line.",
    zh="由厂家点表(CSV,表头中英文均可)生成产品文件。角色仅为建议:请检查文件中的 `# review`。"
    "无法理解的行会列出行号和原因。",
    examples="edge catalog import bms9.csv --vendor Acme --product BMS9 --kind bms\n"
    "edge catalog import 点表.csv --vendor 某厂 --product PCS50 --kind pcs --base 1 --out acme/pcs50.toml",
)
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@option("--vendor", required=True, en="Name of the vendor.", zh="厂家名称。")
@option("--product", required=True, en="Name of the product.", zh="产品名称。")
@option("--kind", required=True, type=click.Choice(KINDS), en="What it is.", zh="设备类型。")
@option("--out", type=click.Path(dir_okay=False, path_type=Path),
        en="File to write; default VENDOR/PRODUCT.toml below this folder.",
        zh="输出文件;默认为当前目录下的 VENDOR/PRODUCT.toml。")  # fmt: skip
@option("--base", type=click.IntRange(0, 1), default=0, en="Number of the first register in the table.",
        zh="点表中第一个寄存器的编号。")  # fmt: skip
@option(
    "--plain", is_flag=True, en="Numbers like 40001 are plain addresses.", zh="40001 一类的数字就是地址本身。"
)
@option("--force", is_flag=True, en="Replace the file when it exists.", zh="文件已存在时覆盖。")
@json_option
def import_table(
    file: Path, out: Path | None, force: bool, as_json: bool, **about: Any,
) -> None:  # fmt: skip
    """Import a table."""
    from drivers.catalog.importer import About, import_csv

    path = out or Path(_slug(about["vendor"], "vendor")) / f"{_slug(about['product'], 'product')}.toml"
    if path.exists() and not force:
        do = say("Name another with --out, or add --force.", "用 --out 指定其他文件,或加 --force。")
        fail(Problem("CAT-007", str(path), say("the file exists", "文件已存在"), do), Exit.USAGE)
    try:
        made = import_csv(_text(file), About(source=file.name, **about))
    except ValueError as error:
        do = say("Save the table as CSV with one line of titles.", "请将点表另存为带一行表头的 CSV。")
        fail(Problem("CAT-008", str(file), str(error), do), Exit.CONFIG)
    if not made.points:
        fail_all([_rejected(file, line, why) for line, why in _pairs(made)]
                 or [Problem("CAT-008", str(file), say("no line holds a point", "没有任何点位"), "—")],
                 Exit.CONFIG)  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.text, "utf-8")
    _report(made, file, path, as_json)


def _report(made: "Imported", file: Path, path: Path, as_json: bool) -> None:
    doubts = [_rejected(file, line, why, "warning") for line, why in _pairs(made)]
    problems = [*doubts, *_checked(path)]
    if not as_json:
        counted = (made.points, len(made.roles), len(doubts))
        click.echo(
            say(
                "{}: {} points, {} roles proposed for review, {} lines left out.".format(path, *counted),
                "{}:{} 个点,{} 个待确认角色,{} 行未导入。".format(path, *counted),
            )
        )
        for statement in made.statements:
            click.echo(f"- {statement}")
    data = {
        "file": str(path),
        "points": made.points,
        "roles": [{"point": name, "role": role, "from": title} for name, role, title in made.roles],
        "statements": made.statements,
    }
    _end(problems, as_json, "edge.catalog.import/1", data)


def _pairs(made: "Imported") -> list[tuple[int, str]]:
    return [(rejected.line, rejected.reason) for rejected in made.rejected]


def _rejected(file: Path, line: int, why: str, severity: str = "error") -> Problem:
    do = say("Correct the line, or add the point by hand.", "请修改该行,或手工添加该点。")
    return Problem("CAT-009", f"{file}:{line}", why, do, severity)


def _text(file: Path) -> str:
    """Return the text of a table; tables from China are often GB 18030."""
    data = file.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030", errors="replace")


def _slug(name: str, option_name: str) -> str:
    import re

    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not plain:
        what = say(
            f"no file name can be made of --{option_name} {name!r}",
            f"无法由 --{option_name} {name!r} 得到文件名",
        )
        fail(
            Problem("CAT-007", option_name, what, say("Name the file with --out.", "请用 --out 指定文件。")),
            Exit.USAGE,
        )
    return plain
