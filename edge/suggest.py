"""The nearest known name to a wrong one."""

from collections.abc import Iterable


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, or None when nothing is near.

    Case and the kind of dash never make a difference; the order of characters does.
    """
    import difflib  # only after a mistake, so that no good command waits for it

    by_plain = {_plain(name): name for name in known}
    plain = _plain(wrong)
    found = difflib.get_close_matches(plain, by_plain, 1, 0.6)
    if not found:  # a word left out or added at an end: "transformer" for "transformer_kva"
        found = sorted((name for name in by_plain if _part(plain, name)), key=len)[:1]
    return by_plain[found[0]] if found else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _part(one: str, other: str) -> bool:
    return min(len(one), len(other)) >= 3 and (one in other or other in one)
