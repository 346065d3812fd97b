"""xAI: chat as OpenAI's, videos as deferred requests, images at once."""

from __future__ import annotations

from app.providers.base import CHAT, RESPONSES, Provider
from app.providers.xai.media import XaiMedia

PROVIDERS = (
    # xAI counts reasoning beside completion_tokens, not inside.
    Provider(
        "xai",
        "https://api.x.ai/v1",
        {**CHAT, **RESPONSES},
        quirks=frozenset({"reasoning_outside_completion", "no_stop_with_reasoning"}),
        media=XaiMedia(),
    ),
)
