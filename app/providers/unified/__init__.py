"""Another platform that speaks this gateway's own media API: `/v2/{scope}/generations` and `/sora/v1/characters`."""

from __future__ import annotations

from app.providers.base import NO_PATHS, Provider
from app.providers.unified.media import UnifiedMedia

PROVIDERS = (Provider("unified", None, NO_PATHS, media=UnifiedMedia()),)
"""The base URL is the platform's root, `https://HOST`."""
