"""Every vendor that speaks OpenAI's Chat Completions: a row each, with its deviations by name.

Base URLs are the vendors' documented ones. Any other server of this kind is provider `openai_compatible` with a base URL.
`more_paths` are formats that such servers may offer beside it: an operator who knows that one does says so on the channel.
"""

from __future__ import annotations

from app.providers.base import CHAT, OPENAI_SURFACES, RESPONSES, Provider, Spot
from app.providers.openai.media import OpenAIMedia

MORE = {**RESPONSES, "anthropic_messages": "/messages"}

SELF_HOSTED = {**OPENAI_SURFACES, "rerank": Spot("/rerank", "jina")}
"""What servers that people run themselves may offer, each some of it; a channel lists the models that do."""

PROVIDERS = (
    # Its Anthropic endpoint lies beside `/v1`, whatever the base URL.
    Provider(
        "deepseek",
        "https://api.deepseek.com/v1",
        CHAT,
        more_paths={"anthropic_messages": "^/anthropic/v1/messages"},
        quirks=frozenset({"replays_reasoning", "thinking_switch"}),
    ),
    Provider(
        "qwen",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        CHAT,
        quirks=frozenset({"enable_thinking"}),
        surfaces={"embeddings": Spot("/embeddings")},
    ),
    Provider(
        "dashscope",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        CHAT,
        quirks=frozenset({"enable_thinking"}),
        surfaces={"embeddings": Spot("/embeddings")},
    ),
    Provider("moonshot", "https://api.moonshot.ai/v1", CHAT),
    Provider(
        "mistral",
        "https://api.mistral.ai/v1",
        CHAT,
        quirks=frozenset({"strict_fields", "short_call_ids"}),
        surfaces={"embeddings": Spot("/embeddings")},
    ),
    Provider(
        "groq",
        "https://api.groq.com/openai/v1",
        CHAT,
        quirks=frozenset({"strict_fields"}),
        surfaces={name: OPENAI_SURFACES[name] for name in ("speech", "transcriptions", "translations")},
    ),
    Provider(
        "openrouter",
        "https://openrouter.ai/api/v1",
        CHAT,
        more_paths=MORE,
        quirks=frozenset({"reasoning_details"}),
        surfaces={"rerank": Spot("/rerank", "jina"), "embeddings": Spot("/embeddings")},
    ),
    Provider(
        "ollama",
        "http://127.0.0.1:11434/v1",
        CHAT,
        more_paths=MORE,
        quirks=frozenset({"no_image_urls", "no_tool_choice", "no_choices"}),
        needs_secret=False,
        surfaces={"completions": Spot("/completions"), "embeddings": Spot("/embeddings")},
    ),
    Provider("vllm", None, CHAT, more_paths=MORE, needs_secret=False, surfaces=SELF_HOSTED),
    # Many of these make pictures and speech too: LocalAI, vLLM-Omni, …
    Provider(
        "openai_compatible",
        None,
        CHAT,
        more_paths=MORE,
        needs_secret=False,
        surfaces=SELF_HOSTED,
        media=OpenAIMedia("openai_compatible", exact=False),
    ),
)
