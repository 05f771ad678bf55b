"""The field verbs beside a real controller that steers a simulated plant (slow: `make test-slow`)."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.simulator.site import SimulatedSite
from edge.cli.init import demo_text, write_site
from edge.glance import Glance

pytestmark = pytest.mark.slow
READS = 10


def wait(what: str, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {seconds:.0f} s: {what}")
        time.sleep(0.1)


class Site:
    """The plant and its controller."""

    def __init__(self, folder: Path) -> None:
        (folder / "plant").mkdir()
        self.plant = SimulatedSite(folder / "plant", soc=0.55, seed=3)
        self.run_dir = folder / "run"
        self.plant.start()
        write_site(folder / "site", demo_text(self.plant.endpoints), "demo")
        self.config = folder / "site" / "site.toml"
        command = [
            sys.executable,
            "-m",
            "edge",
            "run",
            "-c",
            str(self.config),
            "--run-dir",
            str(self.run_dir),
        ]
        with (folder / "controller.log").open("wb") as log:
            self.controller = subprocess.Popen(command, stdout=log, stderr=log)

    def edge(self, *words: str) -> tuple[int, Any, str]:
        """Run a verb; return its exit code, its data, and what it says besides."""
        command = [sys.executable, "-m", "edge", *words, "--json", "--run-dir", str(self.run_dir)]
        if words[0] != "scan":
            command += ["-c", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        answer = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
        return done.returncode, answer.get("data"), done.stderr + str(answer.get("problems"))

    def ready(self) -> bool:
        if not (self.run_dir / "field.sock").exists():
            return False
        return all(device["online"] for device in Glance(self.run_dir).devices())

    def missed(self) -> int:
        record = Glance(self.run_dir).record
        assert record is not None
        return int(record["missed"])

    def close(self) -> None:
        self.controller.terminate()
        self.controller.wait(10.0)
        self.plant.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    one = Site(tmp_path_factory.mktemp("field"))
    try:
        wait("a controller with all devices", one.ready)
        yield one
    finally:
        one.close()


def test_points_of_a_serial_line_that_the_controller_holds(site: Site) -> None:
    code, rows, said = site.edge("read", "bms-1/soc")
    assert code == 0, said
    assert rows[0]["value"] == pytest.approx(site.plant.truth()["soc"], abs=0.02)
    assert "through the controller of demo" in said


@pytest.mark.parametrize("device", ["bms-1", "meter-1"])
def test_a_held_serial_line_is_not_scanned(site: Site, device: str) -> None:
    path = site.plant.endpoints[device].removeprefix("rtu://").partition("?")[0]
    code, _, said = site.edge("scan", "rtu", path, "--ids", "1-3")
    assert code == 75
    assert f"({device})" in said


def test_a_power_goes_through_the_limits_and_ends_by_itself(site: Site) -> None:
    code, facts, said = site.edge("write", "pcs-1", "--p-kw", "20", "--for", "4s", "--yes")
    assert code == 0, said
    assert facts["decision"]["winner"] == "operator"
    wait("20 kW", lambda: abs(site.plant.truth()["battery_kw"] - 20.0) < 2.0)
    wait(
        "the end of the wish",
        lambda: site.edge("write", "pcs-1", "--p-kw", "0")[1]["decision"]["winner"] != "operator",
    )
    assert sum(seen["count"] for seen in site.plant.violations().values()) == 0


def test_the_setpoint_register_is_the_controllers(site: Site) -> None:
    code, _, said = site.edge("write", "pcs-1", "--address", "200", "--type", "i16", "--value", "10", "--yes")
    assert code == 6
    assert "ONE_WRITER" in said


def test_reading_costs_the_controller_no_cycle_and_no_value_its_freshness(site: Site) -> None:
    before = site.missed()
    for _ in range(READS):
        assert site.edge("read", "meter-1/p_kw")[0] == 0
    assert site.missed() == before
    assert all(point.quality == "GOOD" for point in Glance(site.run_dir).points())


def test_the_traffic_of_all_lines(site: Site) -> None:
    code, facts, said = site.edge("bus")
    assert code == 0, said
    assert [line["devices"] for line in facts["lines"]] == [["pcs-1"], ["bms-1"], ["meter-1"]]
    assert all(line["open"] and 0.0 < line["busy"] < 0.9 for line in facts["lines"])
    assert all(unit["requests_per_s"] > 0 for line in facts["lines"] for unit in line["units"].values())
