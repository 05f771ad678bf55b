"""Interval data of the utility: the load of a year, to plan with before the site has a history of its own."""

import csv
import gzip
from datetime import datetime
from pathlib import Path

import numpy as np

from models.errors import StoreError
from models.series import Floats, Times

COLUMNS = ("time_utc", "load_kw")


def read_load(path: Path) -> tuple[Times, Floats]:
    """Return UTC ms and load [kW] of a CSV file (``.gz`` or plain) with the columns time_utc and load_kw.

    Times are ISO 8601, UTC unless they say otherwise, each the start of its interval; in any order.

    Raises:
        StoreError: with file and line.
    """
    try:
        packed = path.read_bytes()
        text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read the load file {path}: {error}") from error
    rows = csv.reader(text.splitlines())
    head = next(rows, [])
    if not set(COLUMNS) <= set(head):
        raise StoreError(f"{path}:1 has columns {head}, not {', '.join(COLUMNS)}")
    at_time, at_load = (head.index(name) for name in COLUMNS)
    times, loads = [], []
    for row in rows:
        try:
            times.append(_utc_ms(row[at_time]))
            loads.append(float(row[at_load]))
        except (ValueError, IndexError) as error:
            raise StoreError(f"{path}:{rows.line_num} is no time and load: {row} ({error})") from error
    order = np.argsort(np.array(times, np.int64), kind="stable")
    return np.array(times, np.int64)[order], np.array(loads, np.float64)[order]


def _utc_ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = datetime.fromisoformat(f"{text}+00:00")
    return round(moment.timestamp() * 1000)
