"""Every service: when it has a wish, which one, and in which order they go."""

import math

import pytest

from control.inputs import Inputs, Now
from control.owners import OWNERS
from control.services import SERVICES
from control.services.common import wish_of
from control.services.rule_fallback import propose
from models.interval import everything
from models.proposal import Layer, Proposal, Request, Source
from tests.control.make import at_grid, site_with

NOW = Now(1_000, 0)
SITE = site_with()


def test_operator_goes_before_fleet_before_plan_before_rules() -> None:
    assert [service.name for service in SERVICES] == ["operator", "fleet", "plan", "rules"]


def test_every_service_is_the_source_of_what_it_proposes() -> None:
    inputs = Inputs(tuple(Request(source, 5.0, 2_000, 1) for source in Source))
    for service in SERVICES:
        proposal = service.propose(SITE, at_grid(10.0), NOW, inputs)
        assert proposal is not None
        assert (proposal.source, proposal.layer) == (service.name, service.layer)
        assert proposal.interval == everything(service.name)
        assert service.name in OWNERS


def test_every_request_reaches_its_own_service() -> None:
    inputs = Inputs(tuple(Request(source, 10.0 + source, 2_000, 1) for source in Source))
    wishes = {
        service.name: proposal.wish_kw
        for service in SERVICES
        if (proposal := service.propose(SITE, at_grid(10.0), NOW, inputs)) is not None
    }
    assert wishes == {"operator": 12.0, "fleet": 11.0, "plan": 10.0, "rules": 0.0}


REQUESTS = [
    ("in force", 5.0, 1_001, 5.0),
    ("expires now: absent", 5.0, 1_000, None),
    ("expired: absent", 5.0, 999, None),
    ("not a number: absent", math.nan, 2_000, None),
    ("infinite: absent", -math.inf, 2_000, None),
]


@pytest.mark.parametrize(
    ("p_kw", "expires", "expected"), [r[1:] for r in REQUESTS], ids=[r[0] for r in REQUESTS]
)
def test_a_request_counts_only_while_it_is_in_force(
    p_kw: float, expires: int, expected: float | None
) -> None:
    inputs = Inputs((Request(Source.FLEET, p_kw, expires, 1),))
    proposal = wish_of(Source.FLEET, "fleet", NOW, inputs)
    if expected is None:
        assert proposal is None
    else:
        assert proposal == Proposal(Layer.MONEY, everything("fleet"), expected, "fleet")
    assert wish_of(Source.PLAN, "plan", NOW, inputs) is None


RULES = [
    ("load: keep still", 50.0, 0.0, 0.0),
    ("PV surplus that may not be sold: charge it", -20.0, 0.0, -20.0),
    ("PV surplus that may be sold: sell it", -20.0, 30.0, 0.0),
    ("PV surplus beyond the export limit: charge the rest", -50.0, 30.0, -20.0),
    ("net load not known: keep still", None, 0.0, 0.0),
]


@pytest.mark.parametrize(("net", "export", "expected"), [r[1:] for r in RULES], ids=[r[0] for r in RULES])
def test_rules(net: float | None, export: float, expected: float) -> None:
    proposal = propose(site_with(export_kw=export), at_grid(net), NOW, Inputs())
    assert proposal == Proposal(Layer.MONEY, everything("rules"), expected, "rules")
