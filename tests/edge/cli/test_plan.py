"""``edge plan``: readable, without ANSI in a pipe, honest by exit code, light."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge.cli import program
from edge.cli.common import cells
from models.answer import Exit
from models.plan import Ladder, Money, Plan, Proof
from models.series import grid_from

STEP_MS = 900_000


def a_plan(age_s: float = 60.0, **changes: Any) -> dict[str, Any]:
    """Return a plan of now: two hours each of charging, waiting, discharging, waiting …"""
    made = time.time_ns() // 1_000_000 - round(age_s * 1000)
    power = np.tile(np.repeat([-100.0, 0.0, 50.0, 0.0], 8), 3)
    levels = np.tile(np.repeat(["valley", "flat", "sharp", "peak"], 8), 3)
    plan = Plan(
        ref=made,
        made_utc_ms=made,
        grid=grid_from(made, 900, 96),
        status=Ladder.FRESH,
        units=("battery-1",),
        unit_kw=power[None, :],
        soc=np.linspace(0.2, 0.8, 97),
        grid_kw=200 - power,
        curtailed_kw=np.zeros(96),
        net_load_kw=np.full(96, 200.0),
        net_load_p10_kw=np.full(96, 180.0),
        net_load_p90_kw=np.full(96, 220.0),
        price_cny_per_kwh=np.full(96, 0.64),
        export_cny_per_kwh=np.zeros(96),
        levels=tuple(levels.tolist()),
        money=Money(1234.5, 10.0, 20.0, 5.0),
        idle=Money(2000.0, 50.0),
        proof=Proof("solved"),
        flags=("forecast-seed", "something-new"),
        notes=("demand: unchecked",),
        time_zone="Asia/Shanghai",
        posted=True,
    )
    return {**plan.to_dict(), **changes}


def run(folder: Path, *words: str, data: dict[str, Any] | str | None = None, lang: str = "en") -> Result:
    (folder / "image").touch()
    if data is not None:
        text = data if isinstance(data, str) else json.dumps(data)
        (folder / "plan.json").write_text(text, "utf-8")
    return CliRunner().invoke(program, ["--lang", lang, "plan", "--run-dir", str(folder), *words])


def test_it_shows_prices_powers_money_and_what_comes_next(tmp_path: Path) -> None:
    done = run(tmp_path, "--width", "110", data=a_plan())
    assert done.exit_code == Exit.OK, done.output
    out = done.stdout
    rows = out.splitlines()
    band = next(row for row in rows if row.startswith("price"))
    assert band.split() == ["price", ("V" * 8 + "F" * 8 + "S" * 8 + "P" * 8) * 3]
    assert "+100 kW" in out and "-100 kW" in out and "SOC 20%" in out
    assert "1,244.50" in out and "2,050.00" in out and "790.50 CNY" in out
    assert re.search(r"charge +100 kW  valley 0.6400 CNY/kWh", out)
    assert re.search(r"discharge +50 kW  sharp 0.6400 CNY/kWh", out)
    assert "interval data of another year" in out and "something-new" in out and "demand: unchecked" in out


def test_a_pipe_gets_no_ansi_and_ascii_is_ascii(tmp_path: Path) -> None:
    done = run(tmp_path, data=a_plan())
    assert "\x1b" not in done.output and "█" in done.output
    drawn = run(tmp_path, "--ascii").stdout.split("note:")[0]
    assert all(ord(letter) < 128 or letter == "…" for letter in drawn)
    assert "#" in drawn


@pytest.mark.parametrize("width", [50, 60, 80, 140])
def test_no_row_of_the_chart_is_wider_than_asked(tmp_path: Path, width: int) -> None:
    out = run(tmp_path, "--width", str(width), data=a_plan()).stdout
    chart = out.split("\n\n")[1].splitlines()
    assert max(map(cells, chart)) <= width


def test_chinese_is_complete(tmp_path: Path) -> None:
    done = run(tmp_path, data=a_plan(), lang="zh")
    for word in ("电价", "放电", "充电", "净负荷", "电费合计", "节省", "接下来", "最新", "尖"):
        assert word in done.stdout


def test_json_is_one_envelope(tmp_path: Path) -> None:
    done = run(tmp_path, "--json", data=a_plan())
    answer = json.loads(done.stdout)
    assert answer["schema"] == "edge.plan/1" and answer["ok"] is True and answer["problems"] == []
    assert len(answer["data"]["battery_kw"]) == 96 and answer["data"]["saving_cny"] == 790.5


DEGRADED = [
    ("a plan of the rules", {"status": "rules"}, 0, "PLAN-003"),
    ("the rest of an earlier plan", {"status": "shifted"}, 0, "PLAN-003"),
    ("a plan that is twenty minutes old", {}, 1200, "PLAN-004"),
    ("a plan that was not accepted", {"posted": False}, 0, "PLAN-005"),
]


@pytest.mark.parametrize(("change", "age_s", "code"), [r[1:] for r in DEGRADED], ids=[r[0] for r in DEGRADED])
def test_less_than_a_fresh_plan_is_degraded(
    tmp_path: Path, change: dict[str, Any], age_s: float, code: str
) -> None:
    done = run(tmp_path, data=a_plan(age_s, **change))
    assert done.exit_code == Exit.DEGRADED and code in done.stderr
    answer = json.loads(run(tmp_path, "--json").stdout)
    assert answer["ok"] is False and [p["code"] for p in answer["problems"]] == [code]


def test_an_old_plan_has_nothing_next(tmp_path: Path) -> None:
    assert "next" not in run(tmp_path, data=a_plan(3 * 86_400)).stdout


def test_no_plan_yet_is_said(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.exit_code == Exit.NOT_RUNNING and "PLAN-001" in done.stderr and "edge services" in done.stderr
    assert json.loads(run(tmp_path, "--json").stdout)["problems"][0]["code"] == "PLAN-001"


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "plan/9"}'])
def test_a_damaged_plan_is_said(tmp_path: Path, text: str) -> None:
    done = run(tmp_path, data=text)
    assert done.exit_code == Exit.NO and "PLAN-002" in done.stderr


def test_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, edge.cli, edge.cli.plan;"
        "print(sorted({'numpy', 'pydantic', 'osqp', 'scipy', 'rich', 'sqlite_utils'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
