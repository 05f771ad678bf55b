"""The uplink service between the real cycle, the real mailbox and a tiny fleet over a real broker."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_link.broker import Broker
from cloud_link.protocol.command import Command
from cloud_link.protocol.report import contiguous
from cloud_link.protocol.signing import Keyring, SigningKey, trust_line
from edge.cli.init import demo_text
from edge.config import SiteConfig, loads
from edge.mailbox import Held, Mailbox, ask
from edge.services.follow import Followed
from edge.services.uplink import Eyes, Service, address_of, battery_kw, report_of, run_uplink
from models.point import Image, Quality
from models.proposal import Request, Source
from tests.cloud_link.client import until
from tests.cloud_link.host import SITE, TENANT, Host

FLEET, OWN = SigningKey.generate(), SigningKey.generate()
WARM_UP = 40
"""Cycles until everything is trusted."""


def config_for(folder: Path, broker: str) -> SiteConfig:
    OWN.save(folder / "site.key")
    (folder / "fleet.toml").write_text(trust_line("fleet", FLEET.public, "fleet"))
    head = (
        demo_text()
        .split("[fleet]")[0]
        .rstrip("# ")
        .replace('state_dir = "state"', f'state_dir = "{folder}/state"')
    )
    fleet = f'[fleet]\nbroker = "{broker}"\ntenant = "{TENANT}"\nsite_key = "{folder}/site.key"\n'
    return loads(head + fleet + f'fleet_keys = "{folder}/fleet.toml"\n', check_files=False)


@dataclass
class Rig:
    """A site whose batteries obey, its controller, its link and its fleet."""

    folder: Any
    host: Host
    config: SiteConfig
    held: Held = field(default_factory=lambda: Held(-100.0, 100.0))
    stop: threading.Event = field(default_factory=threading.Event)
    uplink_stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def play(self) -> None:
        p_kw = 0.0
        while not self.stop.wait(0.01):
            changes = {"pcs-1/p_kw": p_kw, "pcs-1/p_set_kw": p_kw, "meter-1/p_kw": 120.0 - p_kw}
            self.folder.play(1, changes, self.held.requests(time.monotonic_ns()))
            p_kw = float(self.folder.ring.newest()["p_set_kw"][0])

    def start(self) -> None:
        self.folder.play(WARM_UP)
        self.mailbox = Mailbox(self.folder.path / "control.sock", self.held, lambda *_: None)
        self.mailbox.start()
        self.run(self.play)
        self.run(lambda: run_uplink(self.config, self.folder.path, self.uplink_stop))

    def run(self, work: Callable[[], None]) -> None:
        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()

    def close(self) -> None:
        self.uplink_stop.set()
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.mailbox.stop()


@pytest.fixture
def rig(tmp_path: Path, run_folder: Callable[[], Any]) -> Iterator[Rig]:
    with Broker(tmp_path / "broker", kind="nats") as broker:
        host = Host(broker.port, FLEET, Keyring.of(OWN, issuer=SITE))
        assert host.ready.wait(10)
        rig = Rig(run_folder(), host, config_for(tmp_path, f"mqtt://127.0.0.1:{broker.port}"))
        rig.start()
        try:
            yield rig
        finally:
            rig.close()
            host.close()


def stages(rig: Rig, command_id: str) -> list[tuple[str, str]]:
    return [(ack.stage, ack.detail) for ack in rig.host.acks if ack.command_id == command_id]


def test_a_setpoint_moves_the_battery_and_every_stage_is_told(rig: Rig) -> None:
    host = rig.host
    assert until(lambda: host.latest.get(("", "site/winner")) is not None), host.kinds
    assert host.latest["", "site/lo_kw"] == pytest.approx(-100.0, abs=5.0)
    command = host.make(-50.0, valid_ms=6_000)
    host.send(command)
    assert until(lambda: ("active", "reached") in stages(rig, command.id)), stages(rig, command.id)
    assert until(lambda: host.latest.get(("", "site/winner")) == "fleet")
    assert until(lambda: host.latest.get(("pcs-1", "p_kw")) == pytest.approx(-50.0, abs=2.5)), host.latest
    newer = host.make(-20.0, valid_ms=2_000)
    host.send(newer)
    assert until(lambda: ("superseded", f"by {newer.id}") in stages(rig, command.id))
    assert until(lambda: stages(rig, newer.id)[-1:] == [("expired", "")]), stages(rig, newer.id)
    told = [stage for stage, _ in stages(rig, newer.id)]
    assert told == ["received", "accepted", "active", "active", "expired"]
    reached = [ack for ack in host.acks if ack.command_id == command.id and ack.detail == "reached"]
    assert reached[0].actual_kw == pytest.approx(-50.0, abs=2.5)
    assert contiguous(host.known) >= 2
    state = json.loads((rig.config.state_dir / "uplink.json").read_text())
    assert state["connected"] and state["dropped"] == 0


def test_a_command_of_later_begins_later_and_a_stop_ends_it(rig: Rig) -> None:
    host = rig.host
    assert until(lambda: host.latest.get(("", "site/winner")) is not None)
    first = host.make(-30.0, valid_ms=20_000)
    soon_ms = first.valid_from_ms + 1_500
    later = host.make(-60.0, valid_ms=20_000)
    later = type(later)(**{**{n: getattr(later, n) for n in later.__slots__}, "valid_from_ms": soon_ms})
    host.send(first)
    host.send(later)
    assert until(lambda: ("active", "") in stages(rig, first.id))
    assert ("active", "") not in stages(rig, later.id)
    assert until(lambda: ("active", "") in stages(rig, later.id)), stages(rig, later.id)
    assert ("superseded", f"by {later.id}") in stages(rig, first.id)
    stop = host.make(0.0, kind="stop")
    host.send(stop)
    assert until(lambda: ("active", "reached") in stages(rig, stop.id)), stages(rig, stop.id)
    assert stages(rig, later.id)[-1] == ("superseded", f"by {stop.id}")


def test_a_stop_is_not_overtaken_by_what_it_ends(
    run_folder: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setpoint falls due while a stop arrives: whatever the threads do, the stop comes last."""
    config = config_for(tmp_path, "mqtt://127.0.0.1:1")
    assert config.fleet is not None
    service = Service(config, config.fleet, run_folder().path)
    posted: list[str] = []
    sending, sent = threading.Event(), threading.Event()

    def slow(_: Path, message: dict[str, Any]) -> dict[str, Any]:
        if message["ref"] == 1:
            sending.set()
            sent.wait(0.3)  # long enough for the stop, if nothing holds it back
        posted.append({1: "setpoint", 2: "stop"}[message["ref"]])
        return {"ok": True}

    monkeypatch.setattr("edge.services.uplink.ask", slow)
    now_ns, now_ms = time.monotonic_ns(), time.time_ns() // 1_000_000
    setpoint = Command(1, "a", "fleet", SITE, "site", "setpoint", 50.0, now_ms, now_ms + 60_000, 1, "")
    stop = Command(1, "b", "fleet", SITE, "site", "stop", 0.0, now_ms, now_ms + 60_000, 2, "")
    service._link.start()
    service._follower.add(Followed(setpoint, 1, now_ns, now_ns + 60_000_000_000))
    turn = threading.Thread(target=service._turn, args=(now_ns,))
    turn.start()
    assert sending.wait(10)
    try:
        assert service._act(stop, 2).accepted
    finally:
        sent.set()
        turn.join(10)
        service._link.stop()
    assert posted == ["setpoint", "stop"]


