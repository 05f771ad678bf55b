"""Urls of lines, the tap, and connections inside TLS that prove who is there."""

import os
import re
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from benchmarks.certificate import write_certificates
from drivers.modbus.line import Endpoint, Line, LineLost, parse_url
from models.errors import ConfigError, NoReply

URLS = [
    # url, endpoint, whether frames look as on a serial line, the silence between them in ns
    ("tcp://10.0.0.7", Endpoint("10.0.0.7", 502), False, 0),
    ("tcp://inverter.local:5020/", Endpoint("inverter.local", 5020), False, 0),
    ("tls://10.0.0.7?ca=/ca.pem", Endpoint("10.0.0.7", 802, ca="/ca.pem"), False, 0),
    (
        "tls://a:8802?ca=/ca&cert=/c&key=/k",
        Endpoint("a", 8802, ca="/ca", cert="/c", key="/k"),
        False,
        0,
    ),
    ("rtu+tcp://moxa:4001", Endpoint("moxa", 4001, baud=9600, serial_server=True), True, 0),
    ("rtu+tcp://moxa:4001?baud=2400", Endpoint("moxa", 4001, baud=2400, serial_server=True), True, 0),
    ("rtu:///dev/ttyS1", Endpoint(path="/dev/ttyS1"), True, 1_822_916),
    (
        "rtu:///dev/ttyS1?baud=9600&parity=E&stop=2",
        Endpoint(path="/dev/ttyS1", baud=9600, parity="E", stop=2),
        True,
        4_375_000,
    ),
    ("rtu:///dev/ttyS1?baud=115200", Endpoint(path="/dev/ttyS1", baud=115_200), True, 1_750_000),
    ("dlt645:///dev/ttyS1", Endpoint(path="/dev/ttyS1", baud=2400, parity="E"), True, 16_041_666),
]


@pytest.mark.parametrize(("url", "endpoint", "serial_frames", "silence_ns"), URLS)
def test_a_url_says_where_the_line_ends(url, endpoint, serial_frames, silence_ns) -> None:
    assert parse_url(url) == endpoint
    assert endpoint.serial_frames == serial_frames
    assert abs(endpoint.silence_ns - silence_ns) <= 2


WRONG = [
    # url, what is wrong, what to do
    ("http://10.0.0.7", "no kind of line 'http'", "Write tcp://.* or rtu:///"),
    ("10.0.0.7:502", "no kind of line", "Write tcp"),
    ("tcp://", "a host and a port are needed", "Write tcp"),
    ("tcp://a:70000", "Port out of range", "Write tcp"),
    ("tcp://a:502?baud=9600", "unknown option baud", "Write tcp"),
    ("tcp://a:502/unit", "nothing more", "Write tcp"),
    ("tcp://a:502?what", "bad query field", "Write tcp"),
    ("tls://a", "TLS without a ca proves nothing", "Write tls"),
    ("tls://a?ca=/ca&cert=/c", "cert and key belong together", "Write tls"),
    ("rtu+tcp://a:4001?parity=E", "unknown option parity", "Write rtu\\+tcp"),
    ("rtu+tcp://a:4001?baud=1", "baud 1 is none of 300, 600", "Write rtu\\+tcp"),
    ("rtu://dev/ttyS1", "begins with three slashes", "Write rtu:///"),
    ("rtu:///dev/ttyS1?baud=fast", "baud fast is none of", "Write rtu:///"),
    ("rtu:///dev/ttyS1?stop=3", "stop 3 is none of 1, 2", "Write rtu:///"),
    ("rtu:///dev/ttyS1?parity=X", "parity X is none of N, E, O", "Write rtu:///"),
    ("dlt645:///dev/ttyS1?speed=2400", "unknown option speed", "Write dlt645"),
]


@pytest.mark.parametrize(("url", "what", "do"), WRONG)
def test_a_url_that_cannot_be_is_a_problem_with_a_remedy(url, what, do) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        parse_url(url)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("DRV-101", url)
    assert re.search(do, problem.do)


