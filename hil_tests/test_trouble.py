"""The whole site, all processes real: what must not stop it, and what must stop at once.

One stage for the module; each test leaves it as it found it. What is asserted about power is what the plant
itself has seen, not what the controller says.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_link.commands import STRANGER_S
from cloud_link.protocol.command import Command, encode_command
from cloud_link.protocol.signing import SigningKey
from cloud_link.protocol.topics import ack_topic, command_topic
from cloud_link.transport import Address, Message, Transport
from edge.cli.init import FLEET_KEY
from edge.demo.measure import wrong_values
from edge.demo.scene import SITE, TENANT, Scene
from edge.launch import Launcher, Process
from edge.mailbox import ask
from edge.ring import Ring

ROOT = Path(__file__).parents[1]
LOAD_KW = 200.0
DEAD_MAN_S = 3.0
RAMP_KW_PER_CYCLE = 5.0


def wait(what: str, condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"did not happen within {seconds:.0f} s: {what}")


class Stage(Scene):
    """The demo, with a controller that can be killed without being started again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, seed=3)
        processes = self._processes()
        self.launcher = Launcher([p for p in processes if p.name != "controller"], folder)
        self._command: Process = next(p for p in processes if p.name == "controller")
        self.controller: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        self.broker.start()
        self.plant.start()
        self.plant.fault("site/load_kw", LOAD_KW)
        self.start_controller()
        self.launcher.start()
        self.wait_ready()

    def start_controller(self) -> None:
        with (self.folder / "controller.log").open("ab") as log:
            self.controller = subprocess.Popen(self._command.command, stdout=log, stderr=log)

    def kill_controller(self) -> None:
        assert self.controller is not None
        self.controller.kill()
        self.controller.wait()

    def close(self) -> None:
        if self.controller is not None:
            self.controller.terminate()
            self.controller.wait(10.0)
        super().close()

    def ring(self) -> Ring:
        return Ring.open(self.run_dir / "ring")

    def decision(self) -> dict[str, Any]:
        facts = self.facts()
        assert facts is not None
        return dict(facts["decision"])

    def operator(self, p_kw: float, seconds: float) -> None:
        message = {"v": 1, "kind": "operator", "ref": 1, "p_kw": p_kw, "valid_s": seconds}
        assert ask(self.run_dir / "control.sock", message)["ok"]

    def cancel(self) -> None:
        ask(self.run_dir / "control.sock", {"v": 1, "kind": "cancel", "source": "operator"})

    def battery_kw(self) -> float:
        return self.plant.truth()["battery_kw"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    try:
        stage.open()
        yield stage
    finally:
        stage.close()


def missed(stage: Stage) -> int:
    newest = stage.ring().newest()
    assert newest is not None
    return int(newest["missed"])


def cycles_pass(stage: Stage, number: int) -> None:
    ring = stage.ring()
    end = ring.total + number
    wait(f"{number} cycles", lambda: ring.total >= end)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same run folder", "another run folder"])
def test_a_second_controller_refuses_to_start(stage: Stage, tmp_path: Path, elsewhere: bool) -> None:
    folder = tmp_path / "run" if elsewhere else stage.run_dir
    command = [sys.executable, "-m", "edge", "run", "-c", str(stage.config_path), "--run-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 75, done.stderr
    assert "RUN-002" in done.stderr and "edge status" in done.stderr


def test_a_killed_controller_leaves_the_pcs_at_zero_and_returns_without_a_jump(stage: Stage) -> None:
    stage.operator(40.0, 120.0)
    wait("40 kW", lambda: abs(stage.battery_kw() - 40.0) < 2.0)
    stage.kill_controller()
    killed = time.monotonic()
    wait("zero by the timer of the PCS", lambda: abs(stage.battery_kw()) < 1.0, DEAD_MAN_S + 4.0)
    assert time.monotonic() - killed > DEAD_MAN_S - 1.5, "it was the timer of the PCS, not something of ours"
    back_ns = time.monotonic_ns()
    stage.start_controller()
    wait("the controller is back", lambda: (stage.facts() or {"state": ""})["state"] == "running", 30.0)
    wait("it decides again", lambda: stage.decision()["hi_kw"] > 1.0, 30.0)
    cycles_pass(stage, 20)
    assert largest_step_kw(stage, back_ns) <= RAMP_KW_PER_CYCLE + 1.0


def test_a_quick_restart_takes_over_a_running_battery_without_a_jump(stage: Stage) -> None:
    stage.operator(40.0, 120.0)
    wait("40 kW", lambda: abs(stage.battery_kw() - 40.0) < 2.0)
    killed_ns = time.monotonic_ns()
    stage.kill_controller()
    stage.start_controller()
    cycles_pass(stage, 30)
    assert largest_step_kw(stage, killed_ns) <= RAMP_KW_PER_CYCLE + 1.0
    wait("the plan decides again", lambda: stage.decision()["winner"] == "plan", 30.0)


def largest_step_kw(stage: Stage, since_ns: int) -> float:
    """Return the largest change of the PCS power within one cycle, from the plant's own trace."""
    trace = stage.plant.trace()
    part = trace[trace["t_ns"] >= since_ns]
    grid = np.arange(part["t_ns"][0], part["t_ns"][-1], 100_000_000)
    power = np.interp(grid, part["t_ns"], part["pcs-1/p_kw"])
    return float(np.abs(np.diff(power)).max())


def test_the_fleet_moves_the_battery_and_every_stage_is_acknowledged(stage: Stage) -> None:
    with stage.fleet("dispatch", "demo", "-30kW", "--for", "8s", "--wait") as asked:
        out, err = asked.communicate(timeout=40)
    assert asked.returncode == 0, out + err
    stages = [entry["stage"] for entry in json.loads(out)["data"]["stages"]]
    assert stages[:2] == ["received", "accepted"]
    assert {"active", "reached"} <= set(stages)
    wait("back on the plan", lambda: stage.decision()["winner"] == "plan", 15.0)


def test_a_pcs_that_turns_the_wrong_way_is_stopped_and_told_of(stage: Stage) -> None:
    """It is held for 30 s; what comes next in this file does not need its power."""
    stage.operator(-30.0, 60.0)
    wait("charging", lambda: abs(stage.battery_kw() + 30.0) < 2.0)
    stage.plant.fault("pcs-1/invert", 1.0)
    wait("the wrong way", lambda: stage.battery_kw() > 5.0)
    began = time.monotonic()
    wait("zero", lambda: abs(stage.battery_kw()) < 1.0, 9.0)
    assert time.monotonic() - began < 8.5, (
        "5 s, after up to 3 s in which it could still be what was told before"
    )
    decision = stage.decision()
    assert (decision["lo_kw"], decision["hi_kw"]) == (0.0, 0.0)
    stage.plant.fault("pcs-1/invert", 0.0)
    stage.cancel()
    (event,) = accusations(stage)
    assert event["where"] == "battery-1" and event["what"].startswith("told -30.0 kW, measured ")


def accusations(stage: Stage) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (stage.run_dir / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["code"] == "NOT_FOLLOWING"]


def test_services_and_broker_may_die_without_costing_a_cycle(stage: Stage) -> None:
    before, total = missed(stage), stage.ring().total
    os.kill(stage.launcher.pid("services"), signal.SIGKILL)
    stage.broker.kill()
    cycles_pass(stage, 40)
    assert stage.decision()["winner"] == "plan", "the controller keeps the plan that it has"
    stage.broker.start()
    wait("the link is back", lambda: ((stage.facts() or {}).get("link") or {}).get("connected") is True, 40.0)
    rows = stage.ring().since(0)
    lost = missed(stage) - before
    assert stage.ring().total - total >= 40
    assert lost == 0, f"{lost} cycles missed, lateness up to {rows['lateness_ns'].max() / 1e6:.1f} ms"


def test_no_report_is_lost_while_the_broker_was_away(stage: Stage) -> None:
    def all_stored() -> bool:
        link = (stage.facts() or {})["link"] or {}
        return bool(link.get("backlog", 1) <= 2 and link["confirmed"] > 0)

    wait("the fleet has confirmed everything", all_stored, 40.0)
    link = (stage.facts() or {})["link"]
    assert stage.received() >= link["confirmed"]
    assert link["dropped"] == 0


def test_history_has_every_second_in_which_a_controller_ran(stage: Stage) -> None:
    cycles_pass(stage, 40)  # the recorder writes every two seconds
    ran = {int(ms) // 1000 for ms in stage.ring().since(0)["utc_ms"]}
    newest = max(ran)

    def stored() -> set[int]:
        command = [
            sys.executable,
            "-m",
            "edge",
            "history",
            "bms-1/soc",
            "--since",
            "10m",
            "--step",
            "1s",
            "--json",
        ]
        done = subprocess.run([*command, "-c", str(stage.config_path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return {int(ms) // 1000 for ms in json.loads(done.stdout)["data"]["t_ms"]}

    wanted = {second for second in ran if second < newest - 8}
    wait("every second is stored", lambda: wanted <= stored(), 15.0)


class Intruder:
    """Somebody on the broker: publishes anything as a command and hears the site's acknowledgements."""

    def __init__(self, stage: Stage) -> None:
        self.acks: list[dict[str, Any]] = []
        self._address = Address("127.0.0.1", stage.broker.port)
        self._client = Transport(self._address, "intruder", on_message=self._hear)

    def __enter__(self) -> "Intruder":
        self._client.start()
        wait("connected", lambda: self._client.connected)
        heard = threading.Event()
        self._client.subscribe([(ack_topic(TENANT, SITE), 1)], lambda granted: heard.set())
        assert heard.wait(10.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop()

    def send(self, raw: bytes) -> None:
        time.sleep(STRANGER_S)  # what proves nothing is answered seldom, on purpose
        sent = threading.Event()
        self._client.publish(
            Message(command_topic(TENANT, SITE), raw, qos=1), on_done=lambda good: sent.set()
        )
        assert sent.wait(10.0)

    def codes(self, command_id: str) -> list[str]:
        return [ack["code"] for ack in self.acks if ack["command_id"] == command_id]

    def _hear(self, message: Message) -> None:
        self.acks.append(json.loads(message.payload))


def command(stage: Stage, **changes: Any) -> Command:
    now = time.time_ns() // 1_000_000
    plain: dict[str, Any] = {
        "v": 1,
        "id": f"01TEST{now:020d}",
        "issuer": "fleet",
        "site": "demo",
        "target": "site",
        "kind": "setpoint",
        "p_kw": 77.0,
        "valid_from_ms": now,
        "valid_to_ms": now + 5_000,
        "seq": now,
        "reason": "test",
    }
    return Command(**{**plain, **changes})


BAD = [
    ("EXPIRED", {"valid_from_ms": 1_000, "valid_to_ms": 2_000}, "an expired command"),
    ("REPLAY", {"seq": 1}, "a sequence number from the past"),
    ("RANGE", {"p_kw": 500.0}, "more than the nameplate"),
    ("SITE", {"site": "other"}, "a command for another site"),
]


@pytest.mark.parametrize(("code", "changes"), [b[:2] for b in BAD], ids=[b[2] for b in BAD])
def test_a_bad_command_is_refused_with_its_code_and_moves_nothing(
    stage: Stage, code: str, changes: dict[str, Any]
) -> None:
    bad = command(stage, **changes)
    with Intruder(stage) as intruder:
        intruder.send(encode_command(bad, SigningKey.load(stage.config_path.parent / FLEET_KEY)))
        wait(f"acknowledged as refused with {code}", lambda: code in intruder.codes(bad.id))
    assert stage.decision()["winner"] == "plan"


FORGED = [
    ("a stranger's key", lambda raw, stranger: stranger),
    ("a power that was changed on the way", lambda raw, stranger: raw.replace(b"77.0", b"78.0")),
]


@pytest.mark.parametrize("forge", [f[1] for f in FORGED], ids=[f[0] for f in FORGED])
def test_what_the_fleet_has_not_signed_is_refused(
    stage: Stage, forge: Callable[[bytes, bytes], bytes]
) -> None:
    good = command(stage)
    own = encode_command(good, SigningKey.load(stage.config_path.parent / FLEET_KEY))
    raw = forge(own, encode_command(good, SigningKey.generate()))
    assert raw != own
    with Intruder(stage) as intruder:
        intruder.send(raw)
        wait("refused with SIG", lambda: "SIG" in intruder.codes(good.id))
    assert stage.decision()["winner"] == "plan"


def test_garbage_is_counted_and_disturbs_nothing(stage: Stage) -> None:
    before = rejected(stage)[0]
    with Intruder(stage) as intruder:
        for raw in (b"", b"\xff\x00{{{", b"[]", b"[" * 60_000, b"x" * 100_000):
            intruder.send(raw)
    wait("all are counted", lambda: rejected(stage)[0] >= before + 5 and rejected(stage)[1] == "MALFORMED")
    assert stage.decision()["winner"] == "plan"


def rejected(stage: Stage) -> tuple[int, str]:
    """Return how many commands the site has refused, and the code of the last one."""
    commands = ((stage.facts() or {}).get("link") or {}).get("commands") or {}
    return int(commands.get("rejected", 0)), str(commands.get("last_rejection", "")).split(":")[0]


def polls_of(stage: Stage) -> dict[str, int]:
    return {device["name"]: device["polls"] for device in (stage.facts() or {})["devices"]}


def still_polled(stage: Stage, before: dict[str, int], names: tuple[str, ...]) -> None:
    def more() -> bool:
        now = polls_of(stage)
        return all(now[name] >= before[name] + 3 for name in names)

    wait(f"{', '.join(names)} still answer", more, 6.0)


def test_a_dead_inverter_disturbs_nobody_and_comes_back(stage: Stage) -> None:
    before, late = polls_of(stage), missed(stage)
    stage.plant.kill("pv-1")
    wait("its points are no longer good", lambda: "pv-1/p_kw" in (stage.facts() or {})["bad_points"])
    still_polled(stage, before, ("pcs-1", "bms-1", "meter-1"))
    stage.plant.restart("pv-1")
    wait("good again", lambda: "pv-1/p_kw" not in (stage.facts() or {})["bad_points"], 30.0)
    assert missed(stage) == late


def test_a_silent_bms_stops_the_battery_while_the_others_go_on(stage: Stage) -> None:
    wait("the battery may move", lambda: stage.decision()["hi_kw"] > 1.0, 60.0)
    stage.operator(30.0, 60.0)
    wait("30 kW", lambda: abs(stage.battery_kw() - 30.0) < 2.0, 40.0)
    late, polls = missed(stage), polls_of(stage)
    stage.plant.fault("bms-1/silent", 1.0)
    began = time.monotonic()
    wait("zero", lambda: abs(stage.battery_kw()) < 1.0, 6.0)
    assert time.monotonic() - began < 4.0
    decision = stage.decision()
    assert (decision["lo_kw"], decision["hi_kw"]) == (0.0, 0.0)
    still_polled(stage, polls, ("pcs-1", "meter-1", "pv-1"))
    stage.plant.fault("bms-1/silent", 0.0)
    wait("its points are good", lambda: "bms-1/soc" not in (stage.facts() or {})["bad_points"], 20.0)
    assert stage.decision()["hi_kw"] == 0.0, "what was lost is not trusted at once"
    stage.cancel()
    assert missed(stage) == late


def test_a_corrupted_line_gives_errors_but_never_a_wrong_value(stage: Stage) -> None:
    first = int(stage.ring().since(0)["cycle"][-1])
    stage.plant.fault("wire-meter-1/corrupt", 0.02)
    stage.plant.fault("wire-bms-1/drop", 0.02)
    cycles_pass(stage, 60)
    stage.plant.fault("wire-meter-1/corrupt", 0.0)
    stage.plant.fault("wire-bms-1/drop", 0.0)
    facts = stage.facts()
    assert facts is not None
    assert sum(d["errors"] for d in facts["devices"] if d["name"] in ("meter-1", "bms-1")) > 0
    rows = stage.ring().since(first)
    assert sum(wrong_values(stage, rows).values()) == 0


ROOMS = ("control", "cython_ext", "drivers", "edge", "examples", "models")


def replay(stage: Stage, folder: Path) -> tuple[int, dict[str, Any]]:
    """Replay the ring with the code that stands in ``folder``."""
    words = ("-m", "edge", "replay", str(stage.run_dir / "ring"), "--json")
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout)["data"]


def test_every_cycle_of_all_this_trouble_can_be_run_again_bit_for_bit(stage: Stage) -> None:
    code, found = replay(stage, ROOT)
    assert code == 0, found
    assert found["cycles"] > 400 and found["differing"] == 0


def test_a_changed_constant_in_a_limit_shows_in_the_replay(stage: Stage, tmp_path: Path) -> None:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    limit = tmp_path / "control/limits/soc.py"
    before = limit.read_text(encoding="utf-8")
    limit.write_text(before.replace("TAPER = 0.02", "TAPER = 0.90"), encoding="utf-8")
    assert limit.read_text(encoding="utf-8") != before
    code, found = replay(stage, tmp_path)
    assert code == 1
    assert found["differing"] > 0


def test_the_plant_has_seen_no_violation(stage: Stage) -> None:
    assert {kind: seen["count"] for kind, seen in stage.plant.violations().items() if seen["count"]} == {}


def test_no_battery_that_did_as_it_was_told_was_accused(stage: Stage) -> None:
    assert len(accusations(stage)) == 1, "only where the sign was turned"
