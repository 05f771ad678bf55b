"""A tiny fleet: announces itself, believes what is proven, confirms what it has, and commands."""

import json
import threading
import time
from itertools import count

from cloud_link.protocol.command import Ack, Command, decode_ack, encode_command
from cloud_link.protocol.confirm import Confirm, encode_confirm
from cloud_link.protocol.report import (
    BD_SEQ,
    OUTBOX_EPOCH,
    OUTBOX_FIRST,
    OUTBOX_NUMBER,
    add_range,
    contiguous,
)
from cloud_link.protocol.signing import Keyring, SigningKey
from cloud_link.protocol.sparkplug import DataType, Metric, Payload, decode, encode
from cloud_link.protocol.topics import (
    FLEET_HOST,
    ack_topic,
    command_topic,
    confirm_topic,
    sparkplug_topic,
    state_topic,
)
from cloud_link.transport import Address, Message, Transport

TENANT, SITE = "tenant", "demo"


class Host:
    """Everything it has heard is kept, for the test to look at."""

    def __init__(self, port: int, key: SigningKey, site_keys: Keyring) -> None:
        self.confirming = True
        self.kinds: list[str] = []
        self.numbers: list[tuple[int, int]] = []
        self.known: list[tuple[int, int]] = []
        self.history: set[int] = set()
        self.epoch = 0
        self.latest: dict[tuple[str, str], object] = {}
        self.bd_seqs: list[object] = []
        self.deaths: list[object] = []
        self.gaps = 0
        self.acks: list[Ack] = []
        self.ready = threading.Event()
        self._key, self._site_keys = key, site_keys
        self._alias: dict[int, tuple[str, str, int]] = {}
        self._seq = -1
        self._believes = False
        self._counter = count(1)
        self._born_ms = 0
        self._transport = Transport(
            Address(port=port),
            FLEET_HOST,
            on_message=self._on_message,
            on_up=lambda kept: self._on_up(),
            will=self._will,
        )
        self._transport.start()

    def _state(self, online: bool) -> Message:
        payload = json.dumps({"online": online, "timestamp": self._born_ms}).encode()
        return Message(state_topic(FLEET_HOST), payload, 1, True)

    def _will(self) -> Message:
        self._born_ms = time.time_ns() // 1_000_000
        return self._state(False)

    def _on_up(self) -> None:
        self._believes = False
        topics = [(f"spBv1.0/{TENANT}/#", 1), (ack_topic(TENANT, SITE), 1)]
        self._transport.subscribe(topics, lambda good: self._announce())

    def _announce(self) -> None:
        self._transport.publish(self._state(True))
        self.ready.set()

    def _on_message(self, message: Message) -> None:
        if message.topic == ack_topic(TENANT, SITE):
            self.acks.append(decode_ack(message.payload, self._site_keys))
            return
        _, _, kind, *where = message.topic.split("/")
        device = where[1] if len(where) > 1 else ""
        self.kinds.append(f"{kind} {device}".strip())
        payload = decode(message.payload, {alias: meaning[2] for alias, meaning in self._alias.items()})
        if kind == "NDEATH":
            self.deaths.append(payload.metrics[0].value)
            return
        if not self._believes and kind != "NBIRTH":
            self.ask_rebirth()
            return
        if kind.endswith("BIRTH"):
            self._learn(kind, device, payload)
        elif payload.seq != (self._seq + 1) % 256:
            self.gaps += 1
        self._seq = payload.seq if payload.seq is not None else self._seq
        self._take(kind, payload)

    def _learn(self, kind: str, device: str, payload: Payload) -> None:
        values = {metric.name: metric.value for metric in payload.metrics}
        if kind == "NBIRTH":
            self._believes = True
            self._alias.clear()
            self.bd_seqs.append(values[BD_SEQ])
            epoch, first = values[OUTBOX_EPOCH], values[OUTBOX_FIRST]
            assert isinstance(epoch, int) and isinstance(first, int)
            self.epoch = epoch
        for metric in payload.metrics:
            if metric.alias is not None:
                self._alias[metric.alias] = (device, metric.name, metric.datatype)

    def _take(self, kind: str, payload: Payload) -> None:
        found: dict[str, object] = {}
        historical = any(metric.is_historical for metric in payload.metrics)
        for metric in payload.metrics:
            if metric.alias is not None:
                device, name, _ = self._alias[metric.alias]
                found[name] = metric.value
                if not historical:
                    self.latest[device, name] = metric.value
        first, number = found.get(OUTBOX_FIRST), found.get(OUTBOX_NUMBER)
        if kind == "NDATA" and isinstance(first, int) and isinstance(number, int):
            self.numbers.append((first, number))
            self.known = add_range(self.known, first, number)
            if historical:
                self.history.add(number)
            if self.confirming:
                self.confirm()

    def confirm(
        self, key: SigningKey | None = None, epoch: int | None = None, number: int | None = None
    ) -> None:
        """Say what is stored, or what the test wants to be said."""
        upto = contiguous(self.known) if number is None else number
        confirm = Confirm(1, SITE, self.epoch if epoch is None else epoch, upto)
        raw = encode_confirm(confirm, key or self._key)
        self._transport.publish(Message(confirm_topic(TENANT, SITE), raw, 1))

    def ask_rebirth(self, value: bool | str = True) -> None:
        """Send an NCMD."""
        kind = DataType.BOOLEAN if isinstance(value, bool) else DataType.STRING
        raw = encode(Payload((Metric(value, "Node Control/Rebirth", None, kind, 1),), 1), with_types=True)
        self._transport.publish(Message(sparkplug_topic(TENANT, "NCMD", SITE), raw))

    def make(self, p_kw: float, valid_ms: int = 15_000, kind: str = "setpoint") -> Command:
        """A command of now with the next number."""
        n, now_ms = next(self._counter), time.time_ns() // 1_000_000
        return Command(1, f"c{n}", "fleet", SITE, "site", kind, p_kw, now_ms, now_ms + valid_ms, n, "test")

    def send(self, command: Command, key: SigningKey | None = None) -> bytes:
        """Sign and send a command."""
        raw = encode_command(command, key or self._key)
        self.send_raw(raw)
        return raw

    def send_raw(self, raw: bytes, retain: bool = False) -> None:
        """Send bytes on the command topic."""
        self._transport.publish(Message(command_topic(TENANT, SITE), raw, 1, retain))

    def stages(self, command: Command) -> list[tuple[str, str]]:
        """Return (stage, code) of the acknowledgements of a command, in the order of arrival."""
        return [(ack.stage, ack.code) for ack in self.acks if ack.command_id == command.id]

    def close(self) -> None:
        """Leave in order: say that the fleet is offline."""
        self._transport.stop(self._state(False))
