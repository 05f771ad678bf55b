"""Round trip of a QoS 1 message over a broker on loopback: our transport, and paho as it comes.

Measured: from publish to the arrival at a subscription of the same client, one message at a time; the sides
take turns message by message on the same broker (mosquitto when installed, else the embedded one, which keeps
QoS 1 messages on disk). paho with TCP_NODELAY shows what that one socket option is worth. Not measured: TLS,
a real network, throughput.
"""

import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.measure import Row, quantile, report, wants_json
from cloud_link.broker import Broker
from cloud_link.transport import Address, Message, Transport

ROUNDS, WARM = 150, 10
WAIT_S = 10.0
PAYLOAD = bytes(200)
OURS, PAHO, PAHO_NODELAY = "our transport", "paho as it comes", "paho with TCP_NODELAY"


class Ours:
    """Our transport with one subscription to its own messages."""

    def __init__(self, port: int) -> None:
        self.arrived, ready, up = threading.Event(), threading.Event(), threading.Event()
        self.link = Transport(
            Address(port=port),
            "bench-ours",
            on_message=lambda message: self.arrived.set(),
            on_up=lambda kept: up.set(),
        )
        self.link.start()
        _await(up)
        self.link.subscribe([("bench/ours", 1)], lambda good: ready.set())
        _await(ready)

    def publish(self) -> None:
        self.link.publish(Message("bench/ours", PAYLOAD, qos=1))

    def close(self) -> None:
        self.link.stop()


class Peer:
    """paho's client with its own network thread."""

    def __init__(self, port: int, name: str, no_delay: bool) -> None:
        self.arrived, ready, up = threading.Event(), threading.Event(), threading.Event()
        self.topic = f"bench/{name}"
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"bench-{name}")
        self.client.on_connect = lambda *_: up.set()
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda *_: self.arrived.set()
        if no_delay:
            self.client.on_socket_open = _no_delay
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        _await(up)
        self.client.subscribe(self.topic, 1)
        _await(ready)

    def publish(self) -> None:
        self.client.publish(self.topic, PAYLOAD, qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def _no_delay(client: Any, data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _await(event: threading.Event) -> None:
    if not event.wait(WAIT_S):
        raise SystemExit("the broker does not answer")
    event.clear()


def trip_us(publish: Callable[[], None], arrived: threading.Event) -> float:
    """Send one message and wait until it is back; return the time in us."""
    start_ns = time.monotonic_ns()
    publish()
    _await(arrived)
    return (time.monotonic_ns() - start_ns) / 1000


def measure(port: int) -> dict[str, dict[str, float]]:
    """Return the round trips of each side."""
    sides: dict[str, Ours | Peer] = {}
    took: dict[str, list[float]] = {OURS: [], PAHO: [], PAHO_NODELAY: []}
    try:
        sides[OURS] = Ours(port)
        sides[PAHO] = Peer(port, "plain", no_delay=False)
        sides[PAHO_NODELAY] = Peer(port, "nodelay", no_delay=True)
        for number in range(WARM + ROUNDS):
            for name, side in sides.items():
                us = trip_us(side.publish, side.arrived)
                if number >= WARM:
                    took[name].append(us)
    finally:
        for side in sides.values():
            side.close()
    return {
        name: {"p50_us": statistics.median(us), "p99_us": quantile(us, 0.99), "max_us": max(us)}
        for name, us in took.items()
    }


def main() -> None:
    """Measure and report."""
    as_json = wants_json(__doc__)
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        found, kind = measure(broker.port), broker.kind
    ratios = {name: side["p50_us"] / found[OURS]["p50_us"] for name, side in found.items()}
    rows: list[Row] = [
        (name, *(us / 1000 for us in side.values()), ratios[name]) for name, side in found.items()
    ]
    report(
        as_json,
        {"benchmark": "mqtt", "broker": kind, "sides": found, "ratio_of_paho_p50": ratios[PAHO]},
        ("QoS 1, 200 bytes", "p50 ms", "p99", "max", "ratio"),
        rows,
        f"{ROUNDS} round trips each, in turn, over {kind}; ratio of the medians to our transport",
    )


if __name__ == "__main__":
    main()
