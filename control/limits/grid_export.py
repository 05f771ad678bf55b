"""Export limit at the connection point (anti-backflow): how much the batteries may discharge, or must charge.

Measured net load plus what may be exported; needs no load meter. With PV surplus and no export allowed the
upper end is negative: the batteries must charge, zero would be a breach.
"""

from control.estimate import Estimate
from models.interval import Interval, at_most
from models.site import Site

NAME = "grid_export"


def grid_export(site: Site, seen: Estimate) -> Interval:
    """Return the upper end that keeps export below the limit less the margin; no discharge when unknown.

    With an export limit below the margin the site imports at least the difference.
    """
    if seen.net_kw is None:
        return at_most(0.0, NAME)
    return at_most(seen.net_kw + site.limits.export_kw - site.limits.margin_kw, NAME)
