"""What a request asks of a model beside text, and how long it is: so that no call is wasted on one that can't do it."""

from __future__ import annotations

import re

from app.formats.base import Request

VISION, TOOLS, JSON_SCHEMA, FILES, AUDIO = "vision", "tools", "json_schema", "files", "audio"

_IN_CONVERSATION = {
    VISION: re.compile(rb'"type"\s*:\s*"(?:image_url|input_image|image)"|"mime_?[tT]ype"\s*:\s*"image/'),
    FILES: re.compile(rb'"type"\s*:\s*"(?:file|input_file|document)"|"mime_?[tT]ype"\s*:\s*"application/pdf'),
    AUDIO: re.compile(rb'"type"\s*:\s*"input_audio"|"mime_?[tT]ype"\s*:\s*"audio/'),
}
"""How the formats spell what stands in a conversation: Chat Completions, Responses, Messages and Gemini's parts."""

_SCHEMA_FIELDS = ("response_format", "text", "output_config", "output_format", "generationConfig", "generation_config")
_SCHEMA = re.compile(rb'"type"\s*:\s*"json_schema"|"response_?(?:json_?)?[sS]chema"|"responseJsonSchema"')


def needs_of(request: Request) -> frozenset[str]:
    """Of vision, tools, json_schema, files and audio."""
    needs = {need for need, spelling in _IN_CONVERSATION.items() if spelling.search(memoryview(request.conversation))}
    tools = request.fields.get("tools")
    if tools is not None and bytes(tools).strip() not in (b"null", b"[]"):
        needs.add(TOOLS)
    if any(name in request.fields and _SCHEMA.search(memoryview(request.fields[name])) for name in _SCHEMA_FIELDS):
        needs.add(JSON_SCHEMA)
    return frozenset(needs)
