"""Who opens a session: a key in any of the places where clients put one, the WebSocket's subprotocols among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.accounts.principals import Principal, Principals
from app.accounts.secrets import digest_of
from app.errors import GatewayError, unauthenticated
from app.realtime.client_secrets import PREFIX, ClientSecret, ClientSecrets
from app.relay.authenticate import Networks, admitted, authenticate, presented_credential
from app.relay.exchange import Scope

PROTOCOL = "realtime"
KEY_PROTOCOL = "openai-insecure-api-key."
"""Browsers can't set headers. Source: openai-node's `realtime/websocket.ts`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """`key_digest`: of the key. `secret`: the client secret that was presented in its place."""

    principal: Principal
    key_digest: bytes
    secret: ClientSecret | None = None


async def identify(scope: Scope, principals: Principals, secrets: ClientSecrets, trusted: Networks) -> Identity:
    """Raises GatewayError as `authenticate` does: one answer for whatever is no good, but an expired client secret."""
    scope = _with_key(scope)
    credential = presented_credential(scope)
    if not credential.startswith(PREFIX):
        return Identity(await authenticate(scope, principals, trusted), digest_of(credential))
    secret = secrets.open(credential)
    principal = admitted(await principals.find_digest(secret.key_digest), scope, trusted)
    return Identity(principal, secret.key_digest, secret)


def _with_key(scope: Scope) -> Scope:
    """The scope with the key that a subprotocol holds as a bearer's. Two identities are none."""
    offered: Sequence[str] = scope.get("subprotocols") or ()
    keys = [name.removeprefix(KEY_PROTOCOL) for name in offered if name.startswith(KEY_PROTOCOL)]
    if not keys:
        return scope
    try:
        beside = presented_credential(scope)
    except GatewayError:
        beside = keys[0]
    if len(set(keys)) > 1 or beside != keys[0]:
        raise unauthenticated("Incorrect API key provided.")
    bare = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
    return {**scope, "headers": [*bare, (b"authorization", b"Bearer " + keys[0].encode())]}
