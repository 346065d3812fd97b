"""Anthropic, and other servers that speak its Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.providers.base import Provider

_PATHS: Mapping[str, str] = MappingProxyType({"anthropic_messages": "/v1/messages"})
_COUNTED: Mapping[str, str] = MappingProxyType({"anthropic_messages": "/v1/messages/count_tokens"})

# Of clients that name no version, which Anthropic demands: the older one takes all that the newer one takes, and sampling.
# A converted request says itself which one it is written for.
_HEADERS: Mapping[str, str] = MappingProxyType({"anthropic-version": "2023-06-01"})

PROVIDERS = (
    Provider(
        "anthropic",
        "https://api.anthropic.com",
        _PATHS,
        count_paths=_COUNTED,
        # Its SDKs send a bearer token by now; the reference of both API versions has this header.
        auth_header="x-api-key",
        auth_prefix="",
        headers=_HEADERS,
        quirks=frozenset({"https_images"}),
    ),
    Provider(
        "anthropic_compatible",
        None,
        _PATHS,
        count_paths=_COUNTED,
        auth_header="x-api-key",
        auth_prefix="",
        headers=_HEADERS,
        needs_secret=False,
    ),
)
