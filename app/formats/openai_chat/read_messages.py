"""A client's messages, read into turns of blocks.

An assistant's turn has no order of its own here: thoughts come first, then text, then calls, each with Google's signature
before it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.core.conversation import (
    Audio,
    Block,
    Citation,
    File,
    Image,
    Message,
    Refusal,
    Signature,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from app.core.signatures import unseal
from app.formats.openai_chat.fields import TITLE
from app.formats.openai_chat.read_parts import read_content
from app.formats.openai_chat.thoughts import Gathered, convert_details
from app.formats.values import (
    as_array,
    as_object,
    as_optional_string,
    as_string,
    missing,
    note_others,
    refuse,
    wrong_type,
    wrong_value,
)

_PLAIN = frozenset({"role", "content", "name"})
_TOOL = frozenset({"role", "content", "name", "tool_call_id"})
_ASSISTANT = frozenset(
    {
        *_PLAIN,
        "refusal",
        "annotations",
        "audio",
        "function_call",
        "tool_calls",
        "reasoning_details",
        "reasoning_content",
        "reasoning",
    }
)
_CALL = frozenset({"id", "type", "index", "function", "custom", "extra_content"})


class MessageReader:
    """Reads one request's messages: `system` is what stands at their beginning, `messages` is the rest.

    `thoughts`: the client's name of the field that the last thought stood in.
    """

    __slots__ = ("_custom", "_left_out", "messages", "system", "thoughts")

    def __init__(self, left_out: list[str]) -> None:
        self.system: list[Text] = []
        self.messages: list[Message] = []
        self.thoughts: str | None = None
        self._left_out = left_out
        self._custom: set[str] = set()
        """Ids of calls of custom tools."""

    def read(self, value: object) -> None:
        """Raises GatewayError 400 naming the place that is wrong, or that no other format has."""
        for at, entry in enumerate(as_array(value, "messages")):
            self._read(entry, f"messages[{at}]")

    def _read(self, value: object, path: str) -> None:
        message = as_object(value, path)
        role = message.get("role")
        if role == "user":
            self._read_user(message, path)
        elif role == "assistant":
            self._read_assistant(message, path)
        elif role == "tool":
            self._read_result(message, path)
        elif role in ("system", "developer"):
            self._read_system(message, path)
        elif role == "function":
            raise refuse(f"{path}.role", TITLE, "deprecated: use role `tool`")
        elif role is None:
            raise missing(f"{path}.role")
        else:
            raise wrong_value(f"{path}.role", "system, developer, user, assistant or tool")

    def _read_user(self, message: dict[str, Any], path: str) -> None:
        note_others(message, _PLAIN, "messages[]", path, TITLE, self._left_out)
        blocks = read_content(message.get("content"), f"{path}.content", self._left_out)
        self.messages.append(Message("user", tuple(blocks), as_optional_string(message.get("name"), f"{path}.name")))

    def _read_system(self, message: dict[str, Any], path: str) -> None:
        note_others(message, _PLAIN, "messages[]", path, TITLE, self._left_out)
        blocks = read_content(message.get("content"), f"{path}.content", self._left_out)
        texts = [block for block in blocks if isinstance(block, Text)]
        if len(texts) != len(blocks):
            raise refuse(f"{path}.content", TITLE, "an instruction is text")
        name = as_optional_string(message.get("name"), f"{path}.name")
        if self.messages:
            self.messages.append(Message("system", tuple(texts), name))
            return
        if name is not None:
            self._left_out.append("messages[].name")
        self.system += texts

    def _read_result(self, message: dict[str, Any], path: str) -> None:
        note_others(message, _TOOL, "messages[]", path, TITLE, self._left_out)
        blocks = read_content(message.get("content"), f"{path}.content", self._left_out)
        content = tuple(block for block in blocks if isinstance(block, Text | Image | File | Audio))
        if len(content) != len(blocks):
            raise refuse(f"{path}.content", TITLE, "a result is text, images and files")
        id = as_string(message.get("tool_call_id"), f"{path}.tool_call_id")
        name = as_optional_string(message.get("name"), f"{path}.name")
        result = ToolResult(id, content, name=name, custom=id in self._custom)
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == "user" and last.blocks and type(last.blocks[-1]) is ToolResult:
            self.messages[-1] = Message("user", (*last.blocks, result))
        else:
            self.messages.append(Message("user", (result,)))

    def _read_assistant(self, message: dict[str, Any], path: str) -> None:
        blocks: list[Block] = []
        bound: dict[str, Signature] = {}
        if not message.keys() <= _PLAIN:
            note_others(message, _ASSISTANT, "messages[]", path, TITLE, self._left_out)
            _check_kept(message, path)
            bound = self._read_thoughts(message, path, blocks)
        blocks += _cited(read_content(message.get("content"), f"{path}.content", self._left_out), message, path)
        refusal = as_optional_string(message.get("refusal"), f"{path}.refusal")
        if refusal:
            blocks.append(Refusal(refusal))
        calls = message.get("tool_calls")
        for at, call in enumerate(as_array(calls, f"{path}.tool_calls") if calls is not None else ()):
            blocks += self._read_call(call, f"{path}.tool_calls[{at}]", bound)
        name = as_optional_string(message.get("name"), f"{path}.name")
        self.messages.append(Message("assistant", tuple(blocks), name))

    def _read_thoughts(self, message: dict[str, Any], path: str, blocks: list[Block]) -> dict[str, Signature]:
        """Adds the thoughts to `blocks`; returns the signatures of calls. Words beside `reasoning_details` only repeat it."""
        details = message.get("reasoning_details")
        found: Gathered | None = None
        if details is not None:
            try:
                found = Gathered(convert_details(details))
            except msgspec.ValidationError as error:
                raise wrong_type(f"{path}.reasoning_details", "an array of reasoning details") from error
            self.thoughts = "messages[].reasoning_details"
            if found.lost:
                self._left_out.append("messages[].reasoning_details")
        if found is None or not any(thought.text for thought in found.thoughts):
            for name in ("reasoning_content", "reasoning"):
                words = as_optional_string(message.get(name), f"{path}.{name}")
                if words:
                    blocks.append(Thinking(words))
                    self.thoughts = f"messages[].{name}"
                    break
        blocks += [] if found is None else found.thoughts
        return {} if found is None else found.bound

    def _read_call(self, value: object, path: str, bound: dict[str, Signature]) -> list[Block]:
        call = as_object(value, path)
        note_others(call, _CALL, "messages[].tool_calls[]", path, TITLE, self._left_out)
        kind = call.get("type") or ("custom" if "custom" in call else "function")
        if kind not in ("function", "custom"):
            raise refuse(f"{path}.type", TITLE)
        id, custom = as_string(call.get("id"), f"{path}.id"), kind == "custom"
        told = as_object(call.get(kind), f"{path}.{kind}")
        name = as_string(told.get("name"), f"{path}.{kind}.name")
        field = "input" if custom else "arguments"
        arguments = as_optional_string(told.get(field), f"{path}.{kind}.{field}") or ""
        if custom:
            self._custom.add(id)
        block = ToolCall(id, name, arguments, custom)
        signature = bound.get(id) or _google_signature(call, path)
        if signature is None:
            return [block]
        self.thoughts = self.thoughts or "messages[].tool_calls[].extra_content"
        return [Thinking("", signature), block]


def _google_signature(call: dict[str, Any], path: str) -> Signature | None:
    """As Gemini's OpenAI-compatible endpoint puts it on calls, and clients of it send it back."""
    extra = call.get("extra_content")
    if extra is None:
        return None
    google = as_object(extra, f"{path}.extra_content").get("google")
    if google is None:
        return None
    path = f"{path}.extra_content.google"
    value = as_optional_string(as_object(google, path).get("thought_signature"), f"{path}.thought_signature")
    return unseal(value, "google") if value else None


