"""node-opcua (JavaScript) as the server that our OPC UA driver reads, trusts, finds again and steers."""

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drivers.catalog.loader import load_product, points_of
from drivers.catalog.product import LinkSpec, PointSpec, Product, Register, SetRow, WriteSpec
from drivers.driver import Mail, Nameplate
from drivers.opcua import OpcUa
from drivers.opcua_security import Link, Security, create_client_certificate
from hil_tests.peers.rig import HOW, NS_PER_S, PEERS, ROOT, Program, Sink, edge, free_port, until
from models.point import Quality, Role, RunState
from models.proposal import Setpoint

FOLDER = PEERS / "node-opcua"
URI, KEY = "urn:yunchu:simulator:pv", "yunchu/pv60_opcua"


class Server(Program):
    """node-opcua with the demo inverter and a battery."""

    def __init__(self, scratch: Path, port: int = 0, others: int = 0) -> None:
        self.port = port or free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}/pv"
        script = Path(__file__).with_name("node_opcua_server.cjs")
        environment = {**os.environ, "HOME": str(scratch)}
        super().__init__("node", script, FOLDER, self.port, scratch, others, cwd=ROOT, env=environment)
        self.about: dict[str, Any] = json.loads(self.said)

    def _line(self) -> str:
        """Leave out what the library says of node."""
        while not (line := super()._line()).startswith(("{", "n", '"', "t", "f", "-", *"0123456789")) or (
            ":verify" in line
        ):
            pass
        return line

    def put(self, **values: object) -> None:
        """Put values."""
        self.tell(json.dumps({"set": values}))

    def get(self, name: str) -> Any:
        """Return a value as it is now."""
        return json.loads(self.tell(json.dumps({"get": name})))


class Rig:
    """Our driver on a link."""

    def __init__(
        self, stack: ExitStack, url: str, product: Product, security: Security | None = None
    ) -> None:
        self.sink, self.mail, self.events = Sink(product), Mail(), list[str]()
        self.driver = OpcUa(
            "pv-1",
            Link(url, security) if security else Link(url),
            product,
            points_of(product, "pv-1", "bat-1"),
            self.sink,
            nameplate=Nameplate(-50.0, 50.0),
            mail=self.mail,
            on_event=lambda code, _, what: self.events.append(f"{code} {what}"),
        )
        self.driver.start()
        stack.callback(self.driver.stop)

    def offer(self, p_kw: float, life_s: float = 30.0) -> None:
        """Give it a setpoint."""
        self.mail.newest = Setpoint("bat-1", p_kw, time.monotonic_ns() + round(life_s * NS_PER_S))

    def told(self, what: str) -> bool:
        """Whether an event says so."""
        return any(what in event for event in self.events)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its key and its certificates: made once."""
    if shutil.which("node") is None or not (FOLDER / "node_modules" / "node-opcua").exists():
        pytest.skip(f"no node-opcua: {HOW}")
    return tmp_path_factory.mktemp("node")


@pytest.fixture
def server(scratch: Path, stack: ExitStack) -> Server:
    return stack.enter_context(Server(scratch))


@pytest.fixture
def start(stack: ExitStack) -> Callable[..., Rig]:
    return lambda *about: Rig(stack, *about)


def mixed(**more: Any) -> Product:
    """Return a product with a browse path and node ids, and the battery's values."""
    kinds: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("p_kw", ("Inverter", "ActivePower")),
        ("q_kvar", (f"nsu={URI};s=ReactivePower",)),
        ("state", (f"nsu={URI};Inverter", "State")),
        ("shown_kw", (f"nsu={URI};s=Power",)),
        ("mode", ("Battery", "Mode")),
    )
    points = tuple(PointSpec(name, Role.OTHER, "", 0.2, 1.5, node=node) for name, node in kinds)
    return Product(
        key="test/mixed", vendor="test", product="mixed", kind="pcs", protocol="opcua", source=(),
        tested_on="", note="", variants=(), link=LinkSpec(namespace=URI), points=points, **more,
    )  # fmt: skip


