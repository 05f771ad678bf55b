"""From specifications to devices on their lines."""

from pathlib import Path

import pytest

from drivers.driver import Nameplate
from drivers.modbus import build
from drivers.modbus.link import Link
from drivers.modbus.spec import ModbusSpec

OWN = """
vendor = "Acme"
product = "X"
kind = "pcs"
protocol = "modbus"
source = "a manual"
tested_on = "nothing"
points = [
  { name = "p_kw", role = "p_kw", symbol = "kW", fn = 3, address = 1, type = "i16", range = [-9, 9], unit_id = 10 },
  { name = "state", fn = 3, address = 2, type = "u16" },
]
texts = [{ name = "serial", fn = 3, address = 40, registers = 4, unit_id = 11 }]
[write]
set = [{ fn = 6, address = 9, type = "i16", value = "p_kw", unit_id = 12 }]
heartbeat = { fn = 6, address = 8, unit_id = 13 }
release = [{ fn = 6, address = 9, type = "i16", value = 0, unit_id = 14 }]
refresh_s = 1.0
[[prepare]]
name = "start"
write = { fn = 6, address = 10, unit_id = 15 }
value = 1
when = { point = "state", is = [0] }
"""  # noqa: E501  an inline table of TOML is one line


def test_every_unit_id_that_is_read_or_written_has_its_times_on_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench
) -> None:
    """A unit that the line does not know would end its thread at the first write."""
    (tmp_path / "own.toml").write_text(OWN)
    links: list[Link] = []
    link_to = build.link_to
    monkeypatch.setattr(build, "link_to", lambda *args: links.append(link_to(*args)) or links[-1])
    url, nameplate = "tcp://127.0.0.1:1502", Nameplate(-9.0, 9.0)
    spec = ModbusSpec("pcs", "battery", str(tmp_path / "own.toml"), url, 3, nameplate, bench.MemorySink(2))
    build.open_devices([spec], lambda *event: None)
    assert set(links[0].stations) == {3, *range(10, 16)}
