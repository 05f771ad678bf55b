"""``fleet serve``: the server that hears all sites, remembers, and dispatches."""

import logging
import signal
from pathlib import Path
from urllib.parse import urlsplit

import click

from aggregator.cli.common import beside, db_option, emit, fail, fail_store, json_option, language, say, verb
from aggregator.cli.common import option as fleet_option
from aggregator.problems import FleetStoreError, problem
from models.answer import Exit
from models.errors import BusyError, LinkError

PORTS = {"mqtt": 1883, "mqtts": 8883}
FILE = click.Path(dir_okay=False, path_type=Path)


@verb(
    "serve",
    en="Hear all sites of a tenant, remember what they report, send what is dispatched. Ends on SIGTERM.",
    zh="接收一个租户全部站点的数据,存储上报,下发调度。收到 SIGTERM 后退出。",
    ends="fleet serve --db fleet.db --broker mqtt://127.0.0.1:1883\n"
    "0 ended on request · 3 a file or address cannot be used · 75 another server holds the store",
)
@db_option
@fleet_option("--broker", default="mqtt://127.0.0.1:1883", show_default=True, en="Broker: mqtt:// or mqtts://",
              zh="消息服务器:mqtt:// 或 mqtts://")  # fmt: skip
@fleet_option(
    "--ca", type=FILE, en="Certificate authority of an mqtts:// broker.", zh="mqtts:// 服务器的 CA 证书。"
)
@fleet_option("--tenant", default="default", show_default=True, en="Whose sites.", zh="租户。")
@fleet_option("--key", type=FILE, en="Signing key; made when missing. Default: fleet.key beside the store.",
              zh="签名密钥;不存在时自动生成。默认:数据库旁的 fleet.key。")  # fmt: skip
@fleet_option("--site-keys", type=FILE, en="Public keys of the sites. Default: site-keys.toml there.",
              zh="站点公钥文件。默认:数据库旁的 site-keys.toml。")  # fmt: skip
@fleet_option("--ready-file", type=FILE, en="Written when the server is ready.", zh="服务就绪时写入的文件。")
@json_option
def command(
    db: Path, broker: str, ca: Path | None, tenant: str, key: Path | None,
    site_keys: Path | None, ready_file: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run until told to stop."""
    from aggregator.serve import Server, Settings
    from cloud_link.transport import Address

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    host, port, username, password = _broker(broker, ca)

    def ready() -> None:
        if as_json:
            emit("fleet.serve/1", {"ready": True, "db": str(db), "broker": broker})
        else:
            click.echo("ready")
        if ready_file is not None:
            ready_file.write_text("ready\n")

    try:
        settings = Settings(
            db, Address(host, port, username, password, ca), tenant,
            beside(db, key, "fleet.key"), beside(db, site_keys, "site-keys.toml"),
        )  # fmt: skip
        server = Server(settings, ready)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        server.run()
    except (FleetStoreError, BusyError) as error:
        fail_store(error)
    except LinkError as error:
        fail(problem("FLEET-040", "", language(), detail=str(error)), Exit.CONFIG)
    if not as_json:
        done = server.counts
        click.echo(
            say(f"stopped after {done.reports} reports", f"已停止,共存储 {done.reports} 条上报"), err=True
        )


def _broker(url: str, ca: Path | None) -> tuple[str, int, str, str]:
    """Return host, port, user and password of a broker's address."""
    try:
        parts = urlsplit(url)
        usual = PORTS[parts.scheme]
        port = parts.port or usual
    except (ValueError, KeyError):
        parts, port = urlsplit(""), 0
    if not parts.hostname or (parts.scheme == "mqtts") != (ca is not None):
        fail(problem("FLEET-050", url, language(), detail=url), Exit.CONFIG)
    return parts.hostname, port, parts.username or "", parts.password or ""
