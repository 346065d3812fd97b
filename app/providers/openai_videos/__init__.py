"""Servers of OpenAI's videos API, `/v1/videos`. OpenAI's own was shut down in September 2026; others go on serving it."""

from __future__ import annotations

from app.providers.base import NO_PATHS, Provider
from app.providers.openai_videos.media import OpenAIVideos

PROVIDERS = (Provider("openai_videos", None, NO_PATHS, needs_secret=False, media=OpenAIVideos()),)
"""The base URL is what OpenAI's SDK would take, `https://HOST/v1`."""
