"""The built-in demo upstream: every chat format, images, speech and Realtime below its base URL, which ends in `/v1`, and
the unified media API.
"""

from __future__ import annotations

from app.providers.base import CHAT, OPENAI_SURFACES, RESPONSES, Provider
from app.providers.demo.media import DemoMedia

PROVIDERS = (
    Provider(
        "demo",
        None,
        {
            **CHAT,
            **RESPONSES,
            "anthropic_messages": "/messages",
            "gemini_generate": "^/v1beta/models/{model}:generateContent",
        },
        stream_paths={"gemini_generate": "^/v1beta/models/{model}:streamGenerateContent?alt=sse"},
        count_paths={
            "openai_responses": "/responses/input_tokens",
            "anthropic_messages": "/messages/count_tokens",
            "gemini_generate": "^/v1beta/models/{model}:countTokens",
        },
        headers={"anthropic-version": "2023-06-01"},
        needs_secret=False,
        surfaces={name: OPENAI_SURFACES[name] for name in ("image_generations", "image_edits", "speech", "realtime")},
        media=DemoMedia(),
    ),
)
