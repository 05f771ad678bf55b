"""Import limit at the connection point: how hard batteries may charge, or how much they must discharge."""

from control.estimate import Estimate
from models.interval import Interval, at_least
from models.site import Site

NAME = "grid_import"


def grid_import(site: Site, seen: Estimate) -> Interval:
    """Return the lower end that keeps import below the limit less the margin; no charging when unknown."""
    if seen.net_kw is None:
        return at_least(0.0, NAME)
    return at_least(seen.net_kw - max(0.0, site.limits.import_kw - site.limits.margin_kw), NAME)
