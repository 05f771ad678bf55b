"""Modbus/TCP Security: the same frames inside TLS, for a server that proves who it is.

The other side's certificate must be signed by the given ca and name the host of the url. Plain TLS 1.2 or
later; the roles in client certificates (MBTPS 8.4) are the server's business.
"""

import socket
import ssl

from drivers.modbus.line import Endpoint


class TlsPort:
    """A connection inside TLS that reads and writes like a file descriptor; raises OSError only."""

    def __init__(self, plain: socket.socket, endpoint: Endpoint) -> None:
        """Shake hands within the time limit of ``plain``; closes it when that fails."""
        try:
            self._socket = _context(endpoint).wrap_socket(plain, server_hostname=endpoint.host)
            self._socket.setblocking(False)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise OSError(f"the certificate is not believed: {error.verify_message}") from error
        except ssl.SSLError as error:
            plain.close()
            raise OSError(f"no TLS connection: {error.reason or error}") from error
        except OSError:
            plain.close()
            raise

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close without a farewell, which could block."""
        self._socket.close()

    def read(self, fd: int, size: int) -> bytes:
        """Return all that has come, so that nothing decrypted waits unseen; BlockingIOError if nothing."""
        data = b""
        try:
            while more := self._socket.recv(size):
                data += more
        except ssl.SSLWantReadError:
            if not data:
                raise BlockingIOError from None
        except ssl.SSLError as error:
            raise OSError(f"TLS: {error.reason or error}") from error
        return data

    def write(self, fd: int, data: bytes) -> int:
        """Return how many bytes were taken; raise BlockingIOError if none."""
        try:
            return self._socket.send(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            raise BlockingIOError from None
        except ssl.SSLError as error:
            raise OSError(f"TLS: {error.reason or error}") from error


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return what the handshake needs; raise OSError that names the file which cannot be used."""
    name = endpoint.ca
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=endpoint.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if endpoint.cert:
            name = f"{endpoint.cert} with {endpoint.key}"
            context.load_cert_chain(endpoint.cert, endpoint.key)
    except OSError as error:
        raise OSError(f"{name} cannot be used: {error.strerror or error}") from error
    return context
