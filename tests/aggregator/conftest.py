"""A broker, a fleet server as its own process, and a site that speaks through the link and nothing else."""

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_link.broker import Broker
from cloud_link.protocol.command import Ack, Command, command_hash, decode_command, encode_ack
from cloud_link.protocol.confirm import decode_confirm
from cloud_link.protocol.signing import Keyring, SigningKey, TrustedKey, key_id_of, trust_line
from cloud_link.protocol.sparkplug import DataType, Metric, Payload, decode, encode
from cloud_link.protocol.topics import ack_topic, command_topic, confirm_topic, sparkplug_topic
from cloud_link.transport import Address, Message, Transport

TENANT = "default"
WAIT_S = 10.0
NODE = {
    "site/battery_kw": 1,
    "site/lo_kw": 2,
    "site/hi_kw": 3,
    "site/winner": 4,
    "outbox/number": 5,
    "outbox/first": 6,
}
DEVICE = {"p_kw": 11, "soc": 12}
TYPES = dict.fromkeys(NODE | DEVICE, DataType.DOUBLE) | {
    "site/winner": DataType.STRING,
    "outbox/number": DataType.INT64,
    "outbox/first": DataType.INT64,
}


def _until(condition: Callable[[], object], wait_s: float = WAIT_S) -> None:
    """Wait until a condition holds; fail when it does not come."""
    end_s = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.005)


class FakeSite:
    """One site with an outbox in memory: births, reports, commands, confirmations."""

    def __init__(self, port: int, name: str, fleet: bytes, epoch: int = 7) -> None:
        self.name, self.epoch, self.key = name, epoch, SigningKey.generate()
        self.bd_seq, self.seq, self.number_kept, self.number = 0, 0, 1, 0
        self.values: dict[str, float | str] = {
            "site/battery_kw": 0.0, "site/lo_kw": -100.0, "site/hi_kw": 100.0, "site/winner": "plan",
        }  # fmt: skip
        self.rebirths, self.subscribed = 0, False
        self.births = True
        self.commands: queue.Queue[tuple[Command, bytes]] = queue.Queue()
        self.confirmed: list[int] = []
        self._fleet = Keyring({key_id_of(fleet): TrustedKey(fleet)})
        self.link = Transport(
            Address(port=port), f"site-{name}", on_message=self._received, on_up=self._up, will=self._will
        )

    def start(self) -> "FakeSite":
        """Connect, be born, and return when that was sent."""
        self.link.start()
        _until(lambda: self.subscribed)
        return self

    def stop(self) -> None:
        """Say goodbye: the death of this session, then disconnect."""
        self.link.stop(self._death())

    def publish(self, kind: str, metrics: Sequence[Metric], device: str | None = None) -> None:
        """Send one Sparkplug message with the next seq."""
        seq = self.seq % 256
        self.seq += 1
        types = kind.endswith("BIRTH")
        raw = encode(Payload(tuple(metrics), now_ms(), seq), with_types=types)
        self.link.publish(Message(sparkplug_topic(TENANT, kind, self.name, device), raw))

    def birth(self) -> None:
        """Send NBIRTH and one DBIRTH."""
        self.seq = 0
        node = [_metric(name, value, NODE[name], birth=True) for name, value in self.values.items()]
        node.append(Metric(None, "outbox/number", NODE["outbox/number"], DataType.INT64, now_ms()))
        node.append(Metric(self.bd_seq, "bdSeq", datatype=DataType.INT64))
        node.append(Metric(self.epoch, "outbox/epoch", datatype=DataType.INT64))
        node.append(_metric("outbox/first", self.number_kept, NODE["outbox/first"], birth=True))
        node.append(Metric(False, "Node Control/Rebirth", datatype=DataType.BOOLEAN))
        self.publish("NBIRTH", node)
        points = [_metric(name, 0.5, alias, birth=True) for name, alias in DEVICE.items()]
        self.publish("DBIRTH", points, "pcs-1")

    def report(self, number: int | None = None, history: bool = False) -> int:
        """Send one report: the device's news and the node's message that closes it; return its number."""
        if number is None:
            self.number = number = self.number + 1
        t_ms = 1000 + number if history else now_ms()
        device = [_metric("p_kw", float(number), DEVICE["p_kw"])]
        node = [_metric(name, value, NODE[name]) for name, value in self.values.items()]
        node += [_metric(name, number, NODE[name]) for name in ("outbox/first", "outbox/number")]
        for kind, metrics, owner in (("DDATA", device, "pcs-1"), ("NDATA", node, None)):
            told = [replace(metric, timestamp_ms=t_ms, is_historical=history) for metric in metrics]
            self.publish(kind, told, owner)
        return number

    def ack(
        self, raw: bytes, command_id: str, stage: str, *, code: str = "", actual_kw: float | None = None,
        key: SigningKey | None = None, site: str = "",
    ) -> None:  # fmt: skip
        """Answer a command."""
        ack = Ack(1, command_id, site or self.name, stage, code, now_ms(), actual_kw, "", command_hash(raw))
        self.link.publish(Message(ack_topic(TENANT, self.name), encode_ack(ack, key or self.key), 1))

    def next_command(self) -> tuple[Command, bytes]:
        """Return the next command with its bytes."""
        return self.commands.get(timeout=WAIT_S)

    def _will(self) -> Message:
        self.bd_seq = (self.bd_seq + 1) % 256
        return self._death()

    def _death(self) -> Message:
        metric = Metric(self.bd_seq, "bdSeq", datatype=DataType.INT64)
        raw = encode(Payload((metric,), now_ms()), with_types=True)
        return Message(sparkplug_topic(TENANT, "NDEATH", self.name), raw, 1)

    def _up(self, kept: bool) -> None:
        topics = [command_topic(TENANT, self.name), confirm_topic(TENANT, self.name)]
        topics.append(sparkplug_topic(TENANT, "NCMD", self.name))
        self.link.subscribe([(topic, 1) for topic in topics], self._granted)

    def _granted(self, granted: bool) -> None:
        assert granted
        if self.births:
            self.birth()
        self.subscribed = True

    def _received(self, message: Message) -> None:
        if "/NCMD/" in message.topic:
            payload = decode(message.payload)
            assert payload.metrics[0].name == "Node Control/Rebirth" and payload.metrics[0].value is True
            self.rebirths += 1
            self.birth()
        elif message.topic.endswith("/confirm"):
            confirm = decode_confirm(message.payload, self._fleet)
            assert (confirm.site, confirm.epoch) == (self.name, self.epoch)
            self.confirmed.append(confirm.number)
        else:
            self.commands.put((decode_command(message.payload, self._fleet), message.payload))


