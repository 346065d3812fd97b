"""Which URLs and addresses a user may make the gateway call: public ones, and networks that the operator has allowed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from yarl import URL

from app.settings import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL = 2048

_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NO_V6 = "must hold an IPv6 address between brackets"

_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
"""All that IANA has given out for global unicast (RFC 4291 §2.4); what lies outside has a meaning of its own."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The well-known prefix (RFC 6052 §2.1): on a network without IPv4, every IPv4-only host resolves to it."""

_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "192.0.0.0/24",  # RFC 6890: two of it are called global, Oracle's metadata service is a third
        "192.88.99.0/24",  # RFC 7526: relays of 6to4
        "168.63.129.16/32",  # Azure's virtual address of the host, which has no reserved range
    )
)
_SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # RFC 2928: protocols, Teredo (which embeds an IPv4 address) among them
        "2001:db8::/32",  # RFC 3849: documentation
        "2002::/16",  # RFC 3056: 6to4, which embeds an IPv4 address
        "3fff::/20",  # RFC 9637: documentation, later than Python's tables
    )
)


class UrlRefused(ValueError):
    """A URL that isn't called. The message says why, without repeating what the URL may hold."""


class AddressRefused(OSError):
    """An address that isn't connected to."""


class Guard:
    """Lets public addresses pass, and those in `allowed`. It resolves nothing itself."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def read_url(self, text: str) -> URL:
        """The URL as the client will use it: the one parser, so that no two readings can differ.

        Raises UrlRefused for anything but http(s) to a host name or to an address that may be reached.
        """
        if len(text) > MAX_URL or any(not character.isprintable() or character in ' \\"<>' for character in text):
            raise UrlRefused(f"must be a URL of at most {MAX_URL} characters, without spaces")
        try:
            url = URL(text)
        except ValueError as error:
            raise UrlRefused("must be a URL") from error
        if url.scheme not in ("http", "https"):
            raise UrlRefused("must begin with https:// or http://")
        authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]
        if "@" in authority:
            raise UrlRefused("must not hold a user or a password")
        host = url.raw_host
        if not host:
            raise UrlRefused("must name a host")
        if not url.port:
            raise UrlRefused("must not name port 0")
        if "[" in authority and ":" not in host:
            raise UrlRefused(_NO_V6)
        address = _read_literal(host)
        if address is not None:
            self.check_address(address)
        elif len(host) > 253 or _NAME.fullmatch(host) is None:
            raise UrlRefused("must name a host by a DNS name or an IP address")
        return url

    def check_address(self, address: Address) -> None:
        """Raises UrlRefused."""
        if not self.allows(address):
            raise UrlRefused("must not lead to a private or reserved address")

    def allows(self, address: Address) -> bool:
        """Whether the gateway may connect to it for a user. IPv6 that maps or translates IPv4 counts as the IPv4."""
        address = _embedded(address) or address
        if any(address.version == network.version and address in network for network in self._allowed):
            return True
        if isinstance(address, ipaddress.IPv4Address):
            special = any(address in network for network in _SPECIAL_V4)
        else:
            special = address not in _PUBLIC_V6 or any(address in network for network in _SPECIAL_V6)
        return address.is_global and not address.is_multicast and not special


def read_address(text: str) -> Address:
    """An address as a resolver or a socket writes it. Raises AddressRefused for anything else."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise AddressRefused("not an IP address") from error


def _read_literal(host: str) -> Address | None:
    """The address that a URL's host is; None for a name.

    A last label that is a number makes the whole an IPv4 address to `getaddrinfo` and browsers (WHATWG URL §3.5), in
    decimal, octal, hexadecimal and shortened forms. Only four plain decimals are taken: the rest are disguises.
    """
    if ":" in host:
        if "%" in host:
            raise UrlRefused("must not name a zone of the gateway's own network")
        try:
            return ipaddress.IPv6Address(host)
        except ValueError as error:
            raise UrlRefused(_NO_V6) from error
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) is None:
        return None
    try:
        return ipaddress.IPv4Address(host)
    except ValueError as error:
        raise UrlRefused("must write an IPv4 address as four decimal numbers") from error


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
