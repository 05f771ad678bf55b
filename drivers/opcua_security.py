"""Whom an OPC UA link trusts: own certificate, the server's certificate, user.

There is one policy (Basic256Sha256) and no way down: a link that is asked for as signed is signed, or it is
not made. Trusted is exactly the server certificate in the site's file, or any that the authority in it has
signed for that host. Checks: OPC 10000-4 6.1.3.
"""

import datetime
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drivers.opcua_nodes import soon
from models.errors import DriverError

APPLICATION_URI = "urn:yunchu:edge"
"""Of a link without a certificate; a certificate brings its own."""
KEY_BITS = (2048, 4096)
"""What the policy allows (OPC 10000-7, Basic256Sha256)."""
SOON = datetime.timedelta(days=30)
VALID_DAYS = 1825
CONNECT_S = 3.0
MODES = {
    "sign": ua.MessageSecurityMode.Sign,
    "sign_and_encrypt": ua.MessageSecurityMode.SignAndEncrypt,
}
POLICY = SecurityPolicyBasic256Sha256


class InsecureLink(DriverError):
    """The link cannot be made as securely as it was asked for."""


@dataclass(frozen=True, slots=True)
class Security:
    """What the site file says about a link."""

    mode: Literal["none", "sign", "sign_and_encrypt"] = "none"
    cert_file: Path | None = None
    key_file: Path | None = None
    server_cert_file: Path | None = None
    """The server's own certificate, or that of the authority that signs it; PEM or DER."""
    username: str | None = None
    password_file: Path | None = None


Judge = Callable[[], list[str]]
"""Returns what should be known about the certificates although it hinders nothing; raises InsecureLink."""
OPEN = Security()
"""Neither signed nor encrypted: whoever is on the network can read and change everything."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a server is and how to talk to it."""

    url: str
    """``opc.tcp://host:port/path``"""
    security: Security = OPEN


async def secure(client: Client, security: Security) -> Judge:
    """Prepare a client before it connects; return who judges its certificates, now and later.

    Raises:
        InsecureLink: something is missing, expired, too weak, or not who it must be.
        OSError, TimeoutError: the server does not answer.
    """
    client.application_uri = APPLICATION_URI
    if security.mode == "none":
        if security.username or security.cert_file or security.key_file or security.server_cert_file:
            raise InsecureLink("certificates and users need security = sign or sign_and_encrypt")
        return list
    own_der, key, own = _own(security)
    client.application_uri = _uris(own)[0]
    trusted = _certificate(_bytes(security.server_cert_file, "server_cert_file"), "server_cert_file")
    endpoint = await _endpoint(client, MODES[security.mode])
    offered = _certificate(endpoint.ServerCertificate or b"", "the server's certificate")
    host = client.server_url.hostname or ""
    uri = endpoint.Server.ApplicationUri or ""

    def judge() -> list[str]:
        _check(own, "our certificate")
        return [*_soon(own, "our certificate"), *check_server(offered, trusted, uri, host)]

    judge()
    await client.set_security(
        POLICY,
        CertProperties(own_der, "der"),
        CertProperties(key, "der"),
        server_certificate=CertProperties(offered.public_bytes(serialization.Encoding.DER), "der"),
        mode=MODES[security.mode],
    )
    if security.username:
        if security.mode != "sign_and_encrypt":  # a server may want the password as it is
            raise InsecureLink("a user needs security = sign_and_encrypt")
        client.set_user(security.username)
        client.set_password(_password(security))
    return judge


async def _endpoint(client: Client, mode: ua.MessageSecurityMode) -> ua.EndpointDescription:
    """Ask what the server offers. That answer proves nothing; the handshake with its key does, later."""
    offered = await soon(client.connect_and_get_server_endpoints(), CONNECT_S)
    for endpoint in offered:
        if endpoint.SecurityMode == mode and endpoint.SecurityPolicyUri == POLICY.URI:
            return endpoint
    seen = {_offer(one.SecurityMode, one.SecurityPolicyUri) for one in offered}
    raise InsecureLink(f"the server does not offer {_offer(mode, POLICY.URI)}, but {', '.join(sorted(seen))}")


def _offer(mode: ua.MessageSecurityMode, uri: str) -> str:
    return f"{mode.name} {uri.rpartition('#')[2]}"


def check_server(offered: x509.Certificate, trusted: x509.Certificate, uri: str, host: str) -> list[str]:
    """Check the server's certificate against the configured one; return remarks.

    Args:
        offered: what the server shows.
        trusted: the same, or that of its authority.
        uri: application URI by which the server calls itself.
        host: name or address by which we call it.

    Raises:
        InsecureLink: it is not trusted.
    """
    who = "the server's certificate"
    pinned = offered == trusted
    if not pinned:
        _check_signed(offered, trusted)
    _check(offered, who)
    if uri not in _uris(offered):
        raise InsecureLink(f"{who} is for {', '.join(_uris(offered)) or 'nobody'}, the server is {uri}")
    remarks = _soon(offered, who)
    if host not in _hosts(offered):
        what = f"{who} is for {', '.join(_hosts(offered)) or 'no host'}, not for {host}"
        if not pinned:
            raise InsecureLink(what)
        remarks.append(f"{what}; it is trusted all the same, being exactly the configured one")
    return remarks


