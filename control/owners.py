"""The names of everything that can own an end of an interval, or a wish; records hold their position.

Append only: a recorded number must keep its meaning, else old records could not be read.
"""

OWNERS: tuple[str, ...] = (
    "none",
    "rated",
    "bms",
    "soc",
    "pcs",
    "units",
    "transformer",
    "grid_import",
    "grid_export",
    "ramp",
    "operator",
    "fleet",
    "plan",
    "rules",
    "obey",
)

OWNER_INDEX: dict[str, int] = {name: index for index, name in enumerate(OWNERS)}

NOBODY = "none"
