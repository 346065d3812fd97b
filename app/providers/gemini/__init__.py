"""Google's Gemini API: chat and images by `generateContent`, videos by the Interactions API.

The base URL is the API's root, without a version. Veo is gone from this API (use `vertex`), and so is its shape of
`predictLongRunning`; servers that still offer it under this API's paths aren't spoken to.
"""

from __future__ import annotations

from typing import Protocol

from app.core.media import Job, Scope
from app.core.usage import Usage
from app.errors import bad_upstream_response
from app.providers.base import CHAT, Provider, Spot
from app.providers.gemini import images, videos
from app.providers.jobs import check_scope
from app.providers.media import Call, Characters, Handle, Outcome, Reply, Running, Site


class _Kind(Protocol):
    """What the modules of images and of videos both offer."""

    def check(self, job: Job) -> None: ...

    def units(self, job: Job) -> Usage: ...

    def submit(self, job: Job, model: str) -> Call: ...

    def read_submitted(self, reply: Reply) -> Outcome: ...


class GeminiMedia:
    """See `app.providers.media.Media`. Images are answered at once, so only videos are ever polled."""

    platform = "google"
    scopes = frozenset({Scope.IMAGES, Scope.VIDEOS})
    # Bytes are taken everywhere. URLs of the public are documented for generateContent alone.
    takes_urls = False
    idempotent = False
    cancels = True
    remixes = False
    characters: Characters | None = None

    def check(self, job: Job, model: str) -> None:
        check_scope(job, self.scopes, "Google's Gemini API")
        _kind(job.scope).check(job)

    def units(self, job: Job, model: str) -> Usage:
        return _kind(job.scope).units(job)

    def submit(self, job: Job, model: str, key: str, site: Site) -> Call:
        return _kind(job.scope).submit(job, model)

    def read_submitted(self, job: Job, reply: Reply) -> Outcome:
        return _kind(job.scope).read_submitted(reply)

    def poll(self, handle: Handle, site: Site) -> Call:
        return videos.poll(handle)

    def read_polled(self, handle: Handle, reply: Reply) -> Outcome:
        return videos.read_polled(handle, reply)

    def cancel(self, handle: Handle, site: Site) -> Call | None:
        return videos.cancel(handle)

    def find(self, job: Job, model: str, key: str, site: Site) -> Call | None:
        return None

    def read_found(self, job: Job, key: str, reply: Reply) -> Running | None:
        raise bad_upstream_response("This upstream can't tell whether a task arrived.")


def _kind(scope: Scope) -> _Kind:
    return videos if scope is Scope.VIDEOS else images


MODEL = "/v1beta/models/{model}"
"""Aliases that end with `-latest` are known to v1beta alone."""

PROVIDERS = (
    Provider(
        "gemini",
        "https://generativelanguage.googleapis.com",
        {"gemini_generate": f"{MODEL}:generateContent"},
        stream_paths={"gemini_generate": f"{MODEL}:streamGenerateContent?alt=sse"},
        count_paths={"gemini_generate": f"{MODEL}:countTokens"},
        auth_header="x-goog-api-key",
        auth_prefix="",
        surfaces={"embeddings": Spot(f"{MODEL}:batchEmbedContents", "gemini")},
        media=GeminiMedia(),
    ),
    # Its endpoint for OpenAI's clients is a provider of its own, since it is signed in another way.
    Provider(
        "gemini_openai",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        CHAT,
        quirks=frozenset({"google_signatures", "output_only_in_total"}),
        surfaces={"embeddings": Spot("/embeddings")},
    ),
)
