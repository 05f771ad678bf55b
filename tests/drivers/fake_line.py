"""Simulated products, asked directly or on a pty, and SunSpec in them."""

import os
import select
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cython_ext.registers import crc16
from drivers.catalog.loader import FOLDER
from drivers.catalog.product import Product
from drivers.modbus.frames import Request
from drivers.scan import first_variant
from drivers.simulator.product import ProductDevice, Refusal
from drivers.simulator.sunspec import Map, Model
from models.errors import NoReply, Refused
from models.point import Role

BASE = 40_000
WORDS = {1: "illegal function", 2: "illegal address", 3: "illegal value"}
USUAL = {
    Role.FREQUENCY_HZ: 50.01,
    Role.V_V: 231.2,
    Role.SOC: 0.55,
    Role.SOH: 0.97,
    Role.P_KW: 12.3,
    Role.DC_V: 780.0,
}


def simulated(key: str) -> ProductDevice:
    """Return a device of the product, all registers zero, that answers its identity rules."""
    product = first_variant(key)
    device = ProductDevice(FOLDER / f"{key}.toml", (product.variants or ("",))[0])
    for rule in product.identity:
        if rule.how == "sunspec":
            words = Map([Model(1, {"Mn": rule.starts, "Md": rule.model or "X"})]).words
            device.space(3).update(zip(range(BASE, BASE + len(words)), words, strict=True))
    return device


def liven(device: ProductDevice, product: Product) -> None:
    """Show values as a site in operation has them; what fits into no register stays as it is."""
    known = {rule.address for rule in product.identity}
    for spec in product.points:
        if not spec.fn or spec.address in known:
            continue
        value = USUAL.get(spec.role, 3.0 if spec.hi > 3.0 else spec.hi / 2)
        try:
            if spec.map:
                device.put_raw(spec.name, next(iter(spec.map)))
            else:
                device.put(spec.name, value)
        except (ValueError, OverflowError):
            continue


def asked(device: ProductDevice) -> Callable[[Request], bytes]:
    """Return how to ask the device without a line; what it refuses or cannot is as on one."""

    def ask(request: Request) -> bytes:
        fn = request.pdu[0]
        if request.unit not in device.unit_ids:
            raise NoReply("nobody")
        if fn > 4:
            raise Refused("exception 1 (illegal function)", 1)
        _, address, count = struct.unpack(">BHH", request.pdu)
        try:
            words = device.read(request.unit, fn, address, count)
        except Refusal as refusal:
            raise Refused(f"exception {refusal.code} ({WORDS[refusal.code]})", refusal.code) from refusal
        if fn < 3:
            bits = sum(bool(word) << k for k, word in enumerate(words))
            return bits.to_bytes((count + 7) // 8, "little")
        return b"".join(word.to_bytes(2, "big") for word in words)

    return ask


@contextmanager
def serial_line(device: ProductDevice) -> Iterator[str]:
    """Serve a device on a pty and return its path; a frame is what comes in one piece."""
    master, slave = os.openpty()
    over, end = os.pipe()

    def serve() -> None:
        while True:
            ready, _, _ = select.select([master, over], [], [])
            if over in ready:
                return
            frame = os.read(master, 512)
            if len(frame) < 4 or crc16(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
                continue
            if (reply := _replied(device, frame[0], frame[1:-2])) is not None:
                body = frame[:1] + reply
                os.write(master, body + crc16(body).to_bytes(2, "little"))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        os.write(end, b"x")
        thread.join(5.0)
        for fd in (master, slave, over, end):
            os.close(fd)


def _replied(device: ProductDevice, unit: int, pdu: bytes) -> bytes | None:
    fn = pdu[0]
    if unit not in device.unit_ids:
        return None
    try:
        if fn in (6, 16):
            (address,) = struct.unpack(">H", pdu[1:3])
            data = pdu[3:5] if fn == 6 else pdu[6:]
            device.write(unit, fn, address, list(struct.unpack(f">{len(data) // 2}H", data)))
            return pdu[:5]
        data = asked(device)(Request(unit, pdu, b"", 0))
    except Refusal as refusal:
        return bytes((fn | 0x80, refusal.code))
    except Refused as error:
        return bytes((fn | 0x80, error.code))
    return bytes((fn, len(data))) + data