def _metric(name: str, value: float | str, alias: int, birth: bool = False) -> Metric:
    return Metric(value, name if birth else "", alias, TYPES[name], now_ms())


def now_ms() -> int:
    """Return UTC in ms."""
    return time.time_ns() // 1_000_000


class Fleet:
    """``fleet serve`` as a process of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.db = folder, port, folder / "fleet.db"
        folder.mkdir(parents=True, exist_ok=True)
        self.key = SigningKey.generate()
        self.key.save(folder / "fleet.key")
        self.process: subprocess.Popen[str] | None = None
        self._sites: list[FakeSite] = []

    def start(self) -> "Fleet":
        """Start and wait for ``ready``."""
        command = [sys.executable, "-c", "from aggregator.cli import main; main()", "serve"]
        command += ["--db", str(self.db), "--broker", f"mqtt://127.0.0.1:{self.port}"]
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "YUNCHU_LANG": "en"}
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def end(self, number: int = signal.SIGTERM) -> float:
        """End the process; return how long that took [s]."""
        if self.process is None:
            return 0.0
        began_s = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(WAIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return time.monotonic() - began_s

    def site(self, name: str, trusted: bool = True, **more: int) -> FakeSite:
        """Return a new site whose key the fleet trusts."""
        site = FakeSite(self.port, name, self.key.public, **more)
        if trusted:
            with (self.folder / "site-keys.toml").open("a") as file:
                file.write(trust_line(name, site.key.public, issuer=name))
        self._sites.append(site)
        return site

    def close(self) -> None:
        """End everything."""
        for site in self._sites:
            site.stop()
        self.end()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests of this folder."""
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def fleet(tmp_path: Path, broker: Broker) -> Iterator[Fleet]:
    """Build a fleet that is not started yet."""
    fleet = Fleet(tmp_path / "fleet", broker.port)
    yield fleet
    fleet.close()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait until a condition holds; fail when it does not come in time."""
    return _until
