"""What a provider is: where it lives, which formats it speaks, how it is signed, and how it deviates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from app.providers.media import Media, TokenSource

CHAT: Mapping[str, str] = MappingProxyType({"openai_chat": "/chat/completions"})
"""The paths of a vendor that speaks OpenAI's Chat Completions."""

NO_PATHS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Provider:
    """One vendor. `base_url` is what the vendor's own SDK takes; None: the operator must give one.

    `paths` are by format name and follow the base URL. `quirks` are named deviations that formats know how to read.
    `cap_field` is the request field that bounds the output where the client named none. `media`: how it makes images,
    videos and audio. `token`: the secret is traded for a token first, and that is what signs.
    """

    name: str
    base_url: str | None
    paths: Mapping[str, str]
    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    quirks: frozenset[str] = field(default_factory=frozenset)
    cap_field: str = "max_tokens"
    needs_secret: bool = True
    media: Media | None = None
    token: TokenSource | None = None

    def sign(self, secret: str) -> dict[str, str]:
        """The headers that authenticate a call; none without a secret."""
        return {self.auth_header: self.auth_prefix + secret} if secret else {}
