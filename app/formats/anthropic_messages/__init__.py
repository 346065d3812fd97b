"""Anthropic's Messages format, as its clients and upstreams speak it, in both API versions."""

from app.formats.anthropic_messages.format import FORMAT, AnthropicMessages

__all__ = ["FORMAT", "AnthropicMessages"]
