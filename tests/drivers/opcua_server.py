"""A real OPC UA server with the demo inverter, for tests: it can hang, restart and renumber."""

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole

T = TypeVar("T")


class Users:
    """Anybody, and one user by name."""

    PASSWORD = hashlib.sha256(b"of these tests").hexdigest()

    def get_user(
        self, _: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        if username is None or (username, password) == ("edge", self.PASSWORD):
            return User(role=UserRole.User)
        return None


@dataclass
class Guard:
    """Security of the server."""

    uri: str
    certificate: Path
    key: Path
    policies: list[ua.SecurityPolicyType]
    users: Any = None


class Plant:
    """An OPC UA server with the demo inverter, in a thread of its own."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"opc.tcp://127.0.0.1:{self.port}/pv/"
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.nodes: dict[str, Any] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20.0)

    async def _start(self, others: int, guard: Guard | None) -> None:
        self.server = Server(user_manager=guard and guard.users)
        await self.server.init()
        self.server.set_endpoint(self.url)
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        if guard is not None:
            await self.server.set_application_uri(guard.uri)
            await self.server.load_certificate(guard.certificate)
            await self.server.load_private_key(guard.key)
            self.server.set_security_policy(guard.policies)
        for number in range(others):
            await self.server.register_namespace(f"urn:somebody:{number}")
        index = await self.server.register_namespace(self.uri)
        inverter = await self.server.nodes.objects.add_object(index, "Inverter")
        for name, value, kind in (
            ("ActivePower", 42.5, ua.VariantType.Double),
            ("ReactivePower", -1.0, ua.VariantType.Double),
            ("EnergyTotal", 1000.25, ua.VariantType.Double),
            ("State", 3, ua.VariantType.Int32),
            ("Irradiance", 700.0, ua.VariantType.Double),
            ("Heartbeat", 1, ua.VariantType.UInt32),
            ("ActivePowerLimit", 100.0, ua.VariantType.Double),
        ):
            self.nodes[name] = await inverter.add_variable(index, name, value, kind)
        battery = await self.server.nodes.objects.add_object(index, "Battery")
        for name, value, kind in (
            ("Mode", 0, ua.VariantType.Byte),
            ("Power", 0.0, ua.VariantType.Float),
            ("Whole", 0, ua.VariantType.Int32),
            ("Alive", False, ua.VariantType.Boolean),
            ("Text", "", ua.VariantType.String),
        ):
            self.nodes[name] = await battery.add_variable(index, name, value, kind)
            await self.nodes[name].set_writable()
        await self.server.start()

    def start(self, others: int = 0, guard: Guard | None = None) -> None:
        self.do(self._start(others, guard))

    def read(self, name: str) -> Any:
        return self.do(self.nodes[name].read_value())

    def write(self, name: str, value: Any, status: int = 0) -> None:
        kind = {
            "State": ua.VariantType.Int32,
            "Heartbeat": ua.VariantType.UInt32,
            "Power": ua.VariantType.Float,
            "Whole": ua.VariantType.Int32,
        }
        variant = ua.Variant(value, kind.get(name, ua.VariantType.Double))
        data = ua.DataValue(variant, StatusCode=ua.StatusCode(status))
        self.do(self.nodes[name].write_attribute(ua.AttributeIds.Value, data))

    def hang(self) -> threading.Event:
        """Stop the server's thread until the event is set; connections stay open."""
        go_on = threading.Event()
        self.loop.call_soon_threadsafe(go_on.wait)
        return go_on

    def stop(self) -> None:
        self.do(self.server.stop())

    async def _cancel_rest(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def close(self) -> None:
        self.do(self._cancel_rest())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5.0)
        self.loop.close()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
