"""The fleet and the real link of a site, end to end: what one end says, the other end understands."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.ingest import read_table, unpack
from aggregator.store import Store
from cloud_link.changes import Report
from cloud_link.commands import Decision
from cloud_link.protocol.command import Command
from cloud_link.protocol.signing import Keyring, SigningKey, trust_line
from cloud_link.settings import LinkSettings
from cloud_link.transport import Address
from cloud_link.uplink import Uplink
from models.point import Point, Quality, Role

POINTS = (Point("pcs-1/p_kw", "pcs-1", "battery-1", Role.P_KW, "kW", 2.0),)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Gateway:
    """A site that reports twenty times a second and follows every command at once."""

    def __init__(self, folder: Path, port: int, fleet_key: SigningKey) -> None:
        self.own, self.p_kw, self.made = SigningKey.generate(), 0.0, 0
        settings = LinkSettings(
            "default", "demo", Address(port=port), folder, {"site": (-100.0, 100.0)}, birth_spread_s=0.05
        )
        keys = Keyring.of(fleet_key, issuer="yunchu-fleet")
        self.link = Uplink(settings, POINTS, keys, self.own, self._act, utc_ms=now_ms)
        self._acted: list[str] = []
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._run)

    def start(self) -> None:
        self.link.start()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.link.stop()

    def _act(self, command: Command, number: int) -> Decision:
        self.p_kw = command.p_kw
        self._acted.append(command.id)
        return Decision(True, actual_kw=self.p_kw)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            node = {
                "site/battery_kw": self.p_kw, "site/battery_p_kw": self.p_kw, "site/lo_kw": -100.0,
                "site/hi_kw": 100.0, "site/winner": "fleet", "site/cycle": self.made,
            }  # fmt: skip
            self.link.report(Report(now_ms(), node, [self.p_kw], [Quality.GOOD]))
            while self._acted:
                self.link.progress(self._acted.pop(), "active", self.p_kw)
            self.made += 1


@pytest.fixture
def gateway(fleet: Any, tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path / "site", fleet.port, fleet.key)
    (fleet.folder / "site-keys.toml").write_text(trust_line("demo", gateway.own.public, issuer="demo"))
    yield gateway
    gateway.stop()


def test_reports_commands_and_a_killed_fleet(
    fleet: Any, gateway: Gateway, until: Callable[[Callable[[], object]], None]
) -> None:
    def telemetry() -> dict[str, Any]:
        counters: dict[str, Any] = gateway.link.counters()["telemetry"]
        return counters

    def dispatch(power: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "aggregator", "dispatch", "demo", power, "--for", "60s", "--wait"]
        return subprocess.run(
            [*command, "--db", str(fleet.db)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
        )

    gateway.start()
    fleet.start()
    until(lambda: telemetry()["confirmed"] > 10)
    done = dispatch("40kW")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]][:2] == ["received", "accepted"]
    fleet.end(signal.SIGKILL)
    made = gateway.made
    until(lambda: gateway.made > made + 20)
    fleet.start()
    newest = telemetry()["newest"]
    until(lambda: telemetry()["newest"] - telemetry()["backlog"] > newest)
    done = dispatch("-25kW")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "number 2" in done.stdout
    fleet.end()
    with Store.attach(fleet.db) as store:
        rows = store.reports("demo")
        numbers = sorted(row.number or 0 for row in rows)
        assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > newest
        told = unpack(rows[0].body, read_table(store.names(rows[0].names)))
        assert "pcs-1/p_kw" in told
