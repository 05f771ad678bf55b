"""``fleet keys``: the fleet's own public key, and whom it believes."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import click

from aggregator.cli.common import beside, db_option, emit, fail, json_option, language, say, table, verb
from aggregator.cli.common import option as fleet_option
from aggregator.problems import problem
from models.answer import Exit
from models.errors import LinkError

FILE = click.Path(dir_okay=False, path_type=Path)


@verb(
    "keys",
    en="Show the fleet's public key and the trusted site keys; with --trust SITE KEY, trust a site's key.",
    zh="显示平台公钥和受信任的站点公钥;用 --trust SITE KEY 信任一个站点的公钥。",
    ends="fleet keys\nfleet keys --trust demo 3b6a27bc…\n0 done · 3 a key or key file cannot be used",
)
@fleet_option("--trust", nargs=2, metavar="SITE KEY", en="Believe SITE when it signs with this key.",
              zh="信任站点 SITE 用 KEY 对应私钥签名的应答。")  # fmt: skip
@fleet_option("--key", type=FILE, en="Signing key. Default: fleet.key beside the store.",
              zh="签名密钥。默认:数据库旁的 fleet.key。")  # fmt: skip
@fleet_option("--site-keys", type=FILE, en="Public keys of the sites. Default: site-keys.toml there.",
              zh="站点公钥文件。默认:数据库旁的 site-keys.toml。")  # fmt: skip
@db_option
@json_option
def command(
    trust: tuple[str, str] | None, key: Path | None, site_keys: Path | None, db: Path, as_json: bool
) -> None:
    """Show or trust keys."""
    from aggregator.serve import own_key

    ring = beside(db, site_keys, "site-keys.toml")
    try:
        own = own_key(beside(db, key, "fleet.key"))
        entries = _read(ring)
        if trust:
            entries = _trust(ring, entries, *trust)
    except LinkError as error:
        fail(problem("FLEET-040", "", language(), detail=str(error)), Exit.CONFIG)
    sites = {str(entry.get("issuer") or name): str(entry["public"]) for name, entry in entries.items()}
    if as_json:
        emit("fleet.keys/1", {"key_id": own.key_id, "public": own.public.hex(), "sites": sites})
        return
    click.echo(f"{say('fleet', '平台')}  {own.key_id}  {own.public.hex()}")
    if sites:
        click.echo(table((say("site", "站点"), say("public key", "公钥")), list(sites.items())))


def _read(ring: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of a key file that is sound; LinkError if it is not."""
    from cloud_link.protocol.signing import Keyring

    if not ring.exists():
        return {}
    Keyring.load(ring)
    keys: dict[str, dict[str, Any]] = tomllib.loads(ring.read_text()).get("keys", {})
    return keys


def _trust(
    ring: Path, entries: dict[str, dict[str, Any]], site: str, public: str
) -> dict[str, dict[str, Any]]:
    """Write the file with one more key; a site has one key, so an older one is replaced."""
    from cloud_link.protocol.topics import level

    level(site)
    public = public.strip().lower()
    if len(public) != 64 or not set(public) <= set("0123456789abcdef"):
        fail(problem("FLEET-041", site, language(), detail=repr(public)[:80]), Exit.CONFIG)
    entries = {**entries, site: {"public": public, "issuer": site}}
    text = "".join(
        f"[keys.{json.dumps(name)}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in entry.items()) + "\n"
        for name, entry in entries.items()
    )
    ring.parent.mkdir(parents=True, exist_ok=True)
    draft = ring.with_name(f"{ring.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(ring)
    return entries
