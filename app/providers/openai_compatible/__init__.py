"""Every vendor that speaks OpenAI's Chat Completions: a row each, with its deviations by name.

Base URLs are the vendors' documented ones. Any other server of this kind is provider `openai_compatible` with a base URL.
"""

from __future__ import annotations

from app.providers.base import CHAT, Provider

PROVIDERS = (
    # OpenAI's reasoning models refuse max_tokens; Azure's v1 API is the same API under the resource's own host.
    Provider("openai", "https://api.openai.com/v1", CHAT, cap_field="max_completion_tokens"),
    Provider("azure", None, CHAT, auth_header="api-key", auth_prefix="", cap_field="max_completion_tokens"),
    Provider("deepseek", "https://api.deepseek.com/v1", CHAT),
    # xAI counts reasoning beside completion_tokens, not inside.
    Provider("xai", "https://api.x.ai/v1", CHAT, quirks=frozenset({"reasoning_outside_completion"})),
    Provider("qwen", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", CHAT),
    Provider("dashscope", "https://dashscope.aliyuncs.com/compatible-mode/v1", CHAT),
    Provider("moonshot", "https://api.moonshot.ai/v1", CHAT),
    Provider("mistral", "https://api.mistral.ai/v1", CHAT),
    Provider("groq", "https://api.groq.com/openai/v1", CHAT),
    Provider("openrouter", "https://openrouter.ai/api/v1", CHAT),
    Provider("ollama", "http://127.0.0.1:11434/v1", CHAT, needs_secret=False),
    Provider("vllm", None, CHAT, needs_secret=False),
    Provider("openai_compatible", None, CHAT, needs_secret=False),
    Provider("demo", None, CHAT, needs_secret=False),
)
