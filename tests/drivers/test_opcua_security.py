"""Secure OPC UA links: real certificates, real handshakes, and every way in which trust must fail aloud."""

import datetime
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asyncua.crypto.security_policies import SecurityPolicyAes256Sha256RsaPss
from cryptography import x509

from drivers.catalog.loader import load_product, points_of
from drivers.opcua import OpcUa
from drivers.opcua_security import (
    InsecureLink,
    Link,
    Security,
    check_server,
    create_client_certificate,
)
from models.point import Quality
from tests.drivers.opcua_certificates import SERVER_URI, certificate, key, save
from tests.drivers.opcua_server import Plant, until
from tests.drivers.test_opcua import KEY, Slice


@pytest.fixture
def security(pki: Path) -> Security:
    return Security("sign_and_encrypt", pki / "opcua_cert.der", pki / "opcua_key.pem", pki / "server.der")


class Rig:
    """A driver on a link, and what it tells."""

    def __init__(self, url: str, security: Security) -> None:
        product = load_product(KEY)
        self.events: list[tuple[str, str]] = []
        self.sink = Slice(len(product.points))
        points = points_of(product, "pv-1", "pv-1")

        def note(code: str, _: str, what: str) -> None:
            self.events.append((code, what))

        self.driver = OpcUa("pv-1", Link(url, security), product, points, self.sink, on_event=note)

    def __enter__(self) -> "Rig":
        self.driver.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.stop()

    def said(self, code: str, what: str) -> bool:
        return any(told[0] == code and what in told[1] for told in self.events)


@pytest.mark.parametrize("mode", ["sign", "sign_and_encrypt"])
def test_a_secure_link_brings_values(plant: Plant, security: Security, mode: Any) -> None:
    with Rig(plant.url, replace(security, mode=mode)) as rig:
        until(lambda: bool((rig.sink.quality == Quality.GOOD).all()))
    assert not [event for event in rig.events if event[0] == "DRV-020"]


def test_a_user_with_the_right_password_comes_in_and_another_does_not(
    plant: Plant, security: Security, pki: Path
) -> None:
    known = replace(security, username="edge", password_file=pki / "password")
    with Rig(plant.url, known) as rig:
        until(lambda: bool((rig.sink.quality == Quality.GOOD).all()))
    with Rig(plant.url, replace(known, username="somebody")) as rig:
        until(lambda: rig.sink.counters.refused > 0)
        assert (rig.sink.quality == Quality.BAD).all()


REFUSED = [
    ("another certificate is not trusted", {"server_cert_file": "other.der"}, "is not trusted"),
    ("no server certificate", {"server_cert_file": None}, "server_cert_file is missing"),
    ("no own certificate", {"cert_file": None}, "cert_file is missing"),
    ("no such file", {"key_file": "nowhere.pem"}, "key_file cannot be read"),
    ("a key of somebody else", {"key_file": "server.pem"}, "not the key of cert_file"),
    ("a key that is none", {"key_file": "server.der"}, "holds no key"),
    ("a certificate that is none", {"cert_file": "server.pem"}, "is no certificate"),
    ("a password on a link that all can read", {"mode": "sign", "username": "edge"}, "a user needs"),
    ("certificates without security", {"mode": "none"}, "need security"),
]


@pytest.mark.parametrize(("says", "change", "what"), REFUSED)
def test_what_is_not_as_configured_makes_no_link(
    plant: Plant, security: Security, pki: Path, says: str, change: dict[str, Any], what: str
) -> None:
    given = {k: pki / v if k.endswith("file") and v is not None else v for k, v in change.items()}
    with Rig(plant.url, replace(security, **given)) as rig:
        until(lambda: rig.said("DRV-020", what))
    assert (rig.sink.quality == Quality.BAD).all(), says


