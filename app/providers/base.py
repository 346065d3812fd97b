"""What a provider is: where it lives, which formats it speaks, how it is signed, and how it deviates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from app.providers.media import Media, TokenSource

CHAT: Mapping[str, str] = MappingProxyType({"openai_chat": "/chat/completions"})
"""The paths of a vendor that speaks OpenAI's Chat Completions."""

RESPONSES: Mapping[str, str] = MappingProxyType({"openai_responses": "/responses"})
"""The path of a vendor that speaks OpenAI's Responses."""

COUNTED: Mapping[str, str] = MappingProxyType({"openai_responses": "/responses/input_tokens"})

NO_PATHS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a vendor serves a surface, and in whose shape (`dialect`). The path is as in `Provider.paths`."""

    path: str
    dialect: str = "openai"


NO_SPOTS: Mapping[str, Spot] = MappingProxyType({})

OPENAI_SURFACES: Mapping[str, Spot] = MappingProxyType(
    {
        "completions": Spot("/completions"),
        "embeddings": Spot("/embeddings"),
        "moderations": Spot("/moderations"),
        "image_generations": Spot("/images/generations"),
        "image_edits": Spot("/images/edits"),
        "image_variations": Spot("/images/variations"),
        "speech": Spot("/audio/speech"),
        "transcriptions": Spot("/audio/transcriptions"),
        "translations": Spot("/audio/translations"),
        "realtime": Spot("/realtime"),
    }
)
"""Everything beside chat that OpenAI serves under a model's name."""

OPENAI_OBJECTS = ("files", "uploads", "batches", "vector_stores", "conversations", "containers")
"""What OpenAI keeps for its clients, by how the paths begin."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One vendor. `base_url` is what the vendor's own SDK takes; None: the operator must give one.

    `paths` are by format name, the one that converted requests take first, and follow the base URL; one that begins with
    `^` follows its host alone. `{model}` in a path stands for the upstream's name of the model. `more_paths` are of formats
    that a channel speaks only where its option `formats` says so. `stream_paths`: where streams have paths of their own.
    `count_paths`: where input tokens are counted, free of charge. `headers` go with every call. `quirks` are named
    deviations that formats know how to read and write. `cap_field` is the request field that bounds the output where the
    client named none. `surfaces`: what it serves beside chat (embeddings, speech, …), by the surface's name. `objects`: what
    it keeps for clients (files, vector stores, …), by how the paths begin. `media`: how it makes images, videos and audio.
    `token`: the secret is traded for a token first, and that is what signs.
    """

    name: str
    base_url: str | None
    paths: Mapping[str, str]
    more_paths: Mapping[str, str] = field(default_factory=lambda: NO_PATHS)
    stream_paths: Mapping[str, str] = field(default_factory=lambda: NO_PATHS)
    count_paths: Mapping[str, str] = field(default_factory=lambda: NO_PATHS)
    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    headers: Mapping[str, str] = field(default_factory=lambda: NO_PATHS)
    quirks: frozenset[str] = field(default_factory=frozenset)
    cap_field: str = "max_tokens"
    needs_secret: bool = True
    surfaces: Mapping[str, Spot] = field(default_factory=lambda: NO_SPOTS)
    objects: tuple[str, ...] = ()
    media: Media | None = None
    token: TokenSource | None = None

    def sign(self, secret: str) -> dict[str, str]:
        """The headers that authenticate a call; none without a secret."""
        return {self.auth_header: self.auth_prefix + secret} if secret else {}
