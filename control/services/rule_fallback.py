"""Fall-back rule when nobody asks for anything: keep still, but take in PV surplus that cannot be sold.

It never buys and never sells, so it is never worse on the bill than having no battery.
"""

from control.estimate import Estimate
from control.inputs import Inputs, Now
from models.interval import everything
from models.proposal import Layer, Proposal
from models.site import Site

NAME = "rules"


def propose(site: Site, seen: Estimate, now: Now, inputs: Inputs) -> Proposal | None:
    """Return the wish to charge what the grid may not take, else for zero."""
    wish_kw = 0.0 if seen.net_kw is None else min(0.0, seen.net_kw + site.limits.export_kw)
    return Proposal(Layer.MONEY, everything(NAME), wish_kw, NAME)
