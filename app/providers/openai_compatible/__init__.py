"""Every vendor that speaks OpenAI's Chat Completions: a row each, with its deviations by name.

Base URLs are the vendors' documented ones. Any other server of this kind is provider `openai_compatible` with a base URL.
"""

from __future__ import annotations

from app.providers.base import CHAT, Provider
from app.providers.openai.media import OpenAIMedia

PROVIDERS = (
    Provider("deepseek", "https://api.deepseek.com/v1", CHAT),
    Provider("qwen", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", CHAT),
    Provider("dashscope", "https://dashscope.aliyuncs.com/compatible-mode/v1", CHAT),
    Provider("moonshot", "https://api.moonshot.ai/v1", CHAT),
    Provider("mistral", "https://api.mistral.ai/v1", CHAT),
    Provider("groq", "https://api.groq.com/openai/v1", CHAT),
    Provider("openrouter", "https://openrouter.ai/api/v1", CHAT),
    Provider("ollama", "http://127.0.0.1:11434/v1", CHAT, needs_secret=False),
    Provider("vllm", None, CHAT, needs_secret=False),
    # Many of these make pictures and speech too: LocalAI, vLLM-Omni, …
    Provider("openai_compatible", None, CHAT, needs_secret=False, media=OpenAIMedia("openai_compatible", exact=False)),
)
