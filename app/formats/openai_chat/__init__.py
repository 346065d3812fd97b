"""OpenAI's Chat Completions format, as clients and OpenAI-compatible upstreams speak it."""

from app.formats.openai_chat.format import OpenAIChat

FORMAT = OpenAIChat()

__all__ = ["FORMAT", "OpenAIChat"]
