"""Turns of a canonical conversation, written for Anthropic.

Same turns in a row are merged, as Anthropic itself does; tool results go first, as it demands. Ids of tool calls may hold
letters, digits, `_` and `-` alone (unverified: known from its refusals, in no documentation), so another vendor's are
rewritten, the same way in a call and in its result.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any
from zlib import crc32

import msgspec
from msgspec.structs import replace

from app.core.conversation import (
    Ask,
    Audio,
    Block,
    Cache,
    File,
    Image,
    Media,
    Message,
    Opaque,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from app.errors import GatewayError, invalid_request
from app.formats.anthropic_messages.fields import CARRIES, NAME, TITLE, VENDOR
from app.formats.fields import cannot_carry

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
ALIASES: Mapping[str, str] = MappingProxyType({"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg"})
"""What other vendors take for these types."""

PDF = "application/pdf"
LONG_CACHES = frozenset({"30m", "1h", "12h"})

_decode = msgspec.json.Decoder().decode
_ID = re.compile(r"[A-Za-z0-9_-]+")
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")


class MessageWriter:
    """Writes one request's messages. `left_out` gathers the client's names of what was left out of them."""

    __slots__ = ("_ask", "_fold_system", "left_out")

    def __init__(self, ask: Ask, *, fold_system: bool) -> None:
        self._ask = ask
        self._fold_system = fold_system
        self.left_out: list[str] = []

    def write(self) -> list[dict[str, Any]]:
        """Raises GatewayError 400 naming the client's field that can't be carried."""
        turns: list[dict[str, Any]] = []
        for message in self._ask.messages:
            role = "user" if message.role == "system" and self._fold_system else message.role
            content = self._blocks(message)
            if not content:
                continue  # an empty turn says nothing, and Anthropic refuses it
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += content
            else:
                turns.append({"role": role, "content": content})
        for turn in turns:
            turn["content"] = _settle(turn["content"])
        return turns

    def text(self, block: Text) -> dict[str, Any]:
        if block.citations:
            self._drop("citations")
        return self._cached({"type": "text", "text": block.text}, block.cache)

    def _blocks(self, message: Message) -> list[dict[str, Any]]:
        if message.name is not None:
            self._drop("name")
        assistant = message.role == "assistant"
        return [written for block in message.blocks if (written := self._block(block, assistant)) is not None]

    def _block(self, block: Block, assistant: bool) -> dict[str, Any] | None:
        match block:
            case Text():
                # Anthropic refuses empty ones; other vendors' models leave a line end before a tool call.
                return self.text(block) if block.text and not (assistant and block.text.isspace()) else None
            case ToolCall():
                return self._call(block)
            case ToolResult():
                return self._result(block)
            case Thinking():
                return self._thinking(block)
            case Image():
                return self._image(block)
            case File():
                if assistant:
                    raise self._refuse("file", "a document can't stand in an assistant's turn")
                return self._file(block)
            case Refusal(text):
                return {"type": "text", "text": text} if text else None
            case Audio():
                raise self._refuse("audio", CARRIES["audio"].note)
            case Opaque(format, field, value):
                if format != NAME:
                    raise cannot_carry(field, TITLE)
                return dict(value)

    def _thinking(self, block: Thinking) -> dict[str, Any] | None:
        """Only thoughts that Anthropic has signed are of use to it; see `app.core.signatures`."""
        signature = block.signature
        if signature is None or signature.origin != VENDOR:
            self._drop("thinking")
            return None
        if block.redacted:
            return {"type": "redacted_thinking", "data": signature.value}
        return {"type": "thinking", "thinking": block.text, "signature": signature.value}

    def _call(self, block: ToolCall) -> dict[str, Any]:
        call = {
            "type": "tool_use",
            "id": write_id(block.id),
            "name": block.name,
            "input": {"input": block.arguments} if block.custom else self._arguments(block),
        }
        return self._cached(call, block.cache)

    def _arguments(self, block: ToolCall) -> dict[str, Any]:
        if not block.arguments:
            return {}
        try:
            value = _load(block.arguments)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            field = self._ask.field("tool_call")
            raise invalid_request(
                f"'{field}': the arguments of '{block.name}' must be a JSON object.", field, "invalid_value"
            )
        return value

    def _result(self, block: ToolResult) -> dict[str, Any]:
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": write_id(block.call_id)}
        content = [written for part in block.content if (written := self._block(part, False)) is not None]
        if content:
            result["content"] = _shorten(content)
        if block.is_error:
            result["is_error"] = True
        return self._cached(result, block.cache)

    def _image(self, block: Image) -> dict[str, Any]:
        if block.detail is not None:
            self._drop("image_detail")
        media = block.media
        if media.media_type is not None and media.media_type in ALIASES:
            media = replace(media, media_type=ALIASES[media.media_type])
        if media.data is not None and media.media_type not in IMAGE_TYPES:
            raise self._refuse("image", f"its type must be one of {', '.join(sorted(IMAGE_TYPES))}")
        return self._cached({"type": "image", "source": self._source(media, "image_url")}, block.cache)

    def _file(self, block: File) -> dict[str, Any]:
        media = block.media
        kind = (media.media_type or PDF).partition(";")[0].strip().lower()
        if media.data is not None and (media.text or kind.startswith("text/")):
            source: dict[str, Any] = {"type": "text", "media_type": "text/plain", "data": self._plain(media)}
        elif media.file_id is None and kind != PDF:
            raise self._refuse("file" if media.url is None else "file_url", "it takes PDF and text")
        else:
            source = self._source(media, "file_url", kind)
        document: dict[str, Any] = {"type": "document", "source": source}
        if block.name is not None:
            document["title"] = block.name
        return self._cached(document, block.cache)

    def _plain(self, media: Media) -> str:
        if media.text:
            return media.data or ""
        try:
            return b64decode(media.data or "", validate=True).decode()
        except ValueError as error:
            field = self._ask.field("file")
            raise invalid_request(f"'{field}' must be UTF-8 text in base64.", field, "invalid_value") from error

    def _source(self, media: Media, by_url: str, kind: str | None = None) -> dict[str, Any]:
        if media.url is not None:
            if not media.url.startswith(("http://", "https://")):
                raise self._refuse(by_url, "it fetches from http and https addresses only")
            return {"type": "url", "url": media.url}
        if media.file_id is not None:
            if self._ask.format != NAME:
                raise self._refuse("file_id", CARRIES["file_id"].note)
            return {"type": "file", "file_id": media.file_id}
        return {"type": "base64", "media_type": kind or media.media_type, "data": media.data}

    def _cached(self, value: dict[str, Any], cache: Cache | None) -> dict[str, Any]:
        if cache is not None:
            value["cache_control"] = write_cache(cache)
        return value

    def _drop(self, attribute: str) -> None:
        self.left_out.append(self._ask.field(attribute))

    def _refuse(self, attribute: str, why: str) -> GatewayError:
        return cannot_carry(self._ask.field(attribute), TITLE, why)


def write_id(id: str) -> str:
    """An id of a tool call as Anthropic takes it; a checksum keeps apart what would become alike."""
    if _ID.fullmatch(id):
        return id
    return f"{_FOREIGN.sub('_', id)}_{crc32(id.encode('utf-8', 'surrogatepass')):08x}"


def write_cache(cache: Cache) -> dict[str, str]:
    """OpenAI's 30 minutes and 12 hours have no equal: an hour is the longest there is."""
    if cache.ttl is None:
        return {"type": "ephemeral"}
    return {"type": "ephemeral", "ttl": "1h" if cache.ttl in LONG_CACHES else "5m"}


def write_texts(blocks: Iterable[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Blocks of text, or the text alone where it is one without anything to it."""
    return _shorten(list(blocks))


def _settle(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    results = [block for block in content if block["type"] == "tool_result"]
    if results and content[: len(results)] != results:
        content = results + [block for block in content if block["type"] != "tool_result"]
    return _shorten(content)


def _shorten(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if len(content) == 1 and content[0]["type"] == "text" and len(content[0]) == 2:
        return str(content[0]["text"])
    return content


def _load(text: str) -> object:
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return json.loads(text)  # escaped lone surrogates, which the fast decoder refuses
