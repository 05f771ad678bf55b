"""Powers and durations as people write and read them. Sign: battery discharge +."""

import math
import re

from models.language import tr
from models.units import S_PER_H, W_PER_KW

POWER_MAX_KW = 1e6
"""A gigawatt is a mistake, not a site."""
FOR_MIN_S = 1.0
FOR_MAX_S = 24 * S_PER_H

_POWER = re.compile(r"([+-]?\d{1,12}(?:\.\d{1,9})?) ?(W|kW|MW)", re.ASCII)
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,6})?) ?(s|min|h)", re.ASCII)
_KW = {"W": 1 / W_PER_KW, "kW": 1.0, "MW": 1000.0}
_S = {"s": 1.0, "min": 60.0, "h": S_PER_H}


def read_power(text: str) -> float | None:
    """Return kW from ``40kW``, ``-25 kW`` or ``0.1MW``; None for anything else or what no site can have."""
    match = _POWER.fullmatch(text.strip())
    if match is None:
        return None
    p_kw = float(match[1]) * _KW[match[2]]
    return p_kw + 0.0 if usable_power(p_kw) else None


def read_span(text: str) -> float | None:
    """Return seconds from ``20s``, ``15min`` or ``1h``; None for anything else or outside 1 s … 24 h."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        return None
    span_s = float(match[1]) * _S[match[2]]
    return span_s if usable_span(span_s) else None


def usable_power(p_kw: float) -> bool:
    """Whether a power can be meant at all."""
    return math.isfinite(p_kw) and abs(p_kw) <= POWER_MAX_KW


def usable_span(span_s: float) -> bool:
    """Whether a command may last so long."""
    return math.isfinite(span_s) and FOR_MIN_S <= span_s <= FOR_MAX_S


def kw(value: float) -> str:
    """Return a number with at most one decimal."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def power_words(p_kw: float, language: str) -> str:
    """Return a battery power with its direction in words."""
    if not math.isfinite(p_kw):
        return str(p_kw)
    if p_kw == 0.0:
        return tr(language, "0 kW", "0 kW")
    verb = tr(language, "discharge", "放电") if p_kw > 0 else tr(language, "charge", "充电")
    return f"{verb} {kw(abs(p_kw))} kW"
