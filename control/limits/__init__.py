"""All limits, as literal lists in the order in which they are met; add one by adding a file and a line.

Inside a layer the earlier one goes first when two of them cannot both be kept. ``ramp`` is not listed: it is
weaker than every layer and is applied at the end of arbitration.
"""

from control.limits import bms, grid_export, grid_import, obey, pcs, rated, soc, transformer
from control.limits.kinds import SiteLimit, UnitLimit
from models.proposal import Layer

UNIT_LIMITS: tuple[UnitLimit, ...] = (
    UnitLimit(rated.NAME, Layer.SAFETY, rated.rated),
    UnitLimit(bms.NAME, Layer.SAFETY, bms.bms),
    UnitLimit(pcs.NAME, Layer.SAFETY, pcs.pcs),
    UnitLimit(soc.NAME, Layer.SAFETY, soc.soc),
    UnitLimit(obey.NAME, Layer.SAFETY, obey.obey),
)

SITE_LIMITS: tuple[SiteLimit, ...] = (
    SiteLimit(transformer.NAME, Layer.GRID, transformer.transformer),
    SiteLimit(grid_export.NAME, Layer.GRID, grid_export.grid_export),
    SiteLimit(grid_import.NAME, Layer.GRID, grid_import.grid_import),
)
