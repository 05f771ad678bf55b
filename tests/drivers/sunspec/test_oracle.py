"""Our reader and pysunspec2's, on the same simulated devices over real sockets, show the same values."""

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
from sunspec2.device import get_model_def
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from drivers.catalog.product import PointSpec
from drivers.simulator.sunspec import DEFINITIONS, Device, Map, Model, serve
from drivers.sunspec.connect import connect
from drivers.sunspec.definition import TYPES
from tests.drivers.sunspec.reader import Wire, drive, point, product, values

IDS = sorted(int(path.stem) for path in DEFINITIONS.glob("*.json"))
MISSING = 0.15
"""Share of points, and of scale factors, that a random device has not."""


def definition(model: int) -> dict[str, Any]:
    """Return the group of a model's definition as it stands in the file."""
    group: dict[str, Any] = json.loads((DEFINITIONS / f"{model}.json").read_text(encoding="utf-8"))["group"]
    return group


def random_value(dice: random.Random, kind: str, registers: int) -> Any:
    """Return a raw value of a type, now and then None."""
    if dice.random() < MISSING:
        return None
    if kind == "string":
        return "".join(dice.choices("abcXYZ 019", k=2 * registers - 1))
    if kind == "sunssf":
        return dice.randint(-10, 10)
    if kind.startswith("float"):
        return dice.uniform(-1e6, 1e6)
    top = 2 ** (16 * registers) - 1
    return dice.randint(-(top // 2), top // 2) if kind.startswith("int") else dice.randint(0, top - 1)


def random_group(dice: random.Random, group: dict[str, Any], sizes: dict[Any, int]) -> dict[str, Any]:
    """Return values for all points of a group; groups with the same count repeat equally often."""
    given = {name: random_value(dice, kind, size) for name, kind, size, *_ in group["points"]}
    for sub in group.get("groups", ()):
        given.pop(sub.get("count"), None)
        if "count" in sub:
            # pysunspec2 takes a count point that says 0 for a count by length
            times = sizes.setdefault(sub["count"], dice.randint(0 if sub["count"] == 0 else 1, 3))
            given[sub["name"]] = [random_group(dice, sub, sizes) for _ in range(times)]
        else:
            given[sub["name"]] = random_group(dice, sub, sizes)
    return given


def random_model(dice: random.Random, model: int) -> Model:
    """Return a model with random values; the counts follow from the groups."""
    sizes: dict[Any, int] = {}
    given = random_group(dice, definition(model), sizes)
    return Model(model, {name: value for name, value in given.items() if name not in sizes})


def expected(group: Any, model: Any, path: str) -> Iterator[tuple[str, float]]:
    """Yield reference and value of every point that pysunspec2 shows, in the units of the scale factors."""
    for name, shown in group.points.items():
        if shown.pdef["type"] in TYPES:
            yield f"{path}:{name}", scaled(shown, group, model)
    for name, inside in group.groups.items():
        if isinstance(inside, list):
            for one in inside:
                yield from expected(one, model, f"{path}:{one.index}")
        else:
            yield from expected(inside, model, f"{path}:{name}")


def scaled(shown: Any, group: Any, model: Any) -> float:
    """Return a value as it should be; without its scale factor it is unknown."""
    if shown.value is None:
        return math.nan
    if not shown.sf_required:
        return float(shown.value)
    factor = (group.points.get(shown.sf) or model.points[shown.sf]).value
    return math.nan if factor is None else float(shown.value) * 10.0**factor


def pysunspec(port: int) -> dict[str, float]:
    """Return what pysunspec2 reads from unit 1: the value of every reference."""
    client = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port, timeout=5)
    try:
        client.scan()
    finally:
        client.close()
    assert not [model.error_info for model in client.model_list if model.error_info]
    return {
        reference: value
        for model in client.model_list
        for reference, value in expected(model, model, str(model.model_id))
    }


def ours(port: int, references: list[str]) -> dict[str, float]:
    """Return what we read: the value of every reference."""
    points: list[PointSpec] = [point(reference, name=reference) for reference in references]
    with Wire(port) as wire:
        resolved = drive(connect(product(*points), 1), wire)
        assert not resolved.trouble
        read = values(resolved, 1, wire)
    return {reference: read[reference] for reference in references}


def alike(a: float, b: float) -> bool:
    """Whether two values are the same but for the last digit, or both unknown."""
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-12)


@pytest.mark.parametrize("base", [40_000, 0, 50_000])
def test_every_point_of_every_model_is_the_same_for_pysunspec2_and_for_us(base: int) -> None:
    seed = random.SystemRandom().getrandbits(32)
    dice = random.Random(seed)
    device = Device(Map([random_model(dice, model) for model in IDS], base))
    with serve(device) as port:
        theirs = pysunspec(port)
        read = ours(port, list(theirs))
    assert len(theirs) > 1500
    assert sum(map(math.isfinite, theirs.values())) > 700
    different = {key: (theirs[key], read[key]) for key in theirs if not alike(theirs[key], read[key])}
    assert not different, f"seed {seed}"


def test_the_texts_of_the_common_model_are_the_same_for_pysunspec2_and_for_us() -> None:
    texts = {"Mn": "Fröhlich", "Md": "X-1000/3", "Opt": "", "Vr": "1.2.3", "SN": "A" * 32}
    with serve(Device(Map([Model(1, texts)]))) as port:
        client = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port, timeout=5)
        client.scan()
        client.close()
        shown = {name: client.models[1][0].points[name].value or "" for name in texts}
        with Wire(port) as wire:
            read = drive(connect(product(), 1), wire).chains[1].texts
    assert shown == read == texts


@pytest.mark.parametrize("model", IDS)
def test_the_vendored_definitions_say_what_pysunspec2_says(model: int) -> None:
    def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        assert ours["name"] == theirs["name"] and ours.get("count") == theirs.get("count")
        for row, official in zip(ours["points"], theirs["points"], strict=True):
            name, kind, size, factor, unit, access = (*row, *[""] * (6 - len(row)))
            assert (name, kind, size) == (official["name"], official["type"], official["size"])
            assert factor == (official.get("sf") or "") and unit == (official.get("units") or "")
            assert access == (official.get("access") if official.get("access") == "RW" else "")
        for sub, official in zip(ours.get("groups", ()), theirs.get("groups") or (), strict=True):
            compare(sub, official)

    compare(definition(model), get_model_def(model)["group"])
