"""Texts in the languages of the product."""


def tr(language: str, en: str, zh: str) -> str:
    """Return the text in the wanted language; a text cannot exist in one language only."""
    return zh if language.lower().startswith("zh") else en
