"""The messages of a client's request, read into the canonical conversation.

Source of the blocks: `content_block_param.py` of Anthropic's SDK. What only Anthropic knows is kept as it came, with its
place, so that a format which can't carry it can name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, cast, get_args

from app.core.conversation import (
    Block,
    Cache,
    File,
    Image,
    Media,
    Message,
    Opaque,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from app.formats.anthropic_messages.blocks import read_citations, write_arguments
from app.formats.anthropic_messages.fields import NAME, TITLE
from app.formats.anthropic_messages.thoughts import read_redacted, read_thinking
from app.formats.fields import unknown_field
from app.formats.values import (
    as_array,
    as_object,
    as_string,
    find_boolean,
    find_string,
    missing,
    take_string,
    wrong_type,
    wrong_value,
)

ROLES = frozenset(get_args(Role))
TTLS = frozenset({"5m", "1h"})
PDF = "application/pdf"

FOREIGN_BLOCKS = frozenset(
    {
        "search_result", "server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result",
        "bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result",
        "container_upload", "mcp_tool_use", "mcp_tool_result", "compaction", "fallback",
    }
)  # fmt: skip
"""Blocks of Anthropic's own tools and betas."""

Read: TypeAlias = Callable[[dict[str, Any], str, list[str]], Iterable[Block]]
"""Takes a block, its path, and where to put the names of what is left out."""


def read_messages(value: object, left_out: list[str]) -> tuple[list[Text], list[Message]]:
    """Leading system messages, and the conversation. Raises GatewayError 400 naming a field at fault."""
    system: list[Text] = []
    messages: list[Message] = []
    for number, message in enumerate(as_array(value, "messages")):
        path = f"messages[{number}]"
        turn = as_object(message, path)
        role = take_string(turn, "role", path)
        if role not in ROLES:
            raise wrong_value(f"{path}.role", "user, assistant or system")
        if len(turn) > 2:
            check_names(turn, ("role", "content"), path)
        blocks = _read_content(turn.get("content"), f"{path}.content", left_out)
        if role == "system" and not all(isinstance(block, Text) for block in blocks):
            raise wrong_value(f"{path}.content", "text only, in a system message")
        if role == "system" and not messages:
            system += cast("list[Text]", blocks)
        else:
            messages.append(Message(cast("Role", role), tuple(_results_first(blocks))))
    return system, messages


def read_system(value: object, left_out: list[str]) -> list[Text]:
    """The field `system`: a string or blocks of text."""
    blocks = _read_content(value, "system", left_out)
    if not all(isinstance(block, Text) for block in blocks):
        raise wrong_value("system", "text only")
    return cast("list[Text]", blocks)


def read_cache(value: dict[str, Any], path: str, left_out: list[str]) -> Cache | None:
    """The field `cache_control` of a block, a tool or a request; what else stands in it is as advisory as itself."""
    control = value.get("cache_control")
    if control is None:
        return None
    path = f"{path}.cache_control" if path else "cache_control"
    ttl = find_string(as_object(control, path), "ttl", path)
    if ttl is not None and ttl not in TTLS:
        raise wrong_value(f"{path}.ttl", "5m or 1h")
    left_out += [f"{path}.{name}" for name in control if name not in ("type", "ttl")]
    return Cache(ttl)


def _read_content(content: object, path: str, left_out: list[str]) -> list[Block]:
    if isinstance(content, str):
        return [Text(content)]
    if content is None:
        raise missing(path)
    if not isinstance(content, list):
        raise wrong_type(path, "a string or an array")
    blocks: list[Block] = []
    for number, value in enumerate(content):
        where = f"{path}[{number}]"
        block = as_object(value, where)
        kind = take_string(block, "type", where)
        read = _READERS.get(kind)
        if read is not None:
            blocks += read(block, where, left_out)
        elif kind in FOREIGN_BLOCKS:
            blocks.append(Opaque(NAME, f"{where}.{kind}", block))
        else:
            raise unknown_field(f"{where}.{kind}", TITLE)
    return blocks


def _results_first(blocks: list[Block]) -> list[Block]:
    results = [block for block in blocks if isinstance(block, ToolResult)]
    return results + [block for block in blocks if not isinstance(block, ToolResult)] if results else blocks


def check_names(value: dict[str, Any], known: Iterable[str], path: str) -> None:
    """Raises GatewayError 400 naming a field of an object that nothing is known of."""
    for name, given in value.items():
        if name not in known and given is not None:
            raise unknown_field(f"{path}.{name}", TITLE)


def _read_text(block: dict[str, Any], path: str, left_out: list[str]) -> Iterable[Block]:
    text = take_string(block, "text", path)
    if len(block) == 2:
        return (Text(text),)
    check_names(block, ("type", "text", "cache_control", "citations"), path)
    return (Text(text, read_citations(block.get("citations")), read_cache(block, path, left_out)),)