def test_a_server_without_the_asked_security_gets_nothing_less(
    plant: Plant, security: Security, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.opcua_security.POLICY", SecurityPolicyAes256Sha256RsaPss)
    what = "does not offer SignAndEncrypt Aes256_Sha256_RsaPss, but None_ None, Sign Basic256Sha256"
    with Rig(plant.url, security) as rig:
        until(lambda: rig.said("DRV-020", what))
    assert (rig.sink.quality == Quality.BAD).all()


AUTHORITY = certificate(key(2), uri="urn:yunchu:test:ca", ca=True)
SIGNED = (AUTHORITY, key(2))
OWN = certificate(key(0))
CHECKS: list[tuple[str, x509.Certificate, x509.Certificate, str, str]] = [
    ("exactly the configured one", OWN, OWN, "127.0.0.1", ""),
    ("signed by the authority", certificate(key(0), issuer=SIGNED), AUTHORITY, "127.0.0.1", ""),
    ("another one of the same name", certificate(key(1)), OWN, "127.0.0.1", "is not trusted"),
    ("the same key is not enough", certificate(key(0)), OWN, "127.0.0.1", "is not trusted"),
    (
        "a leaf is no authority",
        certificate(key(1), issuer=(OWN, key(0))),
        OWN,
        "127.0.0.1",
        "is not trusted",
    ),
    (
        "signed for another host",
        certificate(key(0), issuer=SIGNED, host="pv.example"),
        AUTHORITY,
        "127.0.0.1",
        "for pv.example, not for 127.0.0.1",
    ),
]
EXPIRED = certificate(key(0), days=(-10, -2))
EARLY = certificate(key(0), days=(2, 10))
WEAK = certificate(key(3, 1024))
FOREIGN = certificate(key(0), uri="urn:somebody:else")
CHECKS += [
    ("expired", EXPIRED, EXPIRED, "127.0.0.1", "expired on"),
    ("not yet valid", EARLY, EARLY, "127.0.0.1", "is not valid before"),
    ("a weak key", WEAK, WEAK, "127.0.0.1", "1024 bits"),
    ("another application", FOREIGN, FOREIGN, "127.0.0.1", "is for urn:somebody:else, the server is"),
]


@pytest.mark.parametrize(("says", "offered", "trusted", "host", "what"), CHECKS)
def test_whom_we_trust(
    says: str, offered: x509.Certificate, trusted: x509.Certificate, host: str, what: str
) -> None:
    if not what:
        assert check_server(offered, trusted, SERVER_URI, host) == [], says
        return
    with pytest.raises(InsecureLink, match=what):
        check_server(offered, trusted, SERVER_URI, host)


def test_a_certificate_that_expires_soon_is_told_on_a_living_link(
    plant: Plant, security: Security, pki: Path
) -> None:
    own = certificate(key(4), uri="urn:yunchu:edge", days=(-1, 5))
    soon = replace(security, cert_file=save(pki, "soon", own), key_file=save(pki, "soon", key(4)))
    with Rig(plant.url, soon) as rig:
        until(lambda: rig.said("DRV-021", "our certificate expires on"))
        until(lambda: bool((rig.sink.quality == Quality.GOOD).all()))


def test_what_does_not_hinder_is_told() -> None:
    soon = certificate(key(0), days=(-1, 20), host="pv.example")
    expires, host = check_server(soon, soon, SERVER_URI, "127.0.0.1")
    assert f"expires on {soon.not_valid_after_utc:%Y-%m-%d}" in expires
    assert "for pv.example, not for 127.0.0.1; it is trusted all the same" in host


def test_a_new_client_certificate_is_good_and_is_not_overwritten(tmp_path: Path) -> None:
    certificate_path, key_path = create_client_certificate(tmp_path, "urn:yunchu:site-7")
    found = x509.load_der_x509_certificate(certificate_path.read_bytes())
    assert check_server(found, found, "urn:yunchu:site-7", "elsewhere")
    assert found.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > datetime.timedelta(days=1800)
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_client_certificate(tmp_path)
