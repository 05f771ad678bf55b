"""Requests: at most one for each source."""

from control.inputs import Inputs, Now
from models.proposal import Request, Source

FLEET = Request(Source.FLEET, 5.0, 100, 1)
PLAN = Request(Source.PLAN, 6.0, 100, 2)


def test_each_source_has_its_own_request() -> None:
    inputs = Inputs((FLEET, PLAN))
    assert inputs.of(Source.FLEET) is FLEET
    assert inputs.of(Source.PLAN) is PLAN
    assert inputs.of(Source.OPERATOR) is None


def test_a_second_request_of_a_source_does_not_count() -> None:
    assert Inputs((FLEET, Request(Source.FLEET, 9.0, 100, 3))).of(Source.FLEET) is FLEET


def test_in_force_until_it_expires() -> None:
    inputs = Inputs((FLEET,))
    assert inputs.in_force(Source.FLEET, Now(99, 0)) is FLEET
    assert inputs.in_force(Source.FLEET, Now(100, 0)) is None
    assert inputs.in_force(Source.PLAN, Now(99, 0)) is None
