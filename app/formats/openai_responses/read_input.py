"""The input of a request, item by item, as the turns of a conversation.

An assistant's turn is spread over items here (thoughts, words, calls); what stands together becomes one message. A second
message in a row stays a turn of its own, so that what is written again has the same items.
"""

from __future__ import annotations

from typing import Any

from app.core.conversation import (
    Block,
    File,
    Image,
    Media,
    Message,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from app.formats.openai_responses.fields import TITLE
from app.formats.openai_responses.read_parts import read_parts, read_texts
from app.formats.openai_responses.sealed import unseal_thought
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

_MESSAGE = frozenset({"type", "role", "content", "id", "status"})
_CALL = frozenset({"type", "id", "call_id", "name", "arguments", "input", "status", "caller", "namespace", "async"})
_OUTPUT = frozenset({"type", "id", "call_id", "name", "output", "status", "caller", "namespace"})
_THOUGHT = frozenset({"type", "id", "summary", "content", "encrypted_content", "status"})


class InputReader:
    """Gathers items into turns. `left_out`: fields that were dropped by name."""

    __slots__ = ("_answer", "_results", "left_out", "messages", "system")

    def __init__(self, left_out: list[str]) -> None:
        self.left_out = left_out
        self.system: list[Text] = []
        self.messages: list[Message] = []
        self._answer: list[Block] = []
        self._results: list[Block] = []

    def read(self, value: object) -> None:
        """Raises GatewayError 400 naming the item at fault, or one that no other format has."""
        if isinstance(value, str):
            self.messages.append(Message("user", (Text(value),)))
            return
        for at, item in enumerate(as_array(value, "input")):
            self._read_item(item, f"input[{at}]")
        self._close()

    def _read_item(self, item: object, path: str) -> None:
        if not isinstance(item, dict):
            raise wrong_type(path, "an object")
        match item.get("type"):
            case "message":
                self._read_message(item, path)
            case "function_call":
                self._add(self._call(item, path, "arguments"))
            case "function_call_output" | "custom_tool_call_output":
                self._read_output(item, path)
            case "reasoning":
                self._add_thought(self._thought(item, path))
            case "custom_tool_call":
                self._add(self._call(item, path, "input"))
            case "image_generation_call":
                self._add(self._made_image(item, path))
            case None if "role" in item:
                self._read_message(item, path)
            case None if "id" in item:
                raise refuse(path, TITLE, "what it refers to lives at another upstream", value="item_reference")
            case None:
                raise missing(f"{path}.type")
            case kind:
                raise refuse(f"{path}.type", TITLE, value=kind)

    def _read_message(self, item: dict[str, Any], path: str) -> None:
        note_others(item, _MESSAGE, "input[]", "input[]", TITLE, self.left_out)
        role, content, at = item.get("role"), item.get("content"), f"{path}.content"
        if role == "assistant":
            self._close_results()
            if self._answer and isinstance(self._answer[-1], Text | Refusal):
                self._close()
            self._answer += read_parts(content, at, self.left_out)
            return
        self._close()
        match role:
            case "user":
                self.messages.append(Message("user", read_parts(content, at, self.left_out)))
            case "system" | "developer":
                texts = read_texts(content, at, self.left_out)
                if self.messages:
                    self.messages.append(Message("system", texts))
                else:
                    self.system += texts
            case None:
                raise missing(f"{path}.role")
            case _:
                raise wrong_value(f"{path}.role", "user, assistant, system or developer")

    def _call(self, item: dict[str, Any], path: str, words: str) -> ToolCall:
        note_others(item, _CALL, "input[]", "input[]", TITLE, self.left_out)
        self._check_caller(item, path)
        return ToolCall(
            as_string(item.get("call_id"), f"{path}.call_id"),
            as_string(item.get("name"), f"{path}.name"),
            as_string(item.get(words), f"{path}.{words}"),
            words == "input",
        )

    def _read_output(self, item: dict[str, Any], path: str) -> None:
        note_others(item, _OUTPUT, "input[]", "input[]", TITLE, self.left_out)
        self._check_caller(item, path)
        content: list[Text | Image | File] = []
        for at, part in enumerate(read_parts(item.get("output"), f"{path}.output", self.left_out)):
            if not isinstance(part, Text | Image | File):
                raise refuse(f"{path}.output[{at}].type", TITLE, "a tool answers in texts, images and files")
            content.append(part)
        if content == [Text("")]:
            content.clear()
        result = ToolResult(
            as_string(item.get("call_id"), f"{path}.call_id"),
            tuple(content),
            name=as_optional_string(item.get("name"), f"{path}.name"),
            custom=item["type"] == "custom_tool_call_output",
        )
        self._close_answer()
        self._results.append(result)

    def _check_caller(self, item: dict[str, Any], path: str) -> None:
        caller = item.get("caller")
        if caller is not None and as_object(caller, f"{path}.caller").get("type") != "direct":
            raise refuse(f"{path}.caller", TITLE, "no program calls tools there")
        for name in ("namespace", "async"):
            if item.get(name):
                raise refuse(f"{path}.{name}", TITLE)

    def _thought(self, item: dict[str, Any], path: str) -> Thinking:
        note_others(item, _THOUGHT, "input[]", "input[]", TITLE, self.left_out)
        texts: list[str] = []
        for name in ("content", "summary"):
            for at, part in enumerate(as_array(item.get(name) or [], f"{path}.{name}")):
                place = f"{path}.{name}[{at}]"
                texts.append(as_string(as_object(part, place).get("text"), f"{place}.text"))
        text = "\n\n".join(filter(None, texts))
        encrypted = as_optional_string(item.get("encrypted_content"), f"{path}.encrypted_content")
        id = as_optional_string(item.get("id"), f"{path}.id")
        return unseal_thought(encrypted, text, id) if encrypted else Thinking(text, id=id)

    def _made_image(self, item: dict[str, Any], path: str) -> Image:
        """A picture that an earlier answer held."""
        kind = as_optional_string(item.get("output_format"), f"{path}.output_format") or "png"
        return Image(Media(f"image/{kind}", as_string(item.get("result"), f"{path}.result")))

    def _add_thought(self, thought: Thinking) -> None:
        if thought.text or thought.signature is not None:
            self._add(thought)
        else:  # an id alone means something to OpenAI only
            self.left_out.append("input[].reasoning")

    def _add(self, block: Block) -> None:
        self._close_results()
        self._answer.append(block)

    def _add_call(self, call: ToolCall) -> None:
        self._add(call)

    def _close(self) -> None:
        self._close_answer()
        self._close_results()

    def _close_answer(self) -> None:
        if self._answer:
            self.messages.append(Message("assistant", tuple(self._answer)))
            self._answer.clear()

    def _close_results(self) -> None:
        if self._results:
            self.messages.append(Message("user", tuple(self._results)))
            self._results.clear()