def _check_kept(message: dict[str, Any], path: str) -> None:
    if message.get("audio") is not None:
        raise refuse(f"{path}.audio", TITLE, "the sound lives at OpenAI")
    if message.get("function_call") is not None:
        raise refuse(f"{path}.function_call", TITLE, "deprecated: use `tool_calls`")


def _cited(blocks: list[Block], message: dict[str, Any], path: str) -> list[Block]:
    """The text with the sources that stand beside it; those of several parts go to the first."""
    given = message.get("annotations")
    if not given or not blocks or not isinstance(blocks[0], Text):
        return blocks
    citations = tuple(
        citation
        for at, entry in enumerate(as_array(given, f"{path}.annotations"))
        if (citation := read_citation(as_object(entry, f"{path}.annotations[{at}]"))) is not None
    )
    return [Text(blocks[0].text, citations, blocks[0].cache), *blocks[1:]]


def read_citation(entry: dict[str, Any]) -> Citation | None:
    """A `url_citation`; None for another kind. Some servers leave the inner object out."""
    inner = entry.get("url_citation")
    told = inner if isinstance(inner, dict) else entry
    url, title = told.get("url"), told.get("title")
    if entry.get("type") != "url_citation" or not isinstance(url, str):
        return None
    return Citation(
        url, title if isinstance(title, str) else None, _place(told, "start_index"), _place(told, "end_index")
    )


def _place(told: dict[str, Any], name: str) -> int | None:
    place = told.get(name)
    return place if isinstance(place, int) and not isinstance(place, bool) else None
