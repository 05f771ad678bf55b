"""A device is recognised by what it says, else by its registers, which prove nothing; few requests go out."""

from collections.abc import Callable

import pytest

from drivers.catalog.product import Product
from drivers.identify import LEAST, PLAUSIBLE_MOST, REQUESTS_MAX, SILENT_MAX, SURE, Identity, identify
from drivers.modbus.frames import Request
from drivers.scan import candidates, first_variant
from drivers.talk import hold
from models.errors import NoReply, Refused
from tests.drivers.fake_line import asked, liven, simulated

PRODUCTS = candidates()
PLAIN = [product for product in PRODUCTS if product.protocol == "modbus"]
RECOGNISED = [product.key for product in PLAIN if product.identity]
BELIEVED = [product.key for product in PLAIN if not product.identity]


def counted(ask: Callable[[Request], bytes], seen: list[Request]) -> Callable[[Request], bytes]:
    def asking(request: Request) -> bytes:
        seen.append(request)
        return ask(request)

    return asking


def found(key: str, alive: bool = False) -> Identity:
    device = simulated(key)
    if alive:
        liven(device, first_variant(key))
    return hold(identify(device.unit_id, PRODUCTS), asked(device))


@pytest.mark.parametrize("key", RECOGNISED)
def test_a_product_with_an_identity_rule_is_among_the_first_three(key: str) -> None:
    identity = found(key)
    scores = {match.product: match.score for match in identity.matches[:3]}
    assert scores[key] >= SURE
    assert identity.requests <= REQUESTS_MAX


@pytest.mark.parametrize("key", BELIEVED)
def test_a_product_without_one_is_believed_when_its_registers_look_right(key: str) -> None:
    identity = found(key, alive=True)
    assert key in [match.product for match in identity.matches[:3]]
    assert all(LEAST <= match.score <= PLAUSIBLE_MOST for match in identity.matches)
    assert identity.requests <= REQUESTS_MAX


@pytest.mark.parametrize("key", ["yunchu/bms215", "eastron/sdm630"])
def test_only_reads_go_out_and_nothing_is_asked_twice(key: str) -> None:
    device, seen = simulated(key), list[Request]()
    hold(identify(device.unit_id, PRODUCTS), counted(asked(device), seen))
    assert {request.pdu[0] for request in seen} <= {3, 4, 1, 2, 43}
    assert len(seen) == len({(request.unit, request.pdu) for request in seen})


def test_a_recognised_device_costs_few_requests() -> None:
    assert found("huawei/sun2000").requests <= 15


def test_a_silent_device_is_left_alone_soon() -> None:
    seen = list[Request]()

    def silent(_: Request) -> bytes:
        raise NoReply("nobody")

    identity = hold(identify(1, PRODUCTS), counted(silent, seen))
    assert identity.matches == []
    assert len(seen) <= SILENT_MAX + 1


def test_a_device_that_knows_no_function_is_asked_for_each_only_until_it_says_so() -> None:
    seen = list[Request]()

    def lacks(_: Request) -> bytes:
        raise Refused("exception 1 (illegal function)", 1)

    identity = hold(identify(1, PRODUCTS), counted(lacks, seen))
    assert identity.matches == []
    assert len(seen) < 12


def test_a_newer_model_of_a_family_is_named_with_doubt() -> None:
    device = simulated("sungrow/sh_hybrid")
    liven(device, first_variant("sungrow/sh_hybrid"))
    device.space(4)[4999] = 0x0FFF
    identity = hold(identify(device.unit_id, PRODUCTS), asked(device))
    match = next(match for match in identity.matches if match.product == "sungrow/sh_hybrid")
    assert match.score <= PLAUSIBLE_MOST / 2
    assert "but the type code at 4/4999 is 0xfff" in match.why[0]
    assert "4/4999 处的型号代码为 0xfff" in match.why[1]


def test_a_rule_that_cannot_be_read_costs_less_than_one_that_is_contradicted() -> None:
    key = "sungrow/sh_hybrid"
    scores = []
    for code in (None, 0x0FFF):
        device = simulated(key)
        liven(device, first_variant(key))
        device._max_gap = 0
        if code is None:
            del device.space(4)[4999]
        else:
            device.space(4)[4999] = code
        identity = hold(identify(device.unit_id, PRODUCTS), asked(device))
        scores.append(next(match.score for match in identity.matches if match.product == key))
    assert scores[0] > scores[1] > 0.0


def test_what_it_says_of_itself_is_kept() -> None:
    identity = found("kostal/plenticore_g2")
    assert identity.texts["vendor"] == "KOSTAL"
    assert identity.models == (1,)


def test_no_candidate_no_match() -> None:
    none: list[Product] = []
    device = simulated("eastron/sdm630")
    assert hold(identify(device.unit_id, none), asked(device)).matches == []
