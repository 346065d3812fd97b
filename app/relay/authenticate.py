"""Whose request this is: the key in any of the places where clients put one, checked before anything is read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import parse_qs

from app.accounts.principals import Principal, Principals
from app.accounts.secrets import KEY_PREFIX, MAX_KEY_LENGTH
from app.errors import GatewayError, Kind, unauthenticated
from app.relay.exchange import Scope

Networks = Sequence[IPv4Network | IPv6Network]

_KEY_HEADERS = (b"x-api-key", b"x-goog-api-key", b"api-key")
_MISSING = "You didn't provide an API key. Send it as `Authorization: Bearer sk-...`."
_WRONG = "Incorrect API key provided."


async def authenticate(scope: Scope, principals: Principals, trusted_proxies: Networks) -> Principal:
    """The principal of a live key that may be used from this address.

    Raises GatewayError: 401 for any key that is missing, malformed, unknown, disabled or expired (one answer for the last
    four), 429 for one that was never good here from an address that has presented too many unknown ones, 403 for an address
    that the key isn't allowed from, 503 when it can't be told.
    """
    principal = await principals.find(presented_key(scope), lambda: client_address(scope, trusted_proxies))
    return admitted(principal, scope, trusted_proxies)


def admitted(principal: Principal | None, scope: Scope, trusted_proxies: Networks) -> Principal:
    """A principal that was found, if it is alive and may be used from this address. Raises as `authenticate` does."""
    if principal is None or not principal.is_live(time.time()):
        raise unauthenticated(_WRONG)
    if principal.networks is not None and not principal.allows_address(client_address(scope, trusted_proxies)):
        raise GatewayError(Kind.PERMISSION, "ip_not_allowed", "This API key may not be used from your address.")
    return principal


def presented_key(scope: Scope) -> str:
    """The key as sent. Raises GatewayError 401 when there is none, or none that could be ours."""
    key = presented_credential(scope)
    if len(key) > MAX_KEY_LENGTH or not key.startswith(KEY_PREFIX):
        raise unauthenticated(_WRONG)
    return key


def presented_credential(scope: Scope) -> str:
    """Whatever stands in a key's place. Raises GatewayError 401 when there is nothing, or nothing that could be one."""
    bearer: bytes | None = None
    other: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            if bearer is not None:  # two identities: neither is believed
                raise unauthenticated(_WRONG)
            bearer = value
        elif name in _KEY_HEADERS and other is None:
            other = value
    if bearer is not None:
        scheme, _, credential = bearer.strip().partition(b" ")
        if scheme.lower() != b"bearer":
            raise unauthenticated(_WRONG if scheme else _MISSING)
        candidate = credential.strip()
    elif other is not None:
        candidate = other.strip()
    else:
        candidate = _key_in_query(scope)
    if not candidate:
        raise unauthenticated(_MISSING)
    if not candidate.isascii() or not candidate.decode("ascii").isprintable():
        raise unauthenticated(_WRONG)
    return candidate.decode("ascii")


def _key_in_query(scope: Scope) -> bytes:
    query: bytes = scope.get("query_string", b"")
    if b"key=" not in query:
        return b""
    try:
        values = parse_qs(query.decode("latin-1"), max_num_fields=50).get("key", [])
    except ValueError:  # more fields than anybody needs
        return b""
    return values[0].encode("latin-1", "replace") if len(values) == 1 else b""


def client_address(scope: Scope, trusted_proxies: Networks) -> IPv4Address | IPv6Address | None:
    """The client's address: the peer's, or what the nearest untrusted hop in X-Forwarded-For is, read from the right."""
    client = scope.get("client")
    address = _read_address(client[0]) if client else None
    if address is None or not _is_trusted(address, trusted_proxies):
        return address
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    for hop in reversed(forwarded.decode("latin-1").split(",")):
        if not hop.strip():
            continue
        address = _read_address(hop.strip())
        if address is None or not _is_trusted(address, trusted_proxies):
            return address
    return address


def _is_trusted(address: IPv4Address | IPv6Address, trusted_proxies: Networks) -> bool:
    return any(address in network for network in trusted_proxies)


def _read_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped  # a dual-stack socket shows IPv4 clients like this
    return address
