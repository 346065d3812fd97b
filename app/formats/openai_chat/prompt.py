"""What a Chat Completions request feeds a model, gathered where usage must be estimated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.core.images import PREFIX, image_tokens, read_data_url
from app.formats.base import Prompt

MESSAGE_TEXTS = ("name", "refusal", "reasoning_content", "reasoning")
PART_TEXTS = ("text", "refusal", "content", "thinking")


def read_prompt(body: bytes) -> Prompt:
    """The text of messages, tool calls, tools and schemas, and the tokens of all images.

    Sound, video and files are left out: what they come to can't be told without their vendor's tokenizer.
    """
    try:
        value = json.loads(body)
        if not isinstance(value, dict):
            return Prompt("", 0)
        schemas = [json.dumps(schema, ensure_ascii=False) for schema in _schemas(value) if schema]
    except (ValueError, RecursionError):
        return Prompt(body.decode("utf-8", "replace"), 0)
    texts: list[str] = []
    tokens = 0
    for message in _objects(value.get("messages")):
        content = message.get("content")
        texts += [content] if isinstance(content, str) else []
        texts += [*_strings(message, MESSAGE_TEXTS), *_call_texts(message)]
        for part in content if isinstance(content, list) else []:
            if isinstance(part, str):
                texts.append(part)
            elif isinstance(part, dict):
                texts += _strings(part, PART_TEXTS)
                tokens += _image_tokens(part)
    return Prompt("\n".join(texts + schemas), tokens)


def _image_tokens(part: dict[str, Any]) -> int:
    """Zero for a part that is no image. Some clients give the address alone instead of `{"url", "detail"}`."""
    image = part.get("image_url")
    url, detail = (image.get("url"), image.get("detail")) if isinstance(image, dict) else (image, part.get("detail"))
    if not isinstance(url, str):
        return 0
    return image_tokens(detail, read_data_url(url[: 2 * PREFIX].encode("utf-8", "replace")))


def _schemas(request: dict[str, Any]) -> tuple[object, ...]:
    wanted = request.get("response_format")
    return (
        request.get("tools"),
        request.get("functions"),
        wanted.get("json_schema") if isinstance(wanted, dict) else None,
    )


def _call_texts(message: dict[str, Any]) -> Iterator[str]:
    for call in [*_objects(message.get("tool_calls")), {"function": message.get("function_call")}]:
        for kind in ("function", "custom"):
            if isinstance(called := call.get(kind), dict):
                yield from _strings(called, ("name", "arguments", "input"))


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _strings(value: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return [value[name] for name in names if isinstance(value.get(name), str)]
