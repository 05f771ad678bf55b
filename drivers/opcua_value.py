"""What an OPC UA value with its status code is worth as a reading of a point."""

import math

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from drivers.catalog.product import PointSpec
from models.point import Quality

GOOD_ENDS = 0x4000_0000
"""Status codes below this are Good (OPC 10000-4 7.38)."""
QUALITIES = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD)
"""By the two highest bits of the status code."""
LAST_KNOWN = frozenset(
    {StatusCodes.UncertainLastUsableValue, StatusCodes.UncertainNoCommunicationLastUsableValue}
)
"""The server itself says that it has lost the source and repeats an old value."""
NOTHING = (math.nan, Quality.BAD)


def quality_of(code: int) -> Quality:
    """Return what a status code is worth."""
    return Quality.STALE if code in LAST_KNOWN else QUALITIES[code >> 30]


def judge(spec: PointSpec, raw: object, code: int) -> tuple[float, Quality]:
    """Return value and quality; what is no number, out of range or unmapped is BAD.

    Args:
        spec: the point.
        raw: content of the variant as a Python object.
        code: status code; 0 is Good.
    """
    quality = Quality.GOOD if code < GOOD_ENDS else quality_of(code)
    if quality is Quality.BAD or not isinstance(raw, float | int):
        return NOTHING
    if spec.map:
        value = spec.map.get(int(raw), math.nan) if raw == raw // 1 else math.nan
    else:
        value = raw * spec.scale + spec.add
    # a comparison with NaN is false; infinity is within the widest range, so it is told apart
    if not spec.lo <= value <= spec.hi or math.isinf(value):
        return NOTHING
    return value, quality


def parts(data: ua.DataValue) -> tuple[object, int]:
    """Return content and status code of a data value; a missing status is Good."""
    raw = None if data.Value is None else data.Value.Value
    return raw, 0 if data.StatusCode is None else data.StatusCode.value
