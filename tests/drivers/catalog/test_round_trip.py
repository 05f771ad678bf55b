"""Every product of the catalog: values of a simulated device come out of our decoding, and setpoints go in.

The simulated device reads the catalog file by itself and encodes by itself, so a mistake on either side
shows.
"""

import math
import random
import time
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.catalog.lint import lint
from drivers.catalog.loader import FOLDER, load_product
from drivers.catalog.product import Product
from drivers.driver import Counters, Nameplate
from drivers.modbus.block import Block
from drivers.modbus.build import open_devices
from drivers.modbus.derive import Readings, rules_of, run
from drivers.modbus.plan import Read, plan_reads
from drivers.modbus.spec import ModbusSpec
from drivers.simulator.encoding import INTEGERS, Coding, pattern, raw_value
from drivers.simulator.product import ProductDevice, Written, coding_of, is_derived
from drivers.simulator.product_server import ProductServer
from models.point import AlarmLevel, Quality, RunState
from models.proposal import Setpoint

PRODUCTS = {
    "abb_a43_b23_b24": "abb/b23",
    "acrel_adw300": "acrel/adw300",
    "adstec_storaxe": "adstec/storaxe",
    "atmoce_mg100": "atmoce/mg100",
    "bgetech_ds100": "bgetech/ds100",
    "byd_c130": "byd/c130",
    "carlo_gavazzi_em24": "carlo_gavazzi/em24",
    "carlo_gavazzi_em24_e1": "carlo_gavazzi/em24_e1",
    "carlo_gavazzi_em330_340_530_540": "carlo_gavazzi/em330",
    "chint_dtsu666": "chint/dtsu666",
    "deye_sunsynk_3p_lv": "deye/hybrid_3p",
    "e3dc_s10": "e3dc/s10",
    "eastron_sdm630": "eastron/sdm630",
    "foxess_h3": "foxess/h3",
    "fronius_gen24": "fronius/gen24",
    "goodwe_et": "goodwe/et",
    "growatt_sph": "growatt/sph",
    "growatt_tlxh": "growatt/tlxh",
    "huawei_smartlogger": "huawei/smartlogger",
    "huawei_sun2000_luna2000": "huawei/sun2000",
    "intilion_scalebloc": "intilion/scalebloc",
    "janitza_b23": "janitza/b23",
    "janitza_umg604": "janitza/umg604",
    "janitza_umg96rme": "janitza/umg96rme",
    "kostal_plenticore_g2": "kostal/plenticore_g2",
    "openems_edge_modbus_api": "openems/edge_api",
    "schneider_iem3000": "schneider/iem3000",
    "sermatec_smt": "sermatec/smt",
    "siemens_pac2200": "siemens/pac2200",
    "sigenergy_sigenstor": "sigenergy/sigenstor",
    "sinexcel_pcs": "sinexcel/pcs",
    "sma_data_manager": "sma/data_manager",
    "sma_home_manager_2": "sma/home_manager",
    "sma_smart_energy_hybrid": "sma/smart_energy",
    "sma_sunny_boy_storage": "sma/sunny_boy_storage",
    "sma_sunny_island": "sma/sunny_island",
    "sofar_hyd_g3": "sofar/hyd_g3",
    "solaredge_storedge": "solaredge/storedge",
    "solis_hybrid_s": "solis/hybrid_s",
    "soltaro_single_rack_c": "soltaro/single_rack_c",
    "sungrow_ihomemanager": "sungrow/ihomemanager",
    "sungrow_sh_extended": "sungrow/sh_extended",
    "sungrow_sh_hybrid": "sungrow/sh_hybrid",
    "victron_battery_monitor": "victron/battery",
    "victron_ess_control": "victron/ess_settings",
    "victron_gx_acload": "victron/gx_acload",
    "victron_gx_system": "victron/gx_system",
    "victron_grid_meter": "victron/grid_meter",
}
"""Name of the product in the collection of public register maps: key in the catalog."""


