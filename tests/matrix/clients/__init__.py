"""One adaptor for each official SDK."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.matrix.clients.anthropic_messages import AnthropicClient
from tests.matrix.clients.gemini_generate import GeminiClient
from tests.matrix.clients.openai_chat import ChatClient
from tests.matrix.clients.openai_responses import ResponsesClient

CLIENTS: Mapping[str, type[ChatClient | ResponsesClient | AnthropicClient | GeminiClient]] = MappingProxyType(
    {
        "chat": ChatClient,
        "responses": ResponsesClient,
        "anthropic": AnthropicClient,
        "gemini": GeminiClient,
    }
)
"""By short name; each takes the gateway's origin, a key, and the HTTP client to use."""
