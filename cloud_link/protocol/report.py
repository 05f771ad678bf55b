"""What a site's telemetry means beyond Sparkplug: reports, their numbers, and when they count as stored.

A report is what a site has to say about one second. It has a number; a report that replaces thinned ones
covers the numbers from ``first`` to ``number``. On the wire it is a DDATA for each device with something
new, closed by one NDATA that carries OUTBOX_FIRST and OUTBOX_NUMBER. A report is received when its NDATA
is, and no ``seq`` is missing since the last one; then the fleet stores it, ignoring what it already has.

The fleet keeps, per site and OUTBOX_EPOCH (in NBIRTH), the highest number below which nothing is missing,
and sends it as a :class:`cloud_link.protocol.confirm.Confirm`: after news, at most once a second, and also
when a report arrives a second time. Births carry no number: they are the state now, not a report.
Old reports come with ``is_historical`` and their own timestamps, in order of number, beside the live ones;
they say nothing about whether a device is alive now, and may come for a device that is dead.
"""

BD_SEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"
OUTBOX_EPOCH = "outbox/epoch"
OUTBOX_FIRST = "outbox/first"
OUTBOX_NUMBER = "outbox/number"


def add_range(known: list[tuple[int, int]], first: int, number: int) -> list[tuple[int, int]]:
    """Return the sorted, disjoint ranges of numbers with ``first``..``number`` added."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted([*known, (first, number)]):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


def contiguous(known: list[tuple[int, int]]) -> int:
    """Return the highest number below which nothing is missing, for :func:`add_range`'s ranges; 0 = none."""
    return known[0][1] if known and known[0][0] <= 1 else 0
