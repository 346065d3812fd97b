"""Turns of a canonical conversation, written for Google.

Same turns in a row are merged; results of functions go first, right after the calls.
"""

from __future__ import annotations

from typing import Any

from app.core.conversation import (
    Ask,
    Audio,
    Block,
    File,
    Image,
    Message,
    Opaque,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from app.errors import GatewayError, invalid_request
from app.formats.fields import cannot_carry
from app.formats.gemini_generate.fields import CARRIES, NAME, TITLE
from app.formats.gemini_generate.parts import load_object, write_media
from app.formats.gemini_generate.results import write_response
from app.formats.gemini_generate.thoughts import (
    SKIP_SIGNATURE,
    VENDOR,
    write_bare_signature,
    write_signature,
    write_thought,
)

MEDIA = (Image, Audio, File)


class ContentWriter:
    """Writes one request's contents. `left_out` gathers the client's names of what was left out of them."""

    __slots__ = ("_ask", "_names", "left_out")

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._names: dict[str, str] = {}
        """Of the tools that were called, by the call's id."""
        self.left_out: list[str] = []

    def system(self) -> list[dict[str, Any]]:
        return [self._text(text) for text in self._ask.system if text.text]

    def write(self) -> list[dict[str, Any]]:
        """Raises GatewayError 400 naming the client's field that can't be carried."""
        turns: list[dict[str, Any]] = []
        for message in self._ask.messages:
            role = "model" if message.role == "assistant" else "user"
            parts = self._parts(message)
            if not parts:
                continue  # an empty turn says nothing, and Google refuses it
            if turns and turns[-1]["role"] == role:
                turns[-1]["parts"] += parts
            else:
                turns.append({"role": role, "parts": parts})
        for turn in turns:
            self._settle(turn)
        return turns

    def _settle(self, turn: dict[str, Any]) -> None:
        """Results go first. The first call of a turn must be signed, if only as one that no Gemini model made."""
        parts = turn["parts"]
        if turn["role"] == "user":
            results = [part for part in parts if "functionResponse" in part]
            if results and parts[: len(results)] != results:
                turn["parts"] = results + [part for part in parts if "functionResponse" not in part]
        elif self._ask.format != NAME:
            first = next((part for part in parts if "functionCall" in part), None)
            if first is not None:
                first.setdefault("thoughtSignature", SKIP_SIGNATURE)

    def _parts(self, message: Message) -> list[dict[str, Any]]:
        if message.name is not None:
            self._drop("name")
        parts: list[dict[str, Any]] = []
        pending: str | None = None
        for block in message.blocks:
            if isinstance(block, Thinking):
                if pending is not None:
                    parts.append(write_bare_signature(pending))
                pending = self._think(block, parts)
            elif (part := self._part(block, message)) is not None:
                parts.append(part if pending is None else {**part, "thoughtSignature": pending})
                pending = None
        if pending is not None:
            parts.append(write_bare_signature(pending))
        return parts

    def _think(self, block: Thinking, parts: list[dict[str, Any]]) -> str | None:
        """Adds a thought; returns the signature that belongs to what follows. Only Google's own is of use to it."""
        if block.signature is not None and block.signature.origin != VENDOR:
            self._drop("thinking")
            return None
        signature = write_signature(block)
        if not block.text:
            return signature
        parts.append(write_thought(block.text, signature))
        return None

    def _part(self, block: Block, message: Message) -> dict[str, Any] | None:
        match block:
            case Text():
                return self._text(block) if block.text else None
            case ToolCall():
                return self._call(block)
            case ToolResult():
                return self._result(block)
            case Image() | Audio() | File():
                return self._media(block)
            case Refusal(text):
                return {"text": text} if text else None
            case Opaque(format, field, value):
                if format == NAME:
                    return dict(value)
                if message.role == "assistant":  # working notes of another vendor's tools
                    self.left_out.append(field)
                    return None
                raise cannot_carry(field, TITLE)
        return None

    def _text(self, block: Text) -> dict[str, Any]:
        if block.cache is not None:
            self._drop("cache_point")
        if block.citations:
            self._drop("citations")
        return {"text": block.text}

    def _call(self, block: ToolCall) -> dict[str, Any]:
        if block.custom:
            raise self._refuse("tool_custom")
        if block.cache is not None:
            self._drop("cache_point")
        arguments = load_object(block.arguments)
        if arguments is None:
            field = self._ask.field("tool_call")
            raise invalid_request(
                f"'{field}': the arguments of '{block.name}' must be a JSON object.", field, "invalid_value"
            )
        self._names[block.id] = block.name
        return {"functionCall": {"id": block.id, "name": block.name, "args": arguments}}

    def _result(self, block: ToolResult) -> dict[str, Any]:
        if block.cache is not None:
            self._drop("cache_point")
        name = block.name or self._names.get(block.call_id)
        if name is None:
            field = self._ask.field("tool_result")
            raise invalid_request(
                f"'{field}': there is no call '{block.call_id}' before its result.", field, "invalid_value"
            )
        text = "\n".join(part.text for part in block.content if isinstance(part, Text))
        response: dict[str, Any] = {"id": block.call_id, "name": name, "response": write_response(text, block.is_error)}
        media = [self._media(part) for part in block.content if isinstance(part, MEDIA)]
        if media:
            response["parts"] = media
        return {"functionResponse": response}

    def _media(self, block: Image | Audio | File) -> dict[str, Any]:
        if block.cache is not None:
            self._drop("cache_point")
        if isinstance(block, Image) and block.detail not in (None, "auto"):
            self._drop("image_detail")
        part = write_media(block)
        if part is None:
            raise self._refuse("file_id")
        return part

    def _drop(self, attribute: str) -> None:
        self.left_out.append(self._ask.field(attribute))

    def _refuse(self, attribute: str) -> GatewayError:
        return cannot_carry(self._ask.field(attribute), TITLE, CARRIES[attribute].note)
