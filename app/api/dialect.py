"""Which vendor's dialect a client of `/v1` speaks, where the path alone doesn't tell: errors and lists are written in it."""

from __future__ import annotations

from fastapi import Request

from app.formats.base import Format
from app.services import Services

OPENAI = "openai_chat"
ANTHROPIC = "anthropic_messages"
GOOGLE = "gemini_generate"


def dialect_of(request: Request) -> str:
    """A format's name: Anthropic's clients send `anthropic-version`; Google's ask below `/v1beta`, or name their SDK."""
    path: str = request.scope["path"]
    headers = request.headers
    if path.startswith("/v1beta/") or "x-goog-api-client" in headers:
        return GOOGLE
    if path.startswith("/v1/messages") or "anthropic-version" in headers:
        return ANTHROPIC
    return OPENAI


def format_of(request: Request, services: Services) -> Format:
    """The format in which this client is told of errors."""
    return services.formats[dialect_of(request)]
