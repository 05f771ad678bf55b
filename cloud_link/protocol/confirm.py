"""The fleet tells a site which of its reports are stored, so that the site may forget them.

Signed, because whoever can forge it can make a site forget. A site's outbox has an epoch (a random number
made with the file): after a new disk the numbers start again at 1 and must not be taken for old ones.
"""

from dataclasses import asdict, dataclass

from cloud_link.protocol.canonical import Rejected, parse
from cloud_link.protocol.signing import Keyring, SigningKey, seal, unseal
from cloud_link.protocol.topics import VERSION


@dataclass(frozen=True, slots=True)
class Confirm:
    """Everything up to ``number`` is stored."""

    v: int
    site: str
    epoch: int
    """Metric ``outbox/epoch`` of the site's births."""
    number: int
    """Highest number such that no report at or below it is missing; 0 = none yet."""


_SHAPE: dict[str, type | tuple[type, ...]] = {"v": int, "site": str, "epoch": int, "number": int}


def encode_confirm(confirm: Confirm, key: SigningKey) -> bytes:
    """Return the signed bytes of a confirmation."""
    return seal("confirm", asdict(confirm), key)


def decode_confirm(raw: bytes, keys: Keyring) -> Confirm:
    """Read a confirmation; raises Rejected with MALFORMED or SIG."""
    body, _ = unseal("confirm", parse(raw), _SHAPE, keys)
    confirm = Confirm(**body)
    if confirm.v != VERSION or confirm.epoch < 0 or not 0 <= confirm.number < 2**53:
        raise Rejected("MALFORMED", "version, epoch or number is not allowed")
    return confirm
