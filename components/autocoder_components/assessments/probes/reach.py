"""Which hosts a probe may contact. A name that is allowed does not make an inner address reachable: each address is judged."""

from __future__ import annotations

import fnmatch
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from autocoder_components.assessments.probes.outcome import NotAskedError, ProbeError
from autocoder_components.assessments.rules.base import quote
from autocoder_components.assessments.rules.status import UNREACHABLE

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_ADDRESSES: Final = 8
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is given out for the public network (RFC 4291). What lies elsewhere is translated (`::ffff:0:0:0/96`, RFC
2765), routes segments (`5f00::/16`, RFC 9602), is of a network's inside or of no use, whatever Python knows of it."""
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        "168.63.129.16",  # a cloud's own service
        "192.0.0.0/24",  # of protocols (RFC 6890)
        "192.88.99.0/24",  # relays (RFC 7526)
        "3fff::/20",  # for documents (RFC 9637)
    )
)
"""What looks public in some version of Python."""


_CURE: Final = "allow it in the field hosts"
_REFUSED: Final = "{} is not among the hosts that probes may contact here"
_INNER: Final = "{} has a private, local or metadata address, and probes may contact none but those that are named"


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be contacted: names (globs) stand for public addresses alone, networks for the addresses in them.

    A host that is given by name has to be named, also where its address lies in a network that is: no other is resolved.
    """

    names: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, hosts: Sequence[str]) -> Reach:
        """The reach that a list of globs, addresses and networks means; raises ValueError for what is none of them."""
        names: list[str] = []
        networks: list[Network] = []
        for host in hosts:
            try:
                networks.append(ipaddress.ip_network(host.strip("[]")))
            except ValueError:
                if "/" in host or ":" in host or not host.strip():
                    raise ValueError(
                        f"{quote(host)} is no name, address or network; write example.org, *.example.org, 10.1.2.3 or "
                        "10.1.0.0/16, without scheme and port"
                    ) from None
                names.append(host.lower().rstrip("."))
        return cls(tuple(names), tuple(networks))

    def allows(self, host: str, address: Address) -> bool:
        """Whether `host`, which has this address, may be contacted there."""
        if any(address.version == each.version and address in each for each in self.networks):
            return True
        if not all(map(_is_public, (address, *_inside(address)))):
            return False
        return self._names(host)

    def _names(self, host: str) -> bool:
        return any(fnmatch.fnmatchcase(host, each) for each in self.names)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of `host` that may be contacted, in the order of the resolver.

        Raises NotAskedError where there are none, and ProbeError where the host has no address at all. Whoever connects takes
        these and does not ask the resolver again: a second answer could be another one.
        """
        host = host.lower().rstrip(".")
        if not self._names(host) and not (self.networks and _needs_no_resolver(host)):
            # Whoever wrote the configuration may serve the name, and learn by the question who reads it.
            raise NotAskedError(_REFUSED.format(quote(host)), _CURE)
        found = await _resolved(host, port)
        allowed = [each for each in found if self.allows(host, ipaddress.ip_address(each.partition("%")[0]))]
        if allowed:
            return allowed[:MOST_ADDRESSES]
        # Only what the configuration says is shown: which inner address a name has may be nobody's business.
        first = ipaddress.ip_address(found[0].partition("%")[0])
        inner = not all(map(_is_public, (first, *_inside(first))))
        raise NotAskedError((_INNER if inner else _REFUSED).format(quote(host)), _CURE)


def _needs_no_resolver(host: str) -> bool:
    """Whether it is an address, or a name of this machine, which no resolver asks others for (RFC 6761)."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return True


async def _resolved(host: str, port: int) -> list[str]:
    try:
        return [str(ipaddress.ip_address(host.strip("[]")))]
    except ValueError:
        pass
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ProbeError(UNREACHABLE, f"The name {quote(host)} is not known") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    if not addresses:
        raise ProbeError(UNREACHABLE, f"The name {quote(host)} is not known")
    return addresses


def _is_public(address: Address) -> bool:
    if any(address.version == each.version and address in each for each in _NOT_PUBLIC):
        return False
    if address.version == 6 and address not in _UNICAST and address not in _NAT64:
        return False
    return address.is_global and not address.is_multicast


def _inside(address: Address) -> tuple[Address, ...]:
    """The addresses that an IPv6 address carries inside, and to which a gateway would pass the connection on."""
    if not isinstance(address, ipaddress.IPv6Address):
        return ()
    found = [each for each in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())) if each is not None]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(found)
