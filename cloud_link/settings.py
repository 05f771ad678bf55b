"""What the link of one site must be told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cloud_link.protocol.topics import FLEET_HOST
from cloud_link.transport import Address


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Names, addresses, files and limits of one site's link."""

    tenant: str
    site: str
    address: Address
    state_dir: Path
    """Holds ``outbox.db`` and ``commands.db``."""
    targets: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """What may be commanded and its nameplate range [kW]; ``site`` for all batteries together."""
    host: str = FLEET_HOST
    """Sparkplug primary host that must be online before anything is sent; empty = none."""
    outbox_rows: int = 100_000
    """Reports kept while nobody confirms (one a second: more than a day); older ones are thinned."""
    history_bytes_per_s: float = 50_000.0
    """Payload bytes of old reports per second."""
    session_s: int = 3600
    """How long the broker keeps commands for a site that is away."""
    birth_spread_s: float = 2.0
    """Sites that see the fleet come back are born again within this time, not all at once."""