def tables(key: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{key}.toml").read_text("utf-8"))


ALL = [(key, variant) for key in PRODUCTS.values() for variant in tables(key).get("variants", [""])]
PLAIN = [
    (key, variant) for key, variant in ALL if "sunspec" not in (FOLDER / f"{key}.toml").read_text("utf-8")
]
"""SunSpec points have no address before the device was asked: they are tried over the socket."""
CONTROLLED = [key for key in PRODUCTS.values() if "write" in tables(key)]


def simulated(key: str, variant: str = "") -> ProductDevice:
    return ProductDevice(FOLDER / f"{key}.toml", variant)


def code_value(row: Any, code: int) -> float:
    """Return what a mapped code means, read from the file by hand."""
    word = row["map"][str(code)] if str(code) in row["map"] else row["map"][code]
    names = RunState if row.get("role") == "state" else AlarmLevel
    return float(names[word]) if isinstance(word, str) else float(word)


class Values:
    """Random values for all points of a simulated device, and what must be read then."""

    def __init__(self, device: ProductDevice, seed: int) -> None:
        self.device = device
        self.random = random.Random(seed)
        self.asked: dict[str, float] = {}
        signs = {row["sign_by"]["point"] for row in device.rows.values() if "sign_by" in row}
        factors = {row["scale_by"]["point"] for row in device.rows.values() if "scale_by" in row}
        for name in factors:
            device.put_raw(name, self.random.randint(-2, 1))
        for name, row in device.rows.items():
            if name in device.unserved or is_derived(row) or name in signs or name in factors:
                continue
            if "map" in row:
                device.put_raw(name, int(self.random.choice(list(row["map"])), 0))
            else:
                self.asked[name] = self.choose(name, row)
                device.put(name, self.asked[name])

    def choose(self, name: str, row: Any) -> float:
        """Return a believable value that the register can hold."""
        scale, add = self.device.scale(name), row.get("add", 0.0)
        low, high = row.get("range", (-math.inf, math.inf))
        if row["type"] in INTEGERS:
            ends = [end * scale + add for end in INTEGERS[row["type"]]]
            if row["type"] == "u16" and "mask" in row:
                ends = [0.0, (int(row["mask"], 0) >> row.get("shift", 0)) * scale + add]
            if "sign_by" in row:
                ends = [-max(map(abs, ends)), max(map(abs, ends))]
            low, high = max(low, min(ends)), min(high, max(ends))
            low, high = low + abs(scale), high - abs(scale)  # not at the ends, where «not available» lies
        return self.random.uniform(max(low, -1e9), min(high, 1e9))

    def expected(self, name: str) -> float:
        """Return what must be read; NaN when it must be BAD."""
        row = self.device.rows[name]
        if is_derived(row):
            return self.derived(row)
        value = self.device.shown(name)
        if "map" in row:
            return code_value(row, int(value))
        low, high = row.get("range", (-math.inf, math.inf))
        return value if low <= value <= high else math.nan

    def derived(self, row: Any) -> float:
        """Compute a derived point by hand."""
        kind = next(kind for kind in ("sum", "product", "ratio", "worst") if kind in row)
        of = [self.expected(name) for name in row[kind]]
        if any(map(math.isnan, of)):
            return math.nan
        if kind == "worst":
            return float(max(self.level(name) for name in row[kind]))
        value = {
            "sum": math.fsum,
            "product": math.prod,
            "ratio": lambda two: two[0] / two[1] if two[1] else math.nan,
        }[kind](of)
        value = value * row.get("scale", 1.0) + row.get("add", 0.0)
        low, high = row.get("range", (-math.inf, math.inf))
        return value if low <= value <= high else math.nan

    def level(self, name: str) -> AlarmLevel:
        """Return the level of an alarm word or code by hand."""
        row, value = self.device.rows[name], int(self.device.shown(name))
        if "alarm_codes" in row:
            return AlarmLevel[row["alarm_codes"].get(str(value), ["STOP"])[0]]
        found = [
            AlarmLevel[row["alarm_bits"].get(str(bit), ["STOP"])[0]] for bit in range(16) if value >> bit & 1
        ]
        return max(found, default=AlarmLevel.NONE)


def close(row: Any, scale: float, got: float, wanted: float) -> bool:
    """Whether two values are the same within one step of the register."""
    step = 0.0 if is_derived(row) or row["type"].startswith("f") else abs(scale)
    return abs(got - wanted) <= step + 1e-6 * max(1.0, abs(wanted))


@cache
def planned(key: str, variant: str) -> tuple[Read, ...]:
    product = load_product(key, variant)
    return plan_reads(product.points, product.link.max_gap, product.link.max_registers, product.link.holes)


def blocks(product: Product, unit_id: int, variant: str) -> list[Block]:
    return [Block(read, product.points, unit_id) for read in planned(product.key, variant)]


def decoded(product: Product, device: ProductDevice) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return values and qualities as our driver gets them from the registers of the simulated device."""
    specs = product.points
    plain, final = Readings(specs), Readings(specs)
    now_ns = 1
    for block in blocks(product, device.unit_id, device.variant):
        read, unit_id = block.read, block.request.unit
        words = device.read(unit_id, read.fn, read.address, read.count)
        block.decode(b"".join(word.to_bytes(2, "big") for word in words))
        for readings in (plain, final):
            readings.value[block.index], readings.quality[block.index] = block.value, block.quality
            readings.t_ns[block.index] = now_ns
    run(rules_of(specs), plain, final, now_ns)
    return final.value, final.quality


@pytest.mark.parametrize(("key", "variant"), PLAIN)
def test_what_the_device_shows_is_what_we_read(key: str, variant: str) -> None:
    product, device = load_product(key, variant), simulated(key, variant)
    for seed in range(12):
        values = Values(device, seed)
        got, quality = decoded(product, device)
        for i, name in enumerate(spec.name for spec in product.points):
            wanted, row = values.expected(name), device.rows[name]
            if math.isnan(wanted):
                assert quality[i] == Quality.BAD, name
                continue
            assert quality[i] == Quality.GOOD, (name, wanted)
            assert close(row, values.device.scale(name), got[i], wanted), (name, got[i], wanted)
            if name in values.asked and not shared(device, name):
                assert close(row, values.device.scale(name), got[i], values.asked[name]), name


def shared(device: ProductDevice, name: str) -> bool:
    """Whether another point reads the same register."""
    row = device.rows[name]
    same = [
        other
        for other in device.rows.values()
        if other.get("fn") == row["fn"] and other.get("address") == row["address"]
    ]
    return len(same) > 1


@pytest.mark.parametrize(("key", "variant"), PLAIN)
def test_what_is_not_available_or_not_believable_is_bad(key: str, variant: str) -> None:
    product, device = load_product(key, variant), simulated(key, variant)
    Values(device, 1)
    position = {name: i for i, name in enumerate(spec.name for spec in product.points)}
    for name, row in device.rows.items():
        if is_derived(row) or shared(device, name):
            continue
        before = device.shown(name)
        for spoil in (lambda name=name: device.put_missing(name), lambda name=name: beyond(device, name)):
            try:
                spoil()
            except (KeyError, ValueError):  # it has no such pattern, or the register cannot hold such a value
                continue
            got, quality = decoded(product, device)
            assert quality[position[name]] == Quality.BAD, name
            assert math.isnan(got[position[name]])
        device.put(name, before)


def beyond(device: ProductDevice, name: str) -> None:
    low, high = device.rows[name]["range"]
    try:
        device.put(name, high + 2 * abs(device.scale(name)) + abs(high) * 1e-3)
    except ValueError:
        device.put(name, low - 2 * abs(device.scale(name)) - abs(low) * 1e-3)


@pytest.mark.parametrize("key", PRODUCTS.values())
def test_no_product_has_an_error(key: str) -> None:
    for variant in tables(key).get("variants", [""]):
        problems = [p for p in lint(load_product(key, variant)) if p.severity == "error"]
        assert not problems


class Sink:
    """Keeps the newest reading of each point."""

    def __init__(self, size: int) -> None:
        self.value = np.full(size, np.nan)
        self.quality = np.zeros(size, np.uint8)
        self.events: list[str] = []

    def put(self, index: Any, value: Any, quality: Any, t_ns: int) -> None:
        self.value[index], self.quality[index] = value, quality

    def count(self, counters: Counters) -> None:
        """Nothing to do."""


@pytest.fixture
def polled() -> Iterator[Callable[..., Any]]:
    """Open a product on a simulated device; everything is closed afterwards."""
    opened: list[Any] = []

    def opens(device: ProductDevice, key: str, variant: str = "", nameplate: Nameplate | None = None) -> Any:
        server = ProductServer(device)
        server.__enter__()
        sink = Sink(len(load_product(key, variant).points))
        spec = ModbusSpec("d", "u", key, server.url, device.unit_id, nameplate, sink, variant)
        (driver,) = open_devices([spec], lambda code, name, what: sink.events.append(f"{code} {what}"))
        opened.append((driver, server))
        driver.start()
        return driver, sink

    yield opens
    for driver, server in opened:
        driver.stop()
        server.__exit__(None, None, None)


def until(condition: Callable[[], bool], tell: Callable[[], object] = lambda: "") -> None:
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end, tell()
        time.sleep(0.002)


@pytest.mark.parametrize("key", PRODUCTS.values())
def test_every_product_is_read_over_a_socket(key: str, polled: Callable[..., Any]) -> None:
    variant = tables(key).get("variants", [""])[0]
    device = simulated(key, variant)
    values = Values(device, 7)
    _, sink = polled(device, key, variant)
    product = load_product(key, variant)
    wanted = {name: values.expected(name) for name in (spec.name for spec in product.points)}
    good = [i for i, spec in enumerate(product.points) if not math.isnan(wanted[spec.name])]
    until(
        lambda: bool((sink.quality[good] == Quality.GOOD).all()),
        lambda: ([product.points[i].name for i in good if sink.quality[i] != Quality.GOOD], sink.events),
    )
    for i, spec in enumerate(product.points):
        if not math.isnan(wanted[spec.name]):
            assert close(device.rows[spec.name], device.scale(spec.name), sink.value[i], wanted[spec.name]), (
                spec.name
            )


def written_values(key: str, variant: str, written: list[Written]) -> dict[int, float]:
    """Decode the last write of every register of [write], by the file alone."""
    words = {w.address + i: word for w in written for i, word in enumerate(w.words)}
    found: dict[int, float] = {}
    for row in tables(key)["write"]["set"]:
        coding, first = coding_of(row, variant), row["address"]
        if all(first + i in words for i in range(coding.size)):
            bits = pattern([words[first + i] for i in range(coding.size)], coding)
            found[first] = raw_value(bits, coding) * row.get("scale", 1.0)
    return found


def wanted_values(key: str, p_kw: float) -> dict[int, float]:
    """Return what each register of [write] must hold for a setpoint, by the file alone."""
    meaning = {
        "p_kw": p_kw,
        "magnitude_kw": abs(p_kw),
        "charge_kw": max(-p_kw, 0.0),
        "discharge_kw": max(p_kw, 0.0),
    }
    side = "charge" if p_kw < 0 else "discharge" if p_kw > 0 else "zero"
    wanted: dict[int, float] = {}
    for row in tables(key)["write"]["set"]:
        value = row["value"]
        wanted[row["address"]] = (
            meaning[value] if isinstance(value, str) else value[side] if isinstance(value, dict) else value
        )
    return wanted


@pytest.mark.parametrize(("key", "variant"), [row for row in ALL if row[0] in CONTROLLED])
def test_setpoints_arrive_as_the_file_says(key: str, variant: str, polled: Callable[..., Any]) -> None:
    device = simulated(key, variant)
    for name, row in device.rows.items():
        if name not in device.unserved and not is_derived(row) and "range" in row:
            device.put(name, min(max(5.0, row["range"][0]), row["range"][1]))
    driver, _ = polled(device, key, variant, Nameplate(-8.0, 8.0))
    for p_kw in (-3.0, 2.5, 0.0, -1.5):
        driver.offer(Setpoint("u", p_kw, time.monotonic_ns() + 60_000_000_000))
        wanted = wanted_values(key, p_kw)

        def arrived(wanted: dict[int, float] = wanted) -> bool:
            got = written_values(key, variant, list(device.written))
            return got.keys() == wanted.keys() and all(
                math.isclose(got[a], wanted[a], abs_tol=1e-6) for a in wanted
            )

        until(arrived, lambda: (written_values(key, variant, device.written), device.written[-6:]))


def test_codes_and_coding_are_used_by_the_catalog_as_the_test_thinks() -> None:
    assert Coding("i32").size == 2
    assert {Path(key).parts[0] for key in PRODUCTS.values()} <= {p.name for p in FOLDER.iterdir()}
