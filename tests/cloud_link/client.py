"""A small MQTT client for tests, on the product's own transport."""

import threading
import time
from collections.abc import Callable

from cloud_link.transport import Address, Message, Transport

DEADLINE_S = 15.0


def until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> bool:
    """Poll until the condition holds; False when it never did."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.005)
    return True


class Peer:
    """Connects, subscribes, collects."""

    def __init__(
        self, port: int, name: str, *topics: str, session_s: int = 0, will: Message | None = None
    ) -> None:
        self.got: list[Message] = []
        self.ups: list[bool] = []
        self._topics = topics
        self._subscribed = threading.Event()
        self.transport = Transport(
            Address(port=port),
            name,
            on_message=self.got.append,
            on_up=self._up,
            will=(lambda: will) if will else None,
            session_s=session_s,
        )
        self.transport.start()
        assert self._subscribed.wait(DEADLINE_S), f"{name} is not let in"

    def _up(self, kept: bool) -> None:
        self.ups.append(kept)
        if self._topics:
            self.transport.subscribe([(t, 1) for t in self._topics], lambda good: self._subscribed.set())
        else:
            self._subscribed.set()

    def send(self, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None) -> None:
        """Publish with QoS 1 and wait for the broker's acknowledgement."""
        done = threading.Event()
        self.transport.publish(
            Message(topic, payload, 1, retain), expiry_s=expiry_s, on_done=lambda good: done.set()
        )
        assert done.wait(DEADLINE_S), "not acknowledged"

    def payloads(self) -> list[bytes]:
        """Return what came, in order."""
        return [message.payload for message in self.got]

    def close(self) -> None:
        """Disconnect in order: no will."""
        self.transport.stop()