def _check_signed(offered: x509.Certificate, authority: x509.Certificate) -> None:
    """Check that a trusted authority has signed a certificate of another."""
    untrusted = (
        f"the server's certificate ({offered.subject.rfc4514_string()}, SHA-256 "
        f"{offered.fingerprint(hashes.SHA256()).hex()}) is not trusted: server_cert_file holds another"
    )
    try:
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        offered.verify_directly_issued_by(authority)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature) as error:
        raise InsecureLink(untrusted) from error
    if not constraints.ca:
        raise InsecureLink(untrusted)
    _check(authority, "the authority in server_cert_file")


def _check(certificate: x509.Certificate, who: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    if now > certificate.not_valid_after_utc:
        raise InsecureLink(f"{who} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if now < certificate.not_valid_before_utc:
        raise InsecureLink(f"{who} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise InsecureLink(f"{who} has no RSA key, which Basic256Sha256 needs")
    if not KEY_BITS[0] <= key.key_size <= KEY_BITS[1]:
        raise InsecureLink(
            f"{who} has a key of {key.key_size} bits; {KEY_BITS[0]} to {KEY_BITS[1]} are allowed"
        )
    used = certificate.signature_hash_algorithm
    if used is None or used.digest_size < hashes.SHA256.digest_size:
        raise InsecureLink(f"{who} is signed with {used.name if used else 'no hash'}; SHA-256 is needed")


def _soon(certificate: x509.Certificate, who: str) -> list[str]:
    ends = certificate.not_valid_after_utc
    if ends - datetime.datetime.now(datetime.UTC) > SOON:
        return []
    return [f"{who} expires on {ends:%Y-%m-%d}; the link ends then"]


def _own(security: Security) -> tuple[bytes, bytes, x509.Certificate]:
    """Return our certificate and key as DER, and the certificate, checked."""
    certificate = _certificate(_bytes(security.cert_file, "cert_file"), "cert_file")
    _check(certificate, "our certificate")
    if not _uris(certificate):
        raise InsecureLink("our certificate has no application URI")
    try:
        data = _bytes(security.key_file, "key_file")
        pem = data.startswith(b"-----")
        key = (serialization.load_pem_private_key if pem else serialization.load_der_private_key)(data, None)
    except (ValueError, TypeError) as error:
        raise InsecureLink(f"key_file holds no key without a password ({error})") from error
    if key.public_key() != certificate.public_key():
        raise InsecureLink("key_file is not the key of cert_file")
    der = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.DER), der, certificate


def _bytes(path: Path | None, key: str) -> bytes:
    if path is None:
        raise InsecureLink(f"{key} is missing")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InsecureLink(f"{key} cannot be read ({error})") from error


def _certificate(data: bytes, who: str) -> x509.Certificate:
    """Return the first certificate of PEM, DER, or a chain of DER."""
    try:
        if data.startswith(b"-----"):
            return x509.load_pem_x509_certificate(data)
        if data[:2] == b"\x30\x82":
            data = data[: 4 + int.from_bytes(data[2:4], "big")]
        return x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise InsecureLink(f"{who} is no certificate ({error})") from error


def _names(certificate: x509.Certificate) -> Sequence[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _uris(certificate: x509.Certificate) -> list[str]:
    return [name.value for name in _names(certificate) if isinstance(name, x509.UniformResourceIdentifier)]


def _hosts(certificate: x509.Certificate) -> list[str]:
    kinds = x509.DNSName | x509.IPAddress
    return [str(name.value) for name in _names(certificate) if isinstance(name, kinds)]


def _password(security: Security) -> str:
    return _bytes(security.password_file, "password_file").decode("utf-8").strip("\r\n")


def create_client_certificate(folder: Path, application_uri: str = APPLICATION_URI) -> tuple[Path, Path]:
    """Make a key and a self-signed certificate, ``opcua_cert.der`` and ``opcua_key.pem``; return their paths.

    The server's operator has to trust the certificate. RSA 2048, SHA-256, valid for five years; extensions
    by OPC 10000-6 6.2.2.

    Raises:
        FileExistsError: there is one; it is never overwritten.
        OSError: the folder cannot be written.
    """
    certificate_path, key_path = folder / "opcua_cert.der", folder / "opcua_key.pem"
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS[0])
    certificate = client_certificate(key, application_uri)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder.mkdir(parents=True, exist_ok=True)
    der = certificate.public_bytes(serialization.Encoding.DER)
    for path, data, mode in ((key_path, pem, 0o600), (certificate_path, der, 0o644)):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
    return certificate_path, key_path


def client_certificate(key: rsa.RSAPrivateKey, application_uri: str) -> x509.Certificate:
    """Return a self-signed client certificate."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "yunchu edge")])
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(("key_agreement", "crl_sign", "encipher_only", "decipher_only"), False)
    needed = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_cert_sign",
    )
    host = os.uname().nodename
    names = [x509.UniformResourceIdentifier(application_uri), x509.DNSName(host)]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # the server's clock may be behind
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(x509.KeyUsage(**usage, **dict.fromkeys(needed, True)), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
