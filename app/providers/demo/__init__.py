"""The built-in demo upstream: every chat format and all the rest of OpenAI's API below its base URL, which ends in
`/v1`, and the unified media API.
"""

from __future__ import annotations

from app.providers.base import CHAT, OPENAI_OBJECTS, OPENAI_SURFACES, RESPONSES, Provider, Spot
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
        surfaces={**OPENAI_SURFACES, "rerank": Spot("/rerank", "jina")},
        objects=OPENAI_OBJECTS,
        media=DemoMedia(),
    ),
)
