"""OpenAI's Responses format, as clients and upstreams speak it."""

from app.formats.openai_responses.format import OpenAIResponses

FORMAT = OpenAIResponses()

__all__ = ["FORMAT", "OpenAIResponses"]
