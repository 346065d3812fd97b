"""Turns of a conversation as the input items of a Responses request.

Calls go without an id of their own: OpenAI keeps book of which call's id followed which thought's, and refuses pairs that it
doesn't know (seen in the issues of several clients; `call_id` is what a result names).
"""

from __future__ import annotations

from typing import Any

from app.core.conversation import (
    Ask,
    Audio,
    Block,
    File,
    Image,
    Media,
    Opaque,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from app.errors import GatewayError
from app.formats.fields import cannot_carry
from app.formats.openai_responses.fields import CARRIES, NAME, TITLE
from app.formats.openai_responses.sealed import VENDOR

Item = dict[str, Any]


class InputWriter:
    """Writes messages as items. `left_out`: the client's fields that were dropped."""

    __slots__ = ("_ask", "_items", "_parts", "_role", "left_out")

    def __init__(self, ask: Ask, left_out: list[str]) -> None:
        self.left_out = left_out
        self._ask = ask
        self._items: list[Item] = []
        self._parts: list[Item] = []
        self._role = ""

    def write(self) -> list[Item]:
        """All items. Raises GatewayError 400 naming the client's field that can't be carried."""
        for message in self._ask.messages:
            if message.name is not None:
                self._drop("name")
            self._role = message.role
            for block in message.blocks:
                self._write_block(block)
            self._close()
        return self._items

    def write_system(self) -> Item:
        """The instructions as a first message."""
        return {"type": "message", "role": "system", "content": [self._text(text) for text in self._ask.system]}

    def _write_block(self, block: Block) -> None:
        match block:
            case Thinking():
                self._write_thought(block)
            case ToolCall():
                self._write_call(block)
            case ToolResult():
                self._write_result(block)
            case Opaque():
                if block.format != NAME or not isinstance(block.value, dict):
                    raise cannot_carry(block.field, TITLE)
                self._add(block.value)
            case _ if self._role == "assistant":
                self._parts.append(self._own_part(block))
            case _:
                self._parts.append(self._part(block))

    def _own_part(self, block: Text | Image | File | Audio | Refusal) -> Item:
        """A part of what the model said."""
        match block:
            case Text():
                self._note_cache(block)
                return write_spoken(block)
            case Refusal(text):
                return {"type": "refusal", "refusal": text}
            case Audio():
                raise self._refusal("audio", CARRIES["audio"].note)
            case _:
                attribute = "image" if isinstance(block, Image) else "file"
                raise self._refusal(attribute, CARRIES[attribute].note)

    def _part(self, block: Text | Image | File | Audio | Refusal) -> Item:
        """A part of a user's or a system message, or of a tool's result."""
        match block:
            case Text():
                return self._text(block)
            case Image():
                return self._image(block)
            case File():
                return self._file(block)
            case Refusal(text):
                return self._text(Text(text))
            case Audio():
                raise self._refusal("audio", CARRIES["audio"].note)

    def _write_thought(self, thought: Thinking) -> None:
        signature = thought.signature
        if signature is None or signature.origin != VENDOR:  # OpenAI takes no thoughts but its own
            self._drop("thinking")
            return
        item: Item = {"type": "reasoning", "summary": [], "encrypted_content": signature.value}
        if thought.text:
            item["summary"].append({"type": "summary_text", "text": thought.text})
        if thought.id is not None:
            item["id"] = thought.id
        self._add(item)

    def _write_call(self, call: ToolCall) -> None:
        self._note_cache(call)
        if call.custom:
            words = {"type": "custom_tool_call", "call_id": call.id, "name": call.name, "input": call.arguments}
        else:
            arguments = call.arguments or "{}"
            words = {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments}
        self._add(words)

    def _write_result(self, result: ToolResult) -> None:
        self._note_cache(result)
        if result.is_error:
            self._drop("tool_result_error")
        output: str | list[Item]
        match result.content:
            case ():
                output = ""
            case (Text(text) as only,):
                self._note_cache(only)
                output = text
            case several:
                output = [self._part(part) for part in several]
        kind = "custom_tool_call_output" if result.custom else "function_call_output"
        self._add({"type": kind, "call_id": result.call_id, "output": output})

    def _text(self, text: Text) -> Item:
        self._note_cache(text)
        return {"type": "input_text", "text": text.text}

    def _image(self, image: Image) -> Item:
        self._note_cache(image)
        part: Item = {"type": "input_image", "detail": image.detail or "auto"}
        media = image.media
        if media.file_id is not None:
            part["file_id"] = self._file_id(media.file_id)
        else:
            part["image_url"] = media.url if media.url is not None else _data_url(media, "image/png")
        return part

    def _file(self, file: File) -> Item:
        self._note_cache(file)
        part: Item = {"type": "input_file"}
        media = file.media
        if media.file_id is not None:
            part["file_id"] = self._file_id(media.file_id)
        elif media.url is not None:
            part["file_url"] = media.url
        elif media.text:
            return {"type": "input_text", "text": f"{file.name}\n\n{media.data}" if file.name else media.data}
        else:
            # OpenAI wants a name with inline data.
            part["filename"] = file.name or "file.pdf"
            part["file_data"] = _data_url(media, "application/pdf")
        return part

    def _file_id(self, id: str) -> str:
        if self._ask.format not in (NAME, "openai_chat"):
            raise self._refusal("file_id", "it lives at another vendor")
        return id

    def _add(self, item: Item) -> None:
        self._close()
        self._items.append(item)

    def _close(self) -> None:
        if self._parts:
            self._items.append({"type": "message", "role": self._role, "content": self._parts})
            self._parts = []

    def _note_cache(self, block: Text | Image | File | ToolCall | ToolResult) -> None:
        if block.cache is not None:
            self._drop("cache_point")

    def _drop(self, attribute: str) -> None:
        self.left_out.append(self._ask.field(attribute))

    def _refusal(self, attribute: str, why: str = "") -> GatewayError:
        return cannot_carry(self._ask.field(attribute), TITLE, why)


def write_spoken(text: Text) -> Item:
    """A text of the model's own, with its sources."""
    annotations = [
        {
            "type": "url_citation",
            "url": cited.url,
            "title": cited.title or "",
            "start_index": cited.start or 0,
            "end_index": len(text.text) if cited.end is None else cited.end,
        }
        for cited in text.citations
    ]
    return {"type": "output_text", "text": text.text, "annotations": annotations}


def _data_url(media: Media, otherwise: str) -> str:
    return f"data:{media.media_type or otherwise};base64,{media.data}"
