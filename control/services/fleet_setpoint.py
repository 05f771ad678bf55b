"""Fleet setpoint: what the aggregator asks of the site now."""

from control.estimate import Estimate
from control.inputs import Inputs, Now
from control.services.common import wish_of
from models.proposal import Proposal, Source
from models.site import Site

NAME = "fleet"


def propose(site: Site, seen: Estimate, now: Now, inputs: Inputs) -> Proposal | None:
    """Return the wish of the request in force, or None."""
    return wish_of(Source.FLEET, NAME, now, inputs)
