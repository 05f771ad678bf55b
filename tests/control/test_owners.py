"""Owners keep their numbers, because records hold them."""

from control.owners import NOBODY, OWNER_INDEX, OWNERS

RECORDED = [
    *("none", "rated", "bms", "soc", "pcs", "units", "transformer", "grid_import", "grid_export", "ramp"),
    *("operator", "fleet", "plan", "rules", "obey"),
]
"""As first released; new names go behind."""


def test_no_number_has_changed_its_meaning() -> None:
    assert list(OWNERS[: len(RECORDED)]) == RECORDED


def test_every_name_has_its_place_and_all_fit_in_the_conflict_bits() -> None:
    assert [OWNERS[OWNER_INDEX[name]] for name in OWNERS] == list(OWNERS)
    assert len(OWNER_INDEX) == len(OWNERS) <= 64
    assert OWNERS[0] == NOBODY
