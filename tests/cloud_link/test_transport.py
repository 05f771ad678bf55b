"""The connection itself, over a real broker; and what a broker can do to it, over a bare socket."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_link.broker import HOST, Broker
from cloud_link.transport import LONGEST_WAIT_S, Address, Message, Transport, _Link, wait_s
from models.errors import LinkError
from tests.cloud_link.client import Peer, until


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", kind="nats") as broker:
        yield broker


def test_waits_grow_from_a_fifth_of_a_second_to_a_minute_with_jitter() -> None:
    for failures, base_s in [(0, 0.2), (1, 0.4), (5, 6.4), (9, LONGEST_WAIT_S), (10**6, LONGEST_WAIT_S)]:
        waits = [wait_s(failures) for _ in range(200)]
        assert min(waits) >= 0.5 * base_s and max(waits) <= 1.5 * base_s
        assert max(waits) - min(waits) > 0.5 * base_s


def test_the_older_protocol_is_taken_at_once_when_the_newer_one_is_refused(broker: Broker) -> None:
    peer = Peer(broker.port, "peer", "a")
    assert peer.transport.protocol == 4
    peer.send("a", b"x")
    assert until(lambda: peer.payloads() == [b"x"])
    assert peer.ups == [False]
    peer.close()


def test_the_socket_does_not_wait_for_company(broker: Broker) -> None:
    peer = Peer(broker.port, "peer")
    link = peer.transport._link
    assert link is not None
    sock = link.client.socket()
    assert isinstance(sock, socket.socket)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    peer.close()


def test_it_comes_back_by_itself_and_says_so(broker: Broker) -> None:
    peer = Peer(broker.port, "peer", "a")
    broker.kill()
    assert until(lambda: not peer.transport.connected)
    with pytest.raises(LinkError):
        peer.transport.publish(Message("a", b"x"))
    with pytest.raises(LinkError):
        peer.transport.subscribe([("a", 1)], lambda good: None)
    broker.start()
    assert until(lambda: len(peer.ups) == 2 and peer.transport.connects == 2)
    peer.send("a", b"again")
    assert until(lambda: b"again" in peer.payloads())
    peer.close()


def test_a_mistake_in_a_callback_does_not_cut_the_link(broker: Broker) -> None:
    up, calls = threading.Event(), []

    def fails(message: Message) -> None:
        calls.append(message)
        raise ValueError("a bug")

    transport = Transport(Address(port=broker.port), "t", on_message=fails, on_up=lambda kept: up.set())
    transport.start()
    assert up.wait(10)
    transport.subscribe([("a", 1)], lambda good: transport.publish(Message("a", b"1", 1)) and None)
    assert until(lambda: len(calls) == 1)
    transport.publish(Message("a", b"2", 1))
    assert until(lambda: len(calls) == 2) and transport.connected
    transport.stop()


def test_a_topic_that_cannot_be_is_an_error_of_the_caller(broker: Broker) -> None:
    peer = Peer(broker.port, "peer")
    with pytest.raises(LinkError):
        peer.transport.publish(Message("a/#", b"x"))
    assert peer.transport.connected
    peer.close()


def test_stopping_ends_all_threads_and_is_quick_whatever_the_state(broker: Broker) -> None:
    before = threading.active_count()
    never = Transport(Address(port=broker.port), "never", on_message=lambda m: None)
    never.stop()
    up = threading.Event()
    connected = Transport(Address(port=broker.port), "x", on_message=lambda m: None, on_up=lambda k: up.set())
    connected.start()
    assert up.wait(10)
    connected.stop(Message("bye", b"", 1))
    assert until(lambda: threading.active_count() == before)


@pytest.mark.parametrize(
    ("answer", "protocol"),
    [
        (b"\x20\x02\x00\x01", 4),  # 3.1.1 CONNACK: unacceptable protocol version
        (b"\x20\x03\x00\x84\x00", 4),  # MQTT 5 CONNACK: unsupported protocol version
        (b"\x20\x03\x00\x87\x00", 5),  # MQTT 5 CONNACK: not authorised; another version would not help
        (b"", 4),  # hangs up without a word, twice
        (b"\xff\xff\xff\xff\xff", 4),  # not MQTT at all
    ],
)
def test_what_a_broker_answers_decides_the_protocol(answer: bytes, protocol: int) -> None:
    with socket.create_server((HOST, 0)) as server:
        port, hellos = server.getsockname()[1], []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    hello = connection.recv(1000)
                    hellos.append(hello[8:9])
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        downs: list[str] = []
        transport = Transport(
            Address(port=port), "x", on_message=lambda m: None, on_down=downs.append, session_s=60
        )
        transport.start()
        assert until(lambda: len(hellos) >= 3)
        assert (b"\x04" in hellos) == (protocol == 4)
        assert hellos[0] == b"\x05" and not transport.connected
        transport.stop()
        server.shutdown(socket.SHUT_RDWR)


def test_a_lack_of_threads_is_one_more_failure_and_not_the_end(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, failures = _Link.open, iter([True])

    def poor(self: _Link, address: Address, will: Message | None) -> None:
        if next(failures, False):
            raise RuntimeError("can't start new thread")
        opened(self, address, will)

    monkeypatch.setattr(_Link, "open", poor)
    peer = Peer(broker.port, "peer", "a")
    assert until(lambda: peer.transport.connected)
    peer.close()
