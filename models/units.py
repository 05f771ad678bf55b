"""Constants and conversions; the only place that knows how many seconds are in an hour."""

S_PER_H = 3600.0
MS_PER_S = 1000
NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
W_PER_KW = 1000.0


def seconds_to_ns(seconds: float) -> int:
    """Return a span in whole nanoseconds."""
    return round(seconds * NS_PER_S)


def kw_from_dc(volts: float, amperes: float) -> float:
    """Return DC power in kW."""
    return volts * amperes / W_PER_KW
