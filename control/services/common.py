"""How a request from outside becomes a proposal."""

from control.inputs import Inputs, Now
from models.interval import everything
from models.proposal import Layer, Proposal, Source


def wish_of(source: Source, name: str, now: Now, inputs: Inputs) -> Proposal | None:
    """Return the wish of the request that is in force for ``source``, or None."""
    request = inputs.in_force(source, now)
    if request is None:
        return None
    return Proposal(Layer.MONEY, everything(name), float(request.p_kw), name)
