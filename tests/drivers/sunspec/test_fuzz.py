"""Whatever a map holds: connecting ends, and no point ever lies outside the model that it belongs to."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.catalog.product import Product
from drivers.modbus.plan import width
from drivers.simulator.sunspec import Device, Map, Model
from drivers.sunspec.connect import Resolved, connect
from models.errors import DriverError
from tests.drivers.sunspec.reader import Memory, drive, point, product, values

MODELS = (
    Model(1, {"Mn": "Acme"}),
    Model(103, {"W": 1, "W_SF": 0}),
    Model(160, {"DCW_SF": 0, "module": [{"DCW": 1}, {"DCW": 2}]}),
    Model(705, {"V_SF": 0, "Crv": [{"Pt": [{"V": 1}, {"V": 2}]}, {"Pt": [{"V": 1}, {"V": 2}]}]}),
    Model(
        707, {"V_SF": 0, "Crv": [{name: {"Pt": [{"V": 1}]} for name in ("MustTrip", "MayTrip", "MomCess")}]}
    ),
    Model(803, {"SoC_SF": 0, "string": [{"StrSoC": 1}, {"StrSoC": 2}]}),
)
REFERENCES = ("103:W", "103:WH", "160:2:DCW", "705:2:2:V", "705:1:ActPt", "707:1:MomCess:1:V", "803:2:StrSoC")
WANTED: Product = product(*map(point, REFERENCES))
CLEAN = tuple(Map(MODELS).words)


def inside(resolved: Resolved) -> bool:
    """Whether every register lies behind the header and before the end of one model."""
    specs: list[Any] = [*resolved.product.points, *resolved.hidden]
    spans = [(at.address + 2, at.address + 2 + at.length) for at in resolved.chains[1].models]
    return all(
        any(first <= spec.address and spec.address + width(spec) <= end for first, end in spans)
        for spec in specs
        if spec.fn
    )


def test_the_clean_map_has_everything() -> None:
    resolved = drive(connect(WANTED, 1), Memory([Device(Map(MODELS))]))
    assert not resolved.trouble and inside(resolved)


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.integers(2, len(CLEAN) - 1),
        st.one_of(st.integers(0, 80), st.integers(0, 0xFFFF), st.sampled_from((0xFFFF, 0x8000))),
        max_size=6,
    ),
    st.integers(0, len(CLEAN)),
)
def test_a_map_with_wrong_words_or_a_wrong_end(wrong: dict[int, int], lost: int) -> None:
    broken = Map(MODELS)
    for at, word in wrong.items():
        broken.words[at] = word
    del broken.words[len(CLEAN) - lost if lost < len(CLEAN) // 3 else len(CLEAN) :]
    ask = Memory([Device(broken)])
    try:
        resolved = drive(connect(WANTED, 1), ask)
    except DriverError:
        return
    assert inside(resolved)
    assert len(ask.asked) < 1000
    values(resolved, 1, ask)


def test_a_map_of_noise() -> None:
    for _ in range(50):
        noise = Map([], end=False)
        noise.words += random.choices(range(0x1_0000), k=300)
        resolved = drive(connect(WANTED, 1), Memory([Device(noise)]))
        assert inside(resolved)