def test_what_the_site_decides_itself_is_told(rig: Rig) -> None:
    host, sock = rig.host, rig.folder.path / "control.sock"
    assert until(lambda: host.latest.get(("", "site/winner")) is not None)
    command = host.make(-40.0, valid_ms=20_000)
    host.send(command)
    assert until(lambda: ("active", "") in stages(rig, command.id))
    assert ask(sock, {"v": 1, "kind": "cancel", "source": "fleet"})["ok"]
    assert until(lambda: ("aborted", "cancelled at the site") in stages(rig, command.id))
    assert ask(sock, {"v": 1, "kind": "operator", "ref": 1, "p_kw": 5.0, "valid_s": 60.0})["ok"]
    assert until(lambda: rig.folder.ring.newest()["requests"][int(Source.OPERATOR)]["in_force"])
    refused = host.make(-40.0)
    host.send(refused)
    assert until(lambda: host.stages(refused)[-1:] == [("rejected", "LOCAL_MODE")]), host.stages(refused)


def test_without_a_controller_nothing_is_accepted_and_values_are_not_good(rig: Rig) -> None:
    host = rig.host
    assert until(lambda: host.latest.get(("", "site/winner")) is not None)
    rig.stop.set()
    rig.mailbox.stop()
    command = host.make(-40.0)
    host.send(command)
    assert until(lambda: host.stages(command)[-1:] == [("rejected", "SAFETY")]), host.stages(command)
    assert until(lambda: host.latest.get(("", "site/lo_kw"), 0.0) is None), host.latest


def test_a_report_without_a_record_says_nothing_about_what_the_site_may_do(
    run_folder: Callable[[], Any],
) -> None:
    folder = run_folder()
    site = folder.plant.site
    report = report_of(Image.empty(len(site.points)), None, None, 5)
    assert set(report.node.values()) == {None} and set(report.quality) == {Quality.BAD}
    assert battery_kw(site, Image.empty(len(site.points))) is None


def test_an_old_record_and_a_missing_controller_say_nothing(
    run_folder: Callable[[], Any], tmp_path: Path
) -> None:
    folder = run_folder()
    folder.play(3, requests=(Request(Source.FLEET, 5.0, 2**62, 9),))
    eyes, now_ns = Eyes(folder.plant.site, folder.path), time.monotonic_ns()
    eyes.open()
    assert eyes.record(now_ns) is not None and eyes.epoch_ms == folder.image.epoch_ms
    assert eyes.record(now_ns + 5_000_000_000) is None
    assert (eyes.image(now_ns).quality == Quality.GOOD).all()
    assert not (eyes.image(now_ns + 3_600_000_000_000).quality == Quality.GOOD).any()
    blind = Eyes(folder.plant.site, tmp_path / "nowhere")
    blind.open()
    assert blind.record(now_ns) is None and blind.epoch_ms == 0
    assert np.isnan(blind.image(now_ns).value).all()


def test_the_broker_address_is_read_from_its_url(tmp_path: Path) -> None:
    fleet = config_for(tmp_path, "mqtt://broker:99").fleet
    assert fleet is not None
    (tmp_path / "password").write_text("secret\n")
    let_in = fleet.model_copy(update={"username": "demo", "password_file": tmp_path / "password"})
    address = address_of(let_in)
    assert (address.host, address.port, address.username, address.password) == (
        "broker",
        99,
        "demo",
        "secret",
    )
    authority = {"broker": "mqtts://broker:8883", "ca_file": tmp_path / "ca.pem"}
    assert address_of(fleet).ca_file is None
    assert address_of(fleet.model_copy(update=authority)).ca_file == tmp_path / "ca.pem"
