"""Ed25519 signatures: one key of our own, a ring of keys of others, and signed envelopes.

An envelope is a flat message plus ``key_id`` and ``sig``; the signature covers a purpose (so that an
acknowledgement can never pass as a command) and the canonical bytes of everything else. The signature is
128 lower-case hex digits, which leaves no second way to write it.
"""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloud_link.protocol.canonical import Rejected, Scalar, canonical, take
from models.errors import LinkError

_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_HEX_KEY = re.compile(r"[0-9a-f]{64}")


def key_id_of(public: bytes) -> str:
    """Return the short name of a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


class SigningKey:
    """A private Ed25519 key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public: bytes = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id: str = key_id_of(self.public)

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Read the key that :meth:`save` wrote; LinkError if it is not there or not a key."""
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip())))
        except (OSError, ValueError) as error:
            raise LinkError(f"{path} holds no signing key: {error}") from error

    def save(self, path: Path) -> None:
        """Write the key for its owner's eyes only; an existing file is never overwritten (LinkError)."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise LinkError(f"{path} cannot be written: {error}") from error
        with os.fdopen(handle, "w") as file:
            file.write(self._private.private_bytes_raw().hex() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def sign(self, data: bytes) -> bytes:
        """Return the signature of ``data``, 64 bytes."""
        return self._private.sign(data)


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and what it may say."""

    public: bytes
    issuer: str = ""
    """Name that messages under this key must carry; empty = any."""
    kinds: frozenset[str] = frozenset()
    """Command kinds that this key may sign; empty = all."""


class Keyring:
    """The public keys that are trusted, by key id."""

    def __init__(self, keys: Mapping[str, TrustedKey]) -> None:
        self._keys = dict(keys)
        self._checkers = {name: Ed25519PublicKey.from_public_bytes(key.public) for name, key in keys.items()}

    @classmethod
    def of(cls, *keys: SigningKey, issuer: str = "") -> "Keyring":
        """Trust the public halves of ``keys``."""
        return cls({key.key_id: TrustedKey(key.public, issuer) for key in keys})

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """Read a TOML (``[keys.<any name>]``) or JSON file; each entry: public (hex), issuer, kinds."""
        try:
            text = path.read_text()
            data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
            entries = [_trusted(name, entry) for name, entry in data.get("keys", {}).items()]
            return cls({key_id_of(key.public): key for key in entries})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise LinkError(f"{path} is not a list of keys: {error}") from error

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key_id: str) -> TrustedKey | None:
        """Return what is known about a key."""
        return self._keys.get(key_id)

    def verify(self, key_id: str, data: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` of ``data`` was made with the key called ``key_id``."""
        checker = self._checkers.get(key_id)
        if checker is None:
            return False
        try:
            checker.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def _trusted(name: str, entry: Mapping[str, Any]) -> TrustedKey:
    public, kinds = entry.get("public", ""), entry.get("kinds", [])
    if unknown := entry.keys() - {"public", "issuer", "kinds"}:
        raise ValueError(f"{name}: unknown {', '.join(sorted(unknown))}")
    if not isinstance(public, str) or not _HEX_KEY.fullmatch(public):
        raise ValueError(f"{name}: public must be 64 hex digits")
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        raise ValueError(f"{name}: kinds must be a list of texts")
    return TrustedKey(bytes.fromhex(public), str(entry.get("issuer", "")), frozenset(kinds))


def trust_line(name: str, public: bytes, issuer: str = "") -> str:
    """Return the TOML entry that makes a :class:`Keyring` file trust ``public``."""
    return f'[keys.{json.dumps(name)}]\npublic = "{public.hex()}"\nissuer = {json.dumps(issuer)}\n'


def _signed_bytes(purpose: str, message: Mapping[str, Scalar]) -> bytes:
    return f"yunchu/{purpose}/1\n".encode() + canonical(message)


def seal(purpose: str, message: Mapping[str, Scalar], key: SigningKey) -> bytes:
    """Return the signed envelope of a flat message."""
    body = {**message, "key_id": key.key_id}
    return canonical({**body, "sig": key.sign(_signed_bytes(purpose, body)).hex()})


def unseal(
    purpose: str,
    envelope: Mapping[str, Any],
    shape: Mapping[str, type | tuple[type, ...]],
    keys: Keyring,
) -> tuple[dict[str, Any], TrustedKey]:
    """Check the schema and then the signature; return the message without them, and the key.

    Raises:
        Rejected: MALFORMED for the schema, SIG for an unknown key or a wrong signature.
    """
    body = take(envelope, {**shape, "key_id": str, "sig": str})
    signature, key_id = body.pop("sig"), body["key_id"]
    key = keys.get(key_id)
    if key is None:
        raise Rejected("SIG", f"the key {key_id[:40]} is not known")
    if not _SIGNATURE.fullmatch(signature):
        raise Rejected("SIG", "the signature is not 128 lower-case hex digits")
    if not keys.verify(key_id, _signed_bytes(purpose, body), bytes.fromhex(signature)):
        raise Rejected("SIG", "the signature does not fit the message")
    del body["key_id"]
    return body, key
