import json
import stat
from pathlib import Path

import pytest

from cloud_link.protocol.canonical import Rejected
from cloud_link.protocol.signing import Keyring, SigningKey, key_id_of, seal, trust_line, unseal
from models.errors import LinkError


def test_a_key_is_saved_for_its_owner_only_and_comes_back(tmp_path: Path) -> None:
    key = SigningKey.generate()
    key.save(tmp_path / "key")
    again = SigningKey.load(tmp_path / "key")
    assert (again.key_id, again.public, again.sign(b"x")) == (key.key_id, key.public, key.sign(b"x"))
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert key.key_id == key_id_of(key.public)


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    SigningKey.generate().save(tmp_path / "key")
    with pytest.raises(LinkError):
        SigningKey.generate().save(tmp_path / "key")


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33])
def test_what_is_not_a_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(LinkError):
        SigningKey.load(tmp_path / "key")


def test_a_ring_is_read_from_toml_and_json(tmp_path: Path) -> None:
    key = SigningKey.generate()
    (tmp_path / "ring.toml").write_text(
        trust_line("fleet", key.public, "yunchu-fleet") + 'kinds = ["stop"]\n'
    )
    entry = {"public": key.public.hex(), "issuer": "yunchu-fleet", "kinds": ["stop"]}
    (tmp_path / "ring.json").write_text(json.dumps({"keys": {"fleet": entry}}))
    for name in ("ring.toml", "ring.json"):
        ring = Keyring.load(tmp_path / name)
        trusted = ring.get(key.key_id)
        assert len(ring) == 1 and trusted is not None
        assert (trusted.issuer, trusted.kinds) == ("yunchu-fleet", frozenset({"stop"}))
        assert ring.verify(key.key_id, b"x", key.sign(b"x"))


@pytest.mark.parametrize(
    "text",
    [
        "not toml [",
        '[keys.a]\npublic = "00"\n',
        "[keys.a]\npublic = 7\n",
        "[keys.a]\n",
        f'[keys.a]\npublic = "{"0" * 64}"\nrole = "king"\n',
        f'[keys.a]\npublic = "{"0" * 64}"\nkinds = "stop"\n',
        "keys = 3\n",
    ],
)
def test_a_broken_ring_is_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    (tmp_path / "ring.toml").write_text(text)
    with pytest.raises(LinkError):
        Keyring.load(tmp_path / "ring.toml")


def test_a_missing_ring_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LinkError):
        Keyring.load(tmp_path / "no.toml")


def test_a_seal_holds_for_its_purpose_its_key_and_its_words_only() -> None:
    key, stranger = SigningKey.generate(), SigningKey.generate()
    shape = {"a": int, "b": str}
    envelope = json.loads(seal("ack", {"a": 1, "b": "é"}, key))
    assert unseal("ack", envelope, shape, Keyring.of(key))[0] == {"a": 1, "b": "é"}
    upper = {**envelope, "sig": envelope["sig"].upper()}
    swapped = {**envelope, "key_id": stranger.key_id}
    cases = [
        ("command", envelope, Keyring.of(key), "another purpose"),
        ("ack", envelope, Keyring.of(stranger), "a key that is not trusted"),
        ("ack", {**envelope, "a": 2}, Keyring.of(key), "another number"),
        ("ack", upper, Keyring.of(key), "a second way to write the signature"),
        ("ack", {**envelope, "sig": envelope["sig"][:-2]}, Keyring.of(key), "a short signature"),
        ("ack", {**envelope, "sig": "00" * 64}, Keyring.of(key), "zeros"),
        ("ack", swapped, Keyring.of(key, stranger), "another trusted key's name"),
    ]
    for purpose, message, ring, why in cases:
        with pytest.raises(Rejected) as caught:
            unseal(purpose, message, shape, ring)
        assert caught.value.code == "SIG", why
