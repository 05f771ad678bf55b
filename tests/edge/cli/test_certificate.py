"""``edge certificate``: both files, readable by nobody else, and never over existing ones."""

import json
import stat
from pathlib import Path

from click.testing import CliRunner

from edge.cli.certificate import command


def test_it_writes_key_and_certificate_once(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)["data"]
    key = Path(data["key_file"])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert Path(data["cert_file"]).stat().st_size > 500
    before = key.read_bytes()
    again = CliRunner().invoke(command, [str(tmp_path)])
    assert again.exit_code == 1
    assert "CERT-001" in again.stderr
    assert key.read_bytes() == before
