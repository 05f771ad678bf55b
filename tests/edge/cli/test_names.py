"""Whoever can own a limit or a wish has words in both languages."""

from control.owners import OWNERS
from edge.cli.names import NAMES, name_of


def test_every_owner_has_words_in_both_languages() -> None:
    assert set(NAMES) == set(OWNERS)
    assert all(english.isascii() and not chinese.isascii() for english, chinese in NAMES.values())


def test_a_name_from_a_newer_version_is_shown_as_it_is() -> None:
    assert name_of("something_new") == "something_new"
