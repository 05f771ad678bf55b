"""Real certificates for tests, made on the fly; the keys once a run, because they take time."""

import datetime
import ipaddress
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
SERVER_URI = "urn:yunchu:test:server"


@cache
def key(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return one of several keys."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def certificate(
    own: rsa.RSAPrivateKey,
    uri: str = SERVER_URI,
    host: str = "127.0.0.1",
    days: tuple[float, float] = (-1, 365),
    issuer: tuple[x509.Certificate, rsa.RSAPrivateKey] | None = None,
    ca: bool = False,
) -> x509.Certificate:
    """Return a certificate, self-signed unless an issuer is given, valid between two days from now."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, uri)])
    now = datetime.datetime.now(datetime.UTC)
    kinds = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    usage = dict.fromkeys(("key_agreement", "encipher_only", "decipher_only"), False)
    needed = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    signs = dict.fromkeys(("key_cert_sign", "crl_sign"), ca)
    try:
        called: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        called = x509.DNSName(host)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), called])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0].subject if issuer else name)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=False)
        .add_extension(x509.KeyUsage(**usage, **signs, **dict.fromkeys(needed, True)), critical=False)
        .add_extension(x509.ExtendedKeyUsage(kinds), critical=False)
        .sign(issuer[1] if issuer else own, hashes.SHA256())
    )


def save(folder: Path, name: str, content: x509.Certificate | rsa.RSAPrivateKey) -> Path:
    """Write a certificate as ``name.der`` or a key as ``name.pem``."""
    if isinstance(content, x509.Certificate):
        path = folder / f"{name}.der"
        path.write_bytes(content.public_bytes(serialization.Encoding.DER))
        return path
    path = folder / f"{name}.pem"
    path.write_bytes(
        content.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path
