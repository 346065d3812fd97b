"""The built-in demo upstream: chat below `/v1`, the unified media API at the root."""

from __future__ import annotations

from app.providers.base import CHAT, Provider
from app.providers.demo.media import DemoMedia

PROVIDERS = (Provider("demo", None, CHAT, needs_secret=False, media=DemoMedia()),)
