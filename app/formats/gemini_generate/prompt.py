"""What a generateContent request feeds a model, gathered where usage must be estimated, or counted without an upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.core.images import PREFIX, image_tokens, read_base64
from app.formats.base import Prompt
from app.formats.gemini_generate.spelling import respell


def read_prompt(body: bytes) -> Prompt:
    """The text of contents, system instruction, calls and their results, tools and schema, and the tokens of all images.

    Sound, video and files are left out: what they come to can't be told without Google's tokenizer.
    """
    try:
        value = json.loads(body)
        if not isinstance(value, dict):
            return Prompt("", 0)
        request = respell(value)
        if isinstance(request.get("generateContentRequest"), dict):  # of countTokens
            request = respell(request["generateContentRequest"])
        contents = request.get("contents")
        turns = [request.get("systemInstruction"), *(contents if isinstance(contents, list) else [contents])]
        found = [pair for turn in turns for pair in _walk(turn)]
        schemas = [json.dumps(schema, ensure_ascii=False) for schema in _schemas(request) if schema]
    except (ValueError, RecursionError):
        return Prompt(body.decode("utf-8", "replace"), 0)
    texts = [text for text, _ in found if text]
    return Prompt("\n".join(texts + schemas), sum(tokens for _, tokens in found))


def _walk(turn: object) -> Iterator[tuple[str, int]]:
    """Text and image tokens of each part, those inside results of functions included."""
    if isinstance(turn, str):
        yield turn, 0
    parts = turn.get("parts") if isinstance(turn, dict) else None
    for value in parts if isinstance(parts, list) else [parts]:
        if not isinstance(value, dict):
            continue
        part = respell(value)
        if isinstance(part.get("text"), str):
            yield part["text"], 0
        for name in ("functionCall", "functionResponse"):
            if isinstance(called := part.get(name), dict):
                wanted = {key: called[key] for key in ("name", "args", "response") if key in called}
                yield json.dumps(wanted, ensure_ascii=False), 0
                yield from _walk(called)
        if tokens := _image_tokens(part):
            yield "", tokens


def _image_tokens(part: dict[str, Any]) -> int:
    """Zero for a part that is no image; the dearest for one by address."""
    for name in ("inlineData", "fileData"):
        media = respell(part[name]) if isinstance(part.get(name), dict) else {}
        if str(media.get("mimeType", "")).startswith("image/"):
            data = media.get("data")
            size = read_base64(data[:PREFIX].encode("utf-8", "replace")) if isinstance(data, str) else None
            return image_tokens(None, size)
    return 0


def _schemas(request: dict[str, Any]) -> tuple[object, ...]:
    config = request.get("generationConfig")
    wanted = respell(config) if isinstance(config, dict) else {}
    return request.get("tools"), wanted.get("responseSchema"), wanted.get("responseJsonSchema")
