"""What can't be told to an upstream, and the client's field that the refusal names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.matrix.kinds import Kind
from tests.matrix.talk import Client

MISSING = frozenset(
    {
        ("stop", "openai_responses"),  # has no stop sequences
        ("json", "anthropic_messages"),  # has JSON by a schema alone
        ("one_call", "gemini_generate"),  # has no switch against parallel calls
        ("choice", "ollama"),  # doesn't heed it
    }
)
"""Features, and the formats or the kinds of upstream that have no place for them."""

FIELDS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("stop", "openai_chat"): "stop",
        ("stop", "anthropic_messages"): "stop_sequences",
        ("stop", "gemini_generate"): "generationConfig.stopSequences",
        ("json", "openai_chat"): "response_format",
        ("json", "openai_responses"): "text.format",
        ("json", "gemini_generate"): "generationConfig.responseMimeType",
        ("one_call", "openai_chat"): "parallel_tool_calls",
        ("one_call", "openai_responses"): "parallel_tool_calls",
        ("one_call", "anthropic_messages"): "tool_choice.disable_parallel_tool_use",
        ("choice", "openai_responses"): "tool_choice",
        ("choice", "anthropic_messages"): "tool_choice",
        ("choice", "gemini_generate"): "toolConfig.functionCallingConfig",
    }
)
"""How a client's format calls a feature."""


def untold_field(feature: str, client: Client, kind: Kind) -> str | None:
    """The client's field that can't be told; None where it can."""
    if client.format == kind.format or not MISSING & {(feature, kind.format), (feature, kind.name)}:
        return None
    return FIELDS[feature, client.format]
