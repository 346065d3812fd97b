"""The demo's media side: the unified API, beside the `/v1` that its base URL ends with for chat."""

from __future__ import annotations

from dataclasses import replace

from app.providers.media import Done, Handle, Outcome, Reply, Site
from app.providers.unified.media import UnifiedMedia


class DemoMedia(UnifiedMedia):
    """Unlike another platform's, its base URL is that of chat, and its results don't last."""

    platform: str = "demo"

    def root(self, site: Site) -> str:
        return site.base_url.removesuffix("/v1")

    def read_polled(self, handle: Handle, reply: Reply) -> Outcome:
        """Results are copied: they are gone with the demo, and a first look at the gateway shows its own links."""
        outcome = super().read_polled(handle, reply)
        if isinstance(outcome, Done):
            return replace(outcome, outputs=tuple(replace(output, keep=True) for output in outcome.outputs))
        return outcome
