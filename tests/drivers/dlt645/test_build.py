"""From a specification to a meter."""

from dataclasses import replace
from typing import Any

import pytest

from drivers.catalog.loader import load_product, points_of
from drivers.dlt645 import values
from drivers.dlt645.build import Dlt645Spec, dlt645_device
from drivers.simulator.dlt645 import Meter
from models.errors import ConfigError

ADDRESS = "000012345678"
PRODUCT = "dlt645/three_phase"
POINTS = 14


@pytest.mark.parametrize(
    ("product", "address", "ct_ratio", "why"),
    [(PRODUCT, "12345678", 1.0, "no meter address"), (PRODUCT, "AAAAAAAAAAAA", 1.0, "no meter address"),
     (PRODUCT, ADDRESS, 0.0, "cannot be"), (PRODUCT, ADDRESS, -40.0, "cannot be"),
     (PRODUCT, ADDRESS, float("nan"), "cannot be"), ("eastron/sdm630", ADDRESS, 1.0, "speaks modbus")],
)  # fmt: skip
def test_what_cannot_be_built_is_said(
    bench: Any, product: str, address: str, ct_ratio: float, why: str
) -> None:
    spec = Dlt645Spec("m", "grid", product, address, bench.MemorySink(1), ct_ratio)
    with pytest.raises(ConfigError, match=why):
        dlt645_device(spec, *bench.link("/dev/null"), bench.tell)


def test_a_point_that_holds_no_number_is_said(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    product = load_product(PRODUCT)
    clock = replace(product.points[0], di="04000102")
    monkeypatch.setattr("drivers.dlt645.build.load_product", lambda key: replace(product, points=(clock,)))
    with pytest.raises(ConfigError, match="04000102 is not known to hold one number"):
        dlt645_device(
            Dlt645Spec("m", "grid", PRODUCT, ADDRESS, bench.MemorySink(1)),
            *bench.link("/dev/null"),
            bench.tell,
        )


def test_the_points_are_those_of_the_product(bench: Any) -> None:
    product = load_product(PRODUCT)
    spec = Dlt645Spec("m", "grid", PRODUCT, ADDRESS, bench.MemorySink(POINTS))
    link, poller = bench.link("/dev/null")
    device = dlt645_device(spec, link, poller, bench.tell)
    assert tuple(device.points) == points_of(product, "m", "grid") and len(device.points) == POINTS
    assert {point.role for point in product.points} >= {
        "p_kw",
        "q_kvar",
        "e_import_kwh",
        "e_export_kwh",
        "v_v",
    }
    assert list(link.stations) == [ADDRESS]


def test_behind_transformers_the_values_are_those_of_the_primary_side(bench: Any, meter: Meter) -> None:
    sink = bench.MemorySink(POINTS)
    spec = Dlt645Spec("m", "grid", PRODUCT, ADDRESS, sink, ct_ratio=40.0, vt_ratio=100.0)
    device = bench.started(dlt645_device(spec, *bench.link(bench.bus(meter)), bench.tell))
    bench.eventually(lambda: len(sink.good(device.points)) == POINTS)
    good = sink.good(device.points)
    expected = {
        "p_kw": -12.3456 * 4000,
        "v_l1": 23140.0,
        "i_l1": 12.345 * 40,
        "e_import_kwh": 123456.78 * 4000,
    }
    expected |= {"power_factor": -0.987, "frequency_hz": 49.98, "demand_max_kw": 43.2109 * 4000}
    assert {name: good[name] for name in expected} == pytest.approx(expected)


def test_what_is_not_measured_through_transformers_stays() -> None:
    for di in ("02800008", "02800009", "02800007", "02060000", "04000409", "FFFFFFFF"):
        assert values.primary_factor(di, 40.0, 100.0) == 1.0
