"""All services, as a literal list; of several wishes the first one listed wins.

A service is a function of (site, estimate, time, inputs) that returns a Proposal or None. Operator goes
before fleet, fleet before plan, plan before rules. Its interval is met in the layer that the proposal names.
"""

from collections.abc import Callable
from typing import NamedTuple

from control.estimate import Estimate
from control.inputs import Inputs, Now
from control.services import fleet_setpoint, operator, plan_tracking, rule_fallback
from models.proposal import Layer, Proposal
from models.site import Site


class Service(NamedTuple):
    """One service."""

    name: str
    """The owner of its wish and of the ends that it sets."""
    layer: Layer
    propose: Callable[[Site, Estimate, Now, Inputs], Proposal | None]


SERVICES: tuple[Service, ...] = (
    Service(operator.NAME, Layer.MONEY, operator.propose),
    Service(fleet_setpoint.NAME, Layer.MONEY, fleet_setpoint.propose),
    Service(plan_tracking.NAME, Layer.MONEY, plan_tracking.propose),
    Service(rule_fallback.NAME, Layer.MONEY, rule_fallback.propose),
)