def test_the_tap_sees_every_byte_of_both_directions(bench) -> None:
    line = Line(parse_url(bench.tcp(bench.Peer()).url()))
    seen: list[tuple[str, int, bytes]] = []
    line.tap = lambda direction, t_ns, data: seen.append((direction, t_ns, data))
    before_ns = time.monotonic_ns()
    line.open()
    asked = bytes.fromhex("0007 0000 0006 01 03 0000 0001")
    line.send(asked)
    answer = line.receive(time.monotonic_ns() + 5_000_000_000)
    line.close()
    assert [(direction, data) for direction, _, data in seen] == [("tx", asked), ("rx", answer)]
    assert before_ns <= seen[0][1] <= seen[1][1] <= time.monotonic_ns()


class TlsEcho(threading.Thread):
    """Accepts one connection at a time and sends back what comes."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", client_ca: Path | None = None) -> None:
        super().__init__(daemon=True)
        self.ca, cert, key = write_certificates(folder, host)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        if client_ca:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(client_ca)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tls://127.0.0.1:{self.listener.getsockname()[1]}?ca="
        self.start()

    def run(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            plain.settimeout(5.0)
            try:
                with self.context.wrap_socket(plain, server_side=True) as connection:
                    while data := connection.recv(100_000):
                        connection.sendall(data)
            except OSError:
                plain.close()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join(6.0)


@pytest.fixture
def folder(tmp_path: Path):
    def make(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name

    return make


def exchanged(line: Line, data: bytes) -> bytes:
    line.send(data)
    got = b""
    while len(got) < len(data):
        got += line.receive(time.monotonic_ns() + 5_000_000_000)
    return got


def test_inside_tls_nothing_that_was_decrypted_waits_unseen(bench, folder) -> None:
    """More than one record, and more than one read takes."""
    echo = TlsEcho(folder("server"))
    bench.stack.callback(echo.close)
    line = Line(parse_url(f"{echo.url}{echo.ca}"))
    line.open()
    bench.stack.callback(line.close)
    for size in (1, 12, 5000, 40_000):
        data = os.urandom(size)
        assert exchanged(line, data) == data
    with pytest.raises(NoReply):
        line.receive(time.monotonic_ns() + 1_000_000)
    line.open()
    assert exchanged(line, b"again") == b"again"


def test_a_server_that_is_not_who_it_should_be_is_refused(bench, folder) -> None:
    echo, other = TlsEcho(folder("server")), TlsEcho(folder("other"), host="127.0.0.2")
    bench.stack.callback(echo.close)
    bench.stack.callback(other.close)
    strangers, _, _ = write_certificates(folder("strangers"))
    for url, what in (
        (f"{echo.url}{strangers}", "not believed: unable to get local issuer|not believed: .*signature"),
        (f"{other.url}{other.ca}", "not believed: IP address mismatch"),
        (f"{echo.url}/nowhere/ca.pem", "/nowhere/ca.pem cannot be used: No such file"),
        (f"{echo.url}{echo.ca}&cert=/nowhere/c&key=/nowhere/k", "/nowhere/c with /nowhere/k cannot be used"),
        (f"{bench.tcp(bench.Peer()).url().replace('tcp', 'tls')}?ca={echo.ca}", "127.0.0.1"),
    ):
        with pytest.raises(LineLost, match=what):
            Line(parse_url(url)).open()


def test_a_server_that_wants_to_know_us_gets_our_certificate(bench, folder) -> None:
    our_ca, cert, key = write_certificates(folder("us"))
    echo = TlsEcho(folder("server"), client_ca=our_ca)
    bench.stack.callback(echo.close)
    line = Line(parse_url(f"{echo.url}{echo.ca}&cert={cert}&key={key}"))
    line.open()
    assert exchanged(line, b"known") == b"known"
    line.close()
    stranger = Line(parse_url(f"{echo.url}{echo.ca}"))
    with pytest.raises(LineLost, match=r"TLS|reset|closed|Broken"):  # TLS 1.3 tells it with the first bytes
        stranger.open()
        exchanged(stranger, b"unknown")
    stranger.close()
