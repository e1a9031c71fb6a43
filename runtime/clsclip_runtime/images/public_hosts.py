"""Connections to hosts that everybody can reach: what a name resolves to is checked, and just that is connected to."""

from __future__ import annotations

import ipaddress
import socket
from http.client import HTTPSConnection
from ssl import SSLContext, create_default_context
from typing import Any

from clsclip_runtime.errors import ImageError


def is_public(host: str) -> bool:
    """Whether an IP address in text form can be reached by everybody; addresses that carry another one cannot."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo or address in _NAT64
    ):
        return False
    return address.is_global and not address.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def connect_public(host: str, port: int, timeout: float | None) -> socket.socket:
    """Connect to a host whose addresses are all public.

    Raises:
        ImageError: one of them is not.
        OSError: it has none, or none answers.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not all(is_public(str(one[4][0])) for one in found):
        raise ImageError(f"{host} is a host of a private network, and no addresses of such hosts are fetched")
    last: OSError | None = None
    for *_, place in found:
        try:
            # The address that was checked, and not the name, which may mean another one by now.
            return socket.create_connection((str(place[0]), port), timeout)
        except OSError as error:
            last = error
    raise last or OSError(f"{host} has no address")


class PublicConnection(HTTPSConnection):
    """HTTPS to a public host."""

    def __init__(self, host: str, *, context: SSLContext | None = None, **options: Any) -> None:
        """As ``HTTPSConnection``; certificates are checked."""
        self._public_context = context or create_default_context()
        super().__init__(host, context=self._public_context, **options)

    def connect(self) -> None:
        """Connect to an address that was checked."""
        plain = connect_public(self.host, self.port, self.timeout)
        self.sock = self._public_context.wrap_socket(plain, server_hostname=self.host)
