"""The same table of checks on every broker that is installed, over real sockets."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_link.broker import HOST, Broker, available
from cloud_link.transport import Message
from models.errors import LinkError
from tests.cloud_link.client import Peer, until


@pytest.fixture(params=available())
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", kind=request.param) as broker:
        yield broker
    assert not broker.running


def test_a_broker_can_be_started_here() -> None:
    assert available(), "neither mosquitto nor nats-server is installed"


def test_a_retained_message_greets_a_late_subscriber(broker: Broker) -> None:
    host = Peer(broker.port, "host")
    host.send("spBv1.0/STATE/yunchu-fleet", b'{"online":true}', retain=True)
    site = Peer(broker.port, "site", "spBv1.0/STATE/yunchu-fleet")
    assert until(lambda: site.got)
    assert (site.got[0].payload, site.got[0].retain) == (b'{"online":true}', True)
    host.send("spBv1.0/STATE/yunchu-fleet", b'{"online":false}', retain=True)
    assert until(lambda: len(site.got) == 2)
    site.close()
    host.close()


def test_a_will_is_published_when_a_client_vanishes_and_only_then(broker: Broker) -> None:
    host = Peer(broker.port, "host", "w/#")
    polite = Peer(broker.port, "polite", will=Message("w/polite", b"", 1))
    cut = Peer(broker.port, "cut", will=Message("w/cut", b"gone", 1))
    polite.close()
    link = cut.transport._link
    assert link is not None
    sock = link.client.socket()
    assert sock is not None
    sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr, unused-ignore]
    assert until(lambda: host.got)
    assert host.payloads() == [b"gone"]
    cut.close()
    host.close()


@pytest.mark.parametrize("crash", [False, True], ids=["orderly", "kill -9"])
def test_messages_for_an_absent_session_outlive_the_broker(broker: Broker, crash: bool) -> None:
    """mosquitto writes each 2 s, so a crash may cost it the newest messages; NATS writes at once."""
    site = Peer(broker.port, "site", "yunchu/v1/t/demo/command", session_s=3600)
    site.close()
    fleet = Peer(broker.port, "fleet")
    fleet.send("spBv1.0/STATE/x", b"here", retain=True)
    sent = [b"%d" % number for number in range(40)]
    for payload in sent:
        fleet.send("yunchu/v1/t/demo/command", payload)
    fleet.close()
    broker.kill() if crash else broker.stop()
    broker.start()
    late = Peer(broker.port, "late", "spBv1.0/STATE/x")
    site = Peer(broker.port, "site", "yunchu/v1/t/demo/command", session_s=3600)
    if broker.kind == "nats" or not crash:
        assert until(lambda: len(site.got) >= len(sent)), site.payloads()
        assert site.payloads() == sent
        assert site.ups == [True]
        assert until(lambda: late.payloads() == [b"here"])
    site.close()
    late.close()


def test_an_expired_message_is_not_delivered_where_mqtt_5_is_spoken(broker: Broker) -> None:
    site = Peer(broker.port, "site", "c", session_s=3600)
    site.close()
    fleet = Peer(broker.port, "fleet", "probe")
    assert fleet.transport.protocol == (5 if broker.kind == "mosquitto" else 4)
    fleet.send("c", b"old", expiry_s=1)
    fleet.send("c", b"timeless")
    if fleet.transport.protocol == 5:
        until(lambda: False, 2.2)  # only the broker's own clock can tell; nothing can be polled meanwhile
    site = Peer(broker.port, "site", "c", session_s=3600)
    assert until(lambda: b"timeless" in site.payloads())
    assert (b"old" in site.payloads()) == (fleet.transport.protocol == 4)
    site.close()
    fleet.close()


def test_it_listens_on_loopback_only(broker: Broker) -> None:
    """Every listening socket of the process is on 127.0.0.1, looked up in the kernel's own tables."""
    fds = Path(f"/proc/{broker.pid}/fd").iterdir()
    inodes = {link.split("[")[1][:-1] for fd in fds if (link := str(fd.readlink())).startswith("socket:[")}
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1].split(":")[0])
    assert listening and set(listening) == {"0100007F"}


def test_garbage_does_not_hurt_it(broker: Broker) -> None:
    for noise in (b"\x00" * 64, b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)), b"\x10\xff\xff\xff\x7f"):
        with socket.create_connection((HOST, broker.port)) as sock:
            sock.sendall(noise)
    Peer(broker.port, "alive", "a").close()
    assert broker.running


def test_a_taken_port_is_said(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="taken"):
        Broker(tmp_path / "second", port=broker.port, kind=broker.kind).start()


def test_an_unknown_kind_is_said(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="demo"):
        Broker(tmp_path, kind="hivemq")


def test_a_broker_does_not_outlive_the_program_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from cloud_link.broker import Broker\n"
        "broker = Broker(Path(sys.argv[1])); broker.start()\n"
        "sys.stdout.write(f'{broker.port}\\n'); sys.stdout.flush(); time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    program = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=root)
    with program:
        assert program.stdout is not None
        port = int(program.stdout.readline())
        program.kill()
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
        except OSError:
            return
        time.sleep(0.05)
    pytest.fail("the broker still answers")
