"""The demo's media side: the unified API, beside the `/v1` that its base URL ends with for chat."""

from __future__ import annotations

from app.providers.media import Site
from app.providers.unified.media import UnifiedMedia


class DemoMedia(UnifiedMedia):
    """Unlike another platform's, its base URL is that of chat."""

    platform: str = "demo"

    def root(self, site: Site) -> str:
        return site.base_url.removesuffix("/v1")
