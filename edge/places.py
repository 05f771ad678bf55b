"""Where a site keeps what lives only while it runs."""

import os
from pathlib import Path


def run_dir(site: str, configured: Path | str | None = None) -> Path:
    """Return the run folder of a site; it is not created.

    Order: $YUNCHU_RUN_DIR, ``configured`` (the site file), $XDG_RUNTIME_DIR/yunchu/<site>,
    /tmp/yunchu-<uid>/<site>.
    """
    if chosen := os.environ.get("YUNCHU_RUN_DIR") or configured:
        return Path(chosen)
    if base := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(base) / "yunchu" / site
    return Path(f"/tmp/yunchu-{os.getuid()}") / site
