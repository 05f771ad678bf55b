"""``edge init``: a new site folder. Not interactive; what is to be filled in is marked in the file."""

import json
import re
from functools import partial
from importlib.resources import files
from pathlib import Path

import click

from edge.cli.common import emit, fail, json_option, option, say, verb
from models.answer import Exit
from models.errors import Problem

FILL_IN = re.compile(
    r"^(?P<key>import_kw|export_kw|transformer_kva|p_max_kw|p_min_kw|s_max_kva|capacity_kwh|product|link)"
    r' = (?:"[^"]*"|[-0-9.]+)'
)
"""What differs at every site and must never be taken over from the demo."""
TARIFF = "tariffs/jiangsu-2025.toml"
LOAD = "data/load_metalworking_de_2018_15min.csv.gz"
DEMO_ONLY = re.compile(r"(?m)^(?=load_csv)")
"""Lines that are commented out where the load is not that of the demo."""
SITE_KEY, FLEET_KEY, FLEET_KEYS, SITE_KEYS = (
    f"keys/{name}" for name in ("site.key", "fleet.key", "fleet.toml", "sites.toml")
)


def demo_text(links: dict[str, str] | None = None, broker: str | None = None, name: str = "demo") -> str:
    """Return the text of the demo's site file.

    Args:
        links: link by device name; a device that is not in it keeps the link of the template.
        broker: URL of the broker; None leaves the fleet table out.
        name: of the site.
    """
    text = (files("examples") / "site-demo.toml").read_text("utf-8")
    text = re.sub(r'^name = "demo"', f'name = "{name}"', text, count=1, flags=re.MULTILINE)
    for device, link in (links or {}).items():
        text, count = re.subn(
            rf'(?ms)(^\[\[device\]\]\nname = "{re.escape(device)}"\n.*?^link = )"[^"\n]*"',
            partial(_with_value, link),
            text,
            count=1,
        )
        if not count:
            raise KeyError(device)
    if broker is not None:
        return re.sub(r'(?m)^broker = "[^"\n]*"', lambda _: f"broker = {json.dumps(broker)}", text, count=1)
    head, fleet = text.split("[fleet]\n", 1)
    return head + "".join(f"# {line}\n" for line in ("[fleet]", *fleet.splitlines()))


def _with_value(value: str, match: re.Match[str]) -> str:
    return match[1] + json.dumps(value, ensure_ascii=False)


def template_text(name: str) -> str:
    """Return a site file to be filled in: ``edge check`` refuses it until every FILL IN is replaced."""
    lines = DEMO_ONLY.sub("# ", demo_text(name=name)).splitlines()
    lines[0] = "# A site of yunchu. Replace every FILL IN; `edge check` tells what is still missing."
    return "".join(f"{FILL_IN.sub(_fill_in, line)}\n" for line in lines)


def _fill_in(match: re.Match[str]) -> str:
    return f'{match["key"]} = "FILL IN"'


def write_keys(folder: Path, site: str) -> list[Path]:
    """Write keys of the site and of a fleet on the same machine, and the public halves for each other."""
    from cloud_link.protocol.signing import SigningKey, trust_line

    (folder / "keys").mkdir(parents=True, exist_ok=True)
    pairs = ((SITE_KEY, SITE_KEYS, site, site), (FLEET_KEY, FLEET_KEYS, "fleet", ""))
    for private, public, owner, issuer in pairs:
        key = SigningKey.generate()
        (folder / private).unlink(missing_ok=True)
        key.save(folder / private)
        (folder / public).write_text(trust_line(owner, key.public, issuer), "utf-8")
    return [folder / name for name in (SITE_KEY, FLEET_KEY, FLEET_KEYS, SITE_KEYS)]


def write_site(folder: Path, text: str, site: str) -> list[Path]:
    """Write site file, its data files and keys into the folder; whatever is there already is replaced."""
    needed = [name for name in (TARIFF, LOAD) if re.search(rf'(?m)^\w+ = "{re.escape(name)}"', text)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.toml").write_text(text, "utf-8")
    for name in needed:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((files("examples") / name).read_bytes())
    return [folder / "site.toml", *(folder / name for name in needed), *write_keys(folder, site)]


def refuse_to_overwrite(folder: Path) -> None:
    """End the command when one of the files is there already."""
    names = ("site.toml", TARIFF, LOAD, SITE_KEY, FLEET_KEY, FLEET_KEYS, SITE_KEYS)
    there = [name for name in names if (folder / name).exists()]
    if there:
        what = say(f"there is already {', '.join(there)}", f"已存在 {'、'.join(there)}")
        do = say("Choose another folder, or replace them with --force.", "请选择其他目录,或用 --force 覆盖。")
        fail(Problem("CFG-004", str(folder), what, do), Exit.REFUSED)


@verb(
    "init",
    en="Write a new site folder: site file, tariff and keys. Nothing is overwritten without --force.",
    zh="生成新的站点目录:站点文件、电价和密钥。不加 --force 不会覆盖任何文件。",
    examples="edge init demo --demo\nedge init /etc/yunchu --name plant-7",
)
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@option("--demo", is_flag=True, en="The simulated site, ready to run.", zh="可直接运行的仿真站点。")
@option("--name", default=None, en="Name of the site.", zh="站点名称。")
@option("--force", is_flag=True, en="Replace what is there.", zh="覆盖已有文件。")
@json_option
def command(folder: Path, demo: bool, name: str | None, force: bool, as_json: bool) -> None:
    """Write the files and say what comes next."""
    site = name or ("demo" if demo else "my-site")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", site):
        what = say(f"{site!r} cannot be the name of a site", f"{site!r} 不能作为站点名称")
        do = say("Use a-z, 0-9, - and _; at most 32 characters.", "请使用 a-z、0-9、- 和 _,最多 32 个字符。")
        fail(Problem("CFG-015", "--name", what, do), Exit.USAGE)
    if not force:
        refuse_to_overwrite(folder)
    try:
        written = write_site(folder, demo_text(name=site) if demo else template_text(site), site)
    except OSError as error:
        do = say("Choose a folder that you may write to.", "请选择有写权限的目录。")
        fail(Problem("CFG-005", str(folder), str(error), do), Exit.REFUSED)
    if as_json:
        emit("edge.init/1", {"written": [str(path) for path in written]})
        return
    for path in written:
        click.echo(path)
    click.echo(say("Next: edge check ", "下一步:edge check ") + str(folder / "site.toml"), err=True)
