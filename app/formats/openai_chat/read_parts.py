"""Parts of a message's content in a client's request, read into blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from mimetypes import guess_type
from types import MappingProxyType
from typing import Any

from app.core.conversation import Audio, Block, Cache, File, Image, Media, Refusal, Text
from app.formats.openai_chat.fields import TITLE
from app.formats.values import (
    as_object,
    as_optional_string,
    as_string,
    missing,
    note_others,
    refuse,
    wrong_type,
    wrong_value,
)

PLACE = "messages[].content[]"

_MARKS = frozenset({"type", "prompt_cache_breakpoint", "cache_control"})
_MAX_HEADER = 256
"""Characters of a data URL before its comma."""


def read_content(value: object, path: str, left_out: list[str]) -> list[Block]:
    """A message's content: a string, an array of parts, or nothing."""
    if isinstance(value, str):
        return [Text(value)] if value else []
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong_type(path, "a string or an array")
    return [read_part(part, f"{path}[{at}]", left_out) for at, part in enumerate(value)]


def read_part(value: object, path: str, left_out: list[str]) -> Block:
    """One part. Raises GatewayError 400 for one of a type that no other format has."""
    if isinstance(value, str):  # which some clients write, and some servers take
        return Text(value)
    part = as_object(value, path)
    kind = part.get("type")
    if kind is None:
        raise missing(f"{path}.type")
    if not isinstance(kind, str) or (read := _READERS.get(kind)) is None:
        raise refuse(f"{path}.{kind}" if isinstance(kind, str) and kind in part else f"{path}.type", TITLE)
    note_others(part, _MARKS | {kind}, PLACE, path, TITLE, left_out)
    return read(part, path, left_out)


def read_cache(value: Mapping[str, Any], path: str) -> Cache | None:
    """OpenAI's `prompt_cache_breakpoint {mode: explicit, ttl}`, or Anthropic's mark, which OpenRouter takes here."""
    for name in ("prompt_cache_breakpoint", "cache_control"):
        mark = value.get(name)
        if mark is not None:
            return Cache(as_optional_string(as_object(mark, f"{path}.{name}").get("ttl"), f"{path}.{name}.ttl"))
    return None


def _read_text(part: dict[str, Any], path: str, left_out: list[str]) -> Block:
    return Text(as_string(part.get("text"), f"{path}.text"), cache=read_cache(part, path))


def _read_refusal(part: dict[str, Any], path: str, left_out: list[str]) -> Block:
    return Refusal(as_string(part.get("refusal"), f"{path}.refusal"))


def _read_image(part: dict[str, Any], path: str, left_out: list[str]) -> Block:
    path = f"{path}.image_url"
    given = part.get("image_url")
    image = {"url": given} if isinstance(given, str) else as_object(given, path)  # some clients give the address alone
    detail = as_optional_string(image.get("detail"), f"{path}.detail")
    media = _read_url(as_string(image.get("url"), f"{path}.url"), f"{path}.url")
    note_others(image, frozenset({"url", "detail"}), f"{PLACE}.image_url", path, TITLE, left_out)
    return Image(media, None if detail == "auto" else detail, read_cache(part, path))


def _read_audio(part: dict[str, Any], path: str, left_out: list[str]) -> Block:
    path = f"{path}.input_audio"
    audio = as_object(part.get("input_audio"), path)
    data, format = as_string(audio.get("data"), f"{path}.data"), as_string(audio.get("format"), f"{path}.format")
    note_others(audio, frozenset({"data", "format"}), f"{PLACE}.input_audio", path, TITLE, left_out)
    if data.startswith("data:"):
        data = _read_url(data, f"{path}.data").data or ""
    return Audio(Media(f"audio/{format}", data), read_cache(part, path))


def _read_file(part: dict[str, Any], path: str, left_out: list[str]) -> Block:
    path = f"{path}.file"
    file = as_object(part.get("file"), path)
    note_others(file, frozenset({"file_data", "file_id", "filename"}), f"{PLACE}.file", path, TITLE, left_out)
    name = as_optional_string(file.get("filename"), f"{path}.filename")
    id = as_optional_string(file.get("file_id"), f"{path}.file_id")
    data = as_optional_string(file.get("file_data"), f"{path}.file_data")
    cache = read_cache(part, path)
    if data is None:
        if id is None:
            raise missing(f"{path}.file_data")
        return File(Media(file_id=id), name, cache)
    if data.startswith(("data:", "http://", "https://")):
        media = _read_url(data, f"{path}.file_data")
    else:
        media = Media(guess_type(name)[0] if name else None, data)
    return File(media, name, cache)


def _read_url(url: str, path: str) -> Media:
    """A data URL's type and data (RFC 2397), or the address as it is."""
    if not url.startswith("data:"):
        return Media(url=url)
    comma = url.find(",", 0, _MAX_HEADER)
    type, mark, rest = url[5 : max(comma, 5)].partition(";base64")
    if comma < 0 or not mark or rest:
        raise wrong_value(path, "an address, or a data URL in base64")
    return Media(type.partition(";")[0].strip().lower() or None, url[comma + 1 :])


_READERS: Mapping[str, Callable[[dict[str, Any], str, list[str]], Block]] = MappingProxyType(
    {
        "text": _read_text,
        "refusal": _read_refusal,
        "image_url": _read_image,
        "input_audio": _read_audio,
        "file": _read_file,
    }
)
