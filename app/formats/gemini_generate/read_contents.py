"""The contents of a client's request, read into the canonical conversation.

A client that streamed an answer sends it back chunk by chunk, as contents of role model in a row: they are one turn, and
pieces of one text or thought are joined as they are in an answer. Calls may come without ids; then they are numbered, and a
result belongs to the first call of its name that has none yet.
"""

from __future__ import annotations

from typing import Any

from app.core.conversation import (
    Audio,
    Block,
    File,
    Image,
    Media,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from app.formats.fields import cannot_carry, unknown_field
from app.formats.gemini_generate.fields import DENIED, LEFT_OUT, TITLE
from app.formats.gemini_generate.parts import OWN_PLACES, guess_media_type, read_media, write_arguments
from app.formats.gemini_generate.results import read_response
from app.formats.gemini_generate.spelling import respell, respell_base64
from app.formats.gemini_generate.thoughts import read_thought
from app.formats.values import (
    as_object,
    as_string,
    find_boolean,
    find_string,
    missing,
    take_string,
    wrong_type,
    wrong_value,
)

ROLES = {"user": "user", "model": "assistant", "function": "user", "tool": "user"}
OTHERS = "other formats"
KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
SIGNS = frozenset({"thought", "thoughtSignature"})


class ContentReader:
    """Reads one request's contents. `left_out` gathers the names of what is left out of them."""

    __slots__ = ("_calls", "_open", "_waiting", "left_out")

    def __init__(self, left_out: list[str]) -> None:
        self.left_out = left_out
        self._calls = 0
        self._waiting: list[tuple[str, str, bool]] = []
        """Of each call whose result hasn't come yet: id, name, and whether the id is the client's."""
        self._open: type[Text] | type[Thinking] | None = None
        """What the last block is, if more of it may follow."""

    def read(self, value: object) -> tuple[Message, ...]:
        """Raises GatewayError 400 naming a field at fault."""
        turns: list[tuple[str, list[Block]]] = []
        for number, content in enumerate(as_list(value, "contents")):
            path = f"contents[{number}]"
            turn = as_object(content, path)
            role = self._role(turn, path)
            if not (role == "assistant" and turns and turns[-1][0] == role):
                turns.append((role, []))
                self._open = None
            self._take(turn, path, turns[-1][1], role == "assistant")
        return tuple(
            Message("assistant", tuple(blocks)) if role == "assistant" else Message("user", results_first(blocks))
            for role, blocks in turns
        )

    def _role(self, turn: dict[str, Any], path: str) -> str:
        for name, given in turn.items():
            if name not in ("role", "parts") and given is not None:
                raise unknown_field(f"{path}.{name}", TITLE)
        role = find_string(turn, "role", path) or "user"
        if role not in ROLES:
            raise wrong_value(f"{path}.role", "user or model")
        return ROLES[role]

    def _take(self, turn: dict[str, Any], path: str, blocks: list[Block], model: bool) -> None:
        for number, value in enumerate(as_list(turn.get("parts"), f"{path}.parts")):
            if type(value) is dict and len(value) == 1 and type(text := value.get("text")) is str:
                self._speak(text, blocks, model)  # what nearly every part is
            else:
                where = f"{path}.parts[{number}]"
                self._part(respell(as_object(value, where)), where, blocks, model)

    def _part(self, part: dict[str, Any], path: str, blocks: list[Block], model: bool) -> None:
        self._check(part, path)
        signature = find_string(part, "thoughtSignature", path)
        thought = find_boolean(part, "thought", path)
        kinds = [name for name in KINDS if name in part]
        if len(kinds) > 1:
            raise wrong_value(path, "one thing only: " + " or ".join(kinds))
        kind = kinds[0] if kinds else None
        if kind is None and not SIGNS & part.keys():
            return  # nothing, or working notes that were left out
        text = find_string(part, "text", path) or ""
        if kind in (None, "text") and thought:
            self._think(text, signature, blocks)
            return
        if signature:
            blocks.append(read_thought("", signature))
            self._open = None
        if kind in (None, "text"):
            self._speak(text, blocks, model)
        else:
            blocks.append(self._whole(str(kind), part[str(kind)], path))
        if signature or kind not in (None, "text"):
            self._open = None

    def _check(self, part: dict[str, Any], path: str) -> None:
        for name in part:
            if name in KINDS or name in SIGNS:
                continue
            field = f"contents[].parts[].{name}"
            if field in LEFT_OUT:
                self.left_out.append(f"{path}.{name}")
            elif field in DENIED:
                raise cannot_carry(f"{path}.{name}", OTHERS, DENIED[field])
            else:
                raise unknown_field(f"{path}.{name}", TITLE)

    def _speak(self, text: str, blocks: list[Block], model: bool) -> None:
        if not text:
            return
        last = blocks[-1] if blocks else None
        if model and self._open is Text and isinstance(last, Text):
            blocks[-1] = Text(last.text + text)
            return
        blocks.append(Text(text))
        self._open = Text

    def _think(self, text: str, signature: str | None, blocks: list[Block]) -> None:
        last = blocks[-1] if blocks else None
        if self._open is Thinking and isinstance(last, Thinking):
            text = last.text + text
            blocks.pop()
        if text or signature:
            blocks.append(read_thought(text, signature))
            self._open = None if signature else Thinking

    def _whole(self, kind: str, value: object, path: str) -> Block:
        path = f"{path}.{kind}"
        given = respell(as_object(value, path))
        match kind:
            case "functionCall":
                return self._call(given, path)
            case "functionResponse":
                return self._result(given, path)
            case _:
                return read_medium(given, path, inline=kind == "inlineData")

    def _call(self, call: dict[str, Any], path: str) -> Block:
        check_names(call, ("id", "name", "args"), path)
        name, id = take_string(call, "name", path), find_string(call, "id", path)
        self._calls += 1
        self._waiting.append((id or f"call_{self._calls}", name, bool(id)))
        id = id or f"call_{self._calls}"
        return ToolCall(id, name, write_arguments(as_object(call.get("args", {}), f"{path}.args")))

    def _result(self, result: dict[str, Any], path: str) -> Block:
        for field in ("scheduling", "willContinue"):
            if result.get(field):
                raise cannot_carry(f"{path}.{field}", OTHERS, DENIED[f"contents[].parts[].functionResponse.{field}"])
        check_names(result, ("id", "name", "response", "parts", "scheduling", "willContinue"), path)
        name = take_string(result, "name", path)
        text, is_error = read_response(as_object(result.get("response", {}), f"{path}.response"))
        content: list[Text | Image | File | Audio] = [Text(text)] if text else []
        for number, part in enumerate(as_list(result.get("parts"), f"{path}.parts")):
            where = f"{path}.parts[{number}]"
            media = respell(as_object(part, where))
            kind = next((kind for kind in ("inlineData", "fileData") if kind in media), None)
            if kind is None:
                raise missing(f"{where}.inlineData")
            content.append(
                read_medium(respell(as_object(media[kind], where)), f"{where}.{kind}", inline=kind == "inlineData")
            )
        return ToolResult(self._answered(find_string(result, "id", path), name), tuple(content), is_error, name)

    def _answered(self, id: str | None, name: str) -> str:
        """The id of the call that a result is of."""
        found = next((call for call in self._waiting if call[0] == id), None)
        if found is None:  # by name, where one of the two has no id
            found = next((call for call in self._waiting if call[1] == name and not (id and call[2])), None)
        if found is None:
            self._calls += 1
            return id or f"call_{self._calls}"
        self._waiting.remove(found)
        return found[0]


def read_medium(value: dict[str, Any], path: str, *, inline: bool) -> Image | Audio | File:
    """`inlineData` or `fileData`. Raises GatewayError 400 for a video, which no other format has."""
    check_names(value, ("mimeType", "data" if inline else "fileUri", "displayName"), path)
    kind, name = find_string(value, "mimeType", path), find_string(value, "displayName", path)
    if inline:
        if kind is None:
            raise missing(f"{path}.mimeType")
        media = Media(kind, respell_base64(take_string(value, "data", path)))
    else:
        place = take_string(value, "fileUri", path)
        kind = kind or guess_media_type(place)
        media = Media(kind, file_id=place) if place.startswith(OWN_PLACES) else Media(kind, url=place)
    block = read_media(kind or "", media, name)
    if block is None:
        raise cannot_carry(path, OTHERS, "they take no video")
    return block


def read_system(value: object) -> tuple[Text, ...]:
    """`systemInstruction`: a content of texts; some clients give the text alone."""
    if isinstance(value, str):
        return (Text(value),)
    turn = as_object(value, "systemInstruction")
    texts: list[Text] = []
    for number, value in enumerate(as_list(turn.get("parts"), "systemInstruction.parts")):
        path = f"systemInstruction.parts[{number}]"
        part = respell(as_object(value, path))
        if set(part) - {"text"}:
            raise wrong_value(path, "text only")
        if part.get("text"):
            texts.append(Text(as_string(part["text"], f"{path}.text")))
    return tuple(texts)


def as_list(value: object, path: str) -> list[Any]:
    """A repeated field: none, a list, or, as Google's own examples have it, one value that isn't in a list."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list):
        return value
    raise wrong_type(path, "an array")


def results_first(blocks: list[Block]) -> tuple[Block, ...]:
    results = [block for block in blocks if isinstance(block, ToolResult)]
    return (*results, *(block for block in blocks if not isinstance(block, ToolResult))) if results else tuple(blocks)


def check_names(value: dict[str, Any], known: tuple[str, ...], path: str) -> None:
    for name in value:
        if name not in known:
            raise unknown_field(f"{path}.{name}", TITLE)
