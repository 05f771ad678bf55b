"""The language of texts where no ``--lang`` can be seen: messages of programs without a command line."""

import os


def of_environment() -> str:
    """Return $YUNCHU_LANG, else $LANG, else English; :func:`models.language.tr` understands all of them."""
    return os.environ.get("YUNCHU_LANG") or os.environ.get("LANG") or "en"