def test_all_points_of_a_catalog_product_arrive_with_their_meaning(
    server: Server, start: Callable[..., Rig]
) -> None:
    rig = start(server.url, load_product(KEY))
    until(rig.sink.good)
    shown = {name: rig.sink.get(name) for name in rig.sink.names}
    assert shown == {
        "p_kw": 42.5, "q_kvar": -1.0, "e_export_kwh": 1000.25, "state": RunState.RUNNING,
        "irradiance_w_m2": 700.0, "heartbeat": 1.0, "p_limit_ratio": 1.0,
    }  # fmt: skip
    for p_kw in (10.25, -3.5, 60.0):
        server.put(ActivePower=p_kw, State=1)
        until(lambda p_kw=p_kw: rig.sink.get("p_kw") == p_kw)
    until(lambda: rig.sink.get("state") == RunState.STANDBY)
    assert rig.sink.seen["p_kw"] <= {42.5, 10.25, -3.5, 60.0}
    assert rig.driver.counters.reconnects == 0


def test_a_constant_value_stays_good_and_a_bad_one_becomes_bad(
    server: Server, start: Callable[..., Rig]
) -> None:
    rig = start(server.url, mixed())
    until(rig.sink.good)
    first_ns = int(rig.sink.t_ns.min())
    until(lambda: int(rig.sink.t_ns.min()) - first_ns > 3 * NS_PER_S)
    assert rig.sink.good()
    server.tell('{"bad": "ReactivePower"}')
    until(lambda: rig.sink.quality[1] == Quality.BAD)
    assert rig.sink.good("p_kw")
    server.put(ReactivePower=7.0)
    until(lambda: rig.sink.get("q_kvar") == 7.0)
    assert rig.driver.counters.reconnects == 0


def test_a_server_that_hangs_makes_everything_stale_and_is_taken_up_again(
    server: Server, start: Callable[..., Rig]
) -> None:
    rig = start(server.url, mixed())
    until(rig.sink.good)
    server.tell('{"hold": 4000}')
    until(lambda: set(rig.sink.quality) == {Quality.STALE})
    until(rig.sink.good)


def test_a_restart_with_another_namespace_index_is_no_trouble(
    scratch: Path, stack: ExitStack, start: Callable[..., Rig]
) -> None:
    first = stack.enter_context(Server(scratch))
    rig = start(first.url, mixed())
    until(rig.sink.good)
    first.kill()
    until(lambda: set(rig.sink.quality) == {Quality.STALE})
    second = stack.enter_context(Server(scratch, first.port, others=3))
    assert second.about["index"] == first.about["index"] + 3
    second.put(ActivePower=17.0)
    until(lambda: rig.sink.get("p_kw") == 17.0, 30.0)
    assert rig.sink.good()
    assert rig.sink.seen["p_kw"] == {42.5, 17.0}


@pytest.fixture
def security(server: Server, tmp_path: Path) -> Security:
    certificate, key = create_client_certificate(tmp_path)
    return Security("sign_and_encrypt", certificate, key, Path(server.about["certificate"]))


@pytest.mark.parametrize("mode", ["sign", "sign_and_encrypt"])
def test_a_secure_link_brings_values_once_both_sides_trust_each_other(
    server: Server, start: Callable[..., Rig], security: Security, mode: Any
) -> None:
    wanted = replace(security, mode=mode)
    stranger = start(server.url, mixed(), wanted)
    until(lambda: stranger.driver.counters.reconnects > 0)
    assert set(stranger.sink.quality) == {Quality.BAD}, "the server does not know us yet"
    server.tell(json.dumps({"trust": str(security.cert_file)}))
    until(stranger.sink.good, 30.0)
    assert stranger.sink.get("p_kw") == 42.5


