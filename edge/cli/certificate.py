"""``edge certificate``: the key and certificate with which the site signs in to OPC UA servers."""

from pathlib import Path

import click

from edge.cli.common import emit, fail, json_option, say, verb
from models.answer import Exit
from models.errors import Problem


@verb(
    "certificate",
    en="Make a key and a self-signed certificate for OPC UA in FOLDER. The server's operator must trust it. "
    "In the [[device]] table name both as cert_file and key_file, and the server's own as server_cert_file.",
    zh="在 FOLDER 中生成 OPC UA 用的密钥和自签名证书,须由服务器管理员信任。在 [[device]] 中写 cert_file、"
    "key_file,并以 server_cert_file 写明服务器证书。",
    examples="edge certificate\nedge certificate /etc/yunchu/keys --json",
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("keys"))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Write both files; never over existing ones."""
    from drivers.opcua_security import create_client_certificate

    try:
        certificate, key = create_client_certificate(folder)
    except OSError as error:
        do = say("Name another folder; nothing was overwritten.", "请指定其他目录;未覆盖任何文件。")
        fail(Problem("CERT-001", str(folder), str(error), do), Exit.NO)
    if as_json:
        emit("edge.certificate/1", {"cert_file": str(certificate), "key_file": str(key)})
    else:
        click.echo(f'cert_file = "{certificate}"\nkey_file = "{key}"')
