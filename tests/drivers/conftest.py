"""One OPC UA server for all tests that leave it as it was: it takes a second to start."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from asyncua import ua

from drivers.opcua_security import create_client_certificate
from tests.drivers.opcua_certificates import SERVER_URI, certificate, key, save
from tests.drivers.opcua_server import Guard, Plant, Users

NAMESPACE = "urn:yunchu:simulator:pv"
POLICIES = [
    ua.SecurityPolicyType.NoSecurity,
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Basic256Sha256_Sign,
]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's and our own certificates and keys."""
    folder = tmp_path_factory.mktemp("pki")
    save(folder, "server", key(0))
    save(folder, "server", certificate(key(0)))
    save(folder, "other", certificate(key(1)))
    create_client_certificate(folder)
    (folder / "password").write_text(f"{Users.PASSWORD}\n")
    return folder


@pytest.fixture(scope="session")
def plant(pki: Path) -> Iterator[Plant]:
    """A server with every security and with none."""
    plant = Plant(NAMESPACE)
    plant.start(guard=Guard(SERVER_URI, pki / "server.der", pki / "server.pem", POLICIES, Users()))
    yield plant
    plant.stop()
    plant.close()
