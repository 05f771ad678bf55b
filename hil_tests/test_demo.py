"""The demo as a stranger runs it (slow: `make test-slow`)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_demo_holds_all_its_checks(tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    command = [sys.executable, "-m", "edge", "demo", "--for", "60s", "--json", str(report_file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(report_file.read_text(encoding="utf-8"))
    assert report["ok"] is True
    assert report["violations"] == 0
    assert report["telemetry"]["sent"] == report["telemetry"]["received"]
    assert len({d["protocol"] for d in report["devices"]}) >= 3
    assert sum(d["wrong"] for d in report["devices"]) == 0
    assert report["setpoint"]["reached"] and report["setpoint"]["acknowledged"]