def _read_image(block: dict[str, Any], path: str, left_out: list[str]) -> Iterable[Block]:
    check_names(block, ("type", "source", "cache_control", "transformations"), path)
    if block.get("transformations"):
        left_out.append(f"{path}.transformations")
    where = f"{path}.source"
    source = as_object(block.get("source"), where)
    check_names(source, ("type", "media_type", "data", "url", "file_id"), where)
    kind = take_string(source, "type", where)
    if kind == "base64":
        media = Media(take_string(source, "media_type", where), take_string(source, "data", where))
    else:
        media = _read_place(source, kind, where)
    return (Image(media, cache=read_cache(block, path, left_out)),)


def _read_document(block: dict[str, Any], path: str, left_out: list[str]) -> Iterable[Block]:
    check_names(block, ("type", "source", "title", "context", "citations", "cache_control"), path)
    citations = block.get("citations")
    if citations is not None and as_object(citations, f"{path}.citations").get("enabled"):
        left_out.append(f"{path}.citations")
    context = find_string(block, "context", path)
    told: tuple[Block, ...] = (Text(context),) if context else ()
    name, cache = find_string(block, "title", path), read_cache(block, path, left_out)
    where = f"{path}.source"
    source = as_object(block.get("source"), where)
    check_names(source, ("type", "media_type", "data", "url", "file_id", "content"), where)
    match kind := take_string(source, "type", where):
        case "base64":
            media = Media(take_string(source, "media_type", where), take_string(source, "data", where))
        case "text":
            media = Media("text/plain", take_string(source, "data", where), text=True)
        case "content":
            return (*told, *_read_content(source.get("content"), f"{where}.content", left_out))
        case _:
            media = _read_place(source, kind, where, PDF if kind == "url" else None)
    return (*told, File(media, name, cache))


def _read_place(source: dict[str, Any], kind: str, path: str, media_type: str | None = None) -> Media:
    match kind:
        case "url":
            return Media(media_type, url=take_string(source, "url", path))
        case "file":
            return Media(media_type, file_id=take_string(source, "file_id", path))
        case _:
            raise unknown_field(f"{path}.{kind}", TITLE)


def _read_thinking(block: dict[str, Any], path: str, left_out: list[str]) -> Iterable[Block]:
    check_names(block, ("type", "thinking", "signature"), path)
    return (read_thinking(take_string(block, "thinking", path), find_string(block, "signature", path) or ""),)


def _read_redacted(block: dict[str, Any], path: str, left_out: list[str]) -> Iterable[Block]:
    check_names(block, ("type", "data"), path)
    return (read_redacted(take_string(block, "data", path)),)


def _read_tool_use(block: dict[str, Any], path: str, left_out: list[str]) -> Iterable[Block]:
    check_names(block, ("type", "id", "name", "input", "cache_control", "caller"), path)
    caller = block.get("caller")
    if caller is not None and as_object(caller, f"{path}.caller").get("type") != "direct":
        return (Opaque(NAME, f"{path}.caller", block),)
    arguments = write_arguments(as_object(block.get("input", {}), f"{path}.input"))
    id, name = take_string(block, "id", path), take_string(block, "name", path)
    return (ToolCall(id, name, arguments, cache=read_cache(block, path, left_out)),)


def _read_tool_result(block: dict[str, Any], path: str, left_out: list[str]) -> Iterable[Block]:
    check_names(block, ("type", "tool_use_id", "content", "is_error", "cache_control"), path)
    content = block.get("content")
    where = f"{path}.content"
    parts: list[Text | Image | File] = []
    for part in [] if content is None else _read_content(content, where, left_out):
        match part:
            case Text() | Image() | File():
                parts.append(part)
            case Opaque(field=field):
                raise unknown_field(field, TITLE)
            case _:
                raise wrong_value(where, "text, images and documents")
    return (
        ToolResult(
            take_string(block, "tool_use_id", path),
            tuple(parts),
            is_error=bool(find_boolean(block, "is_error", path)),
            cache=read_cache(block, path, left_out),
        ),
    )


_READERS: Mapping[str, Read] = MappingProxyType(
    {
        "text": _read_text,
        "image": _read_image,
        "document": _read_document,
        "thinking": _read_thinking,
        "redacted_thinking": _read_redacted,
        "tool_use": _read_tool_use,
        "tool_result": _read_tool_result,
    }
)


def read_strings(value: object, path: str) -> tuple[str, ...]:
    return tuple(as_string(entry, f"{path}[{number}]") for number, entry in enumerate(as_array(value, path)))