def test_a_user_comes_in_by_password_alone(
    server: Server, start: Callable[..., Rig], security: Security, tmp_path: Path
) -> None:
    server.tell(json.dumps({"trust": str(security.cert_file)}))
    for name, password in (("right", "of these tests"), ("wrong", "of others")):
        (tmp_path / name).write_text(f"{password}\n")
    known = start(server.url, mixed(), replace(security, username="edge", password_file=tmp_path / "right"))
    until(known.sink.good)
    other = start(server.url, mixed(), replace(security, username="edge", password_file=tmp_path / "wrong"))
    until(lambda: other.driver.counters.refused > 0)
    assert set(other.sink.quality) == {Quality.BAD}


def test_a_server_of_another_certificate_gets_no_link(
    server: Server, start: Callable[..., Rig], security: Security
) -> None:
    rig = start(server.url, mixed(), replace(security, server_cert_file=security.cert_file))
    until(lambda: rig.told("DRV-020"))
    assert rig.told("is not trusted")
    assert set(rig.sink.quality) == {Quality.BAD}


def at(name: str, scale: float = 1.0) -> Register:
    return Register(node=("Battery", name), scale=scale)


ROWS = (
    SetRow(at("Mode"), "by_sign", by_sign=(1.0, 0.0, 2.0)),
    SetRow(Register(node=(f"nsu={URI};s=Power",)), "p_kw"),
    SetRow(at("Whole", 0.001), "p_kw"),
)
OFF = (SetRow(at("Mode"), "constant", 9.0), SetRow(at("Power"), "constant", 0.0))
WRITE = WriteSpec(rows=ROWS, refresh_s=60.0, heartbeat=at("Alive"), readback="shown_kw", release=OFF)


def test_a_setpoint_is_written_read_back_and_handed_back(server: Server, start: Callable[..., Rig]) -> None:
    rig = start(server.url, mixed(write=WRITE))
    until(rig.sink.good)
    assert rig.driver.counters.writes == 0
    for p_kw, mode in ((12.5, 2), (-7.25, 1), (0.0, 0), (50.0, 2)):
        rig.offer(p_kw)
        until(lambda p_kw=p_kw: server.get("Power") == p_kw)
        until(lambda p_kw=p_kw: server.get("Whole") == round(p_kw * 1000))
        assert server.get("Mode") == mode
        until(lambda p_kw=p_kw: rig.sink.get("shown_kw") == p_kw)
    assert not rig.told("DRV-011")
    server.put(Power=3.0)  # somebody else
    until(lambda: rig.told("DRV-011"))
    until(lambda: server.get("Power") == 50.0)
    until(lambda: rig.told("DRV-012"))
    rig.offer(50.1)
    until(lambda: rig.told("DRV-008"))
    rig.offer(20.0, life_s=0.5)
    until(lambda: server.get("Power") == 20.0)
    until(lambda: (server.get("Mode"), server.get("Power")) == (9, 0.0))
    until(lambda: rig.told("DRV-013"))


def test_a_write_that_the_server_refuses_is_told(server: Server, start: Callable[..., Rig]) -> None:
    spec = WriteSpec(rows=(SetRow(Register(node=("Inverter", "ActivePower")), "p_kw"),), refresh_s=60.0)
    rig = start(server.url, mixed(write=spec))
    until(rig.sink.good)
    rig.offer(5.0)
    until(lambda: rig.told("DRV-006"))
    assert server.get("ActivePower") == 42.5
    assert rig.sink.good("p_kw")


def test_edge_scan_shows_the_nodes_as_a_catalog_file_names_them(server: Server, tmp_path: Path) -> None:
    done = edge(tmp_path, "scan", "opcua", server.url, "--json")
    assert done.returncode == 0, done.stderr
    nodes = {node["path"]: node for node in json.loads(done.stdout)["data"]}
    (found,) = [node for path, node in nodes.items() if "ActivePower" in path and "Limit" not in path]
    assert "42.5" in str(found["value"])
    assert f"nsu={URI};s=ActivePower" in found["node"]
