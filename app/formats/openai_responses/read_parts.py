"""Parts of content as a request has them: texts, images, files and sounds, in messages and in tools' results."""

from __future__ import annotations

import mimetypes
from typing import Any

from app.core.conversation import Audio, Cache, Citation, File, Image, Media, Refusal, Text
from app.formats.openai_responses.fields import TITLE
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

Part = Text | Image | File | Audio | Refusal

CONTENT = "input[].content[]"
PDF = "application/pdf"
DETAILS = frozenset({"low", "high", "auto", "original"})

_TEXT = frozenset({"type", "text", "prompt_cache_breakpoint"})
_SPOKEN = frozenset({"type", "text", "annotations", "logprobs"})
_REFUSAL = frozenset({"type", "refusal"})
_IMAGE = frozenset({"type", "image_url", "file_id", "detail", "prompt_cache_breakpoint"})
_FILE = frozenset({"type", "file_data", "file_id", "file_url", "filename", "detail", "prompt_cache_breakpoint"})
_AUDIO = frozenset({"type", "input_audio"})


def read_parts(value: object, path: str, left_out: list[str]) -> tuple[Part, ...]:
    """The parts of a message's content or a tool's output; a string is one text. Appends what is dropped to `left_out`."""
    if isinstance(value, str):
        return (Text(value),)
    if not isinstance(value, list):
        raise missing(path) if value is None else wrong_type(path, "a string or an array")
    return tuple([read_part(part, f"{path}[{at}]", left_out) for at, part in enumerate(value)])


def read_part(part: object, path: str, left_out: list[str]) -> Part:
    """One part. Raises GatewayError 400 naming what is wrong with it, or that no other format has it."""
    if not isinstance(part, dict):
        raise wrong_type(path, "an object")
    match part.get("type"):
        case "input_text":
            if len(part) > 2:
                note_others(part, _TEXT, CONTENT, CONTENT, TITLE, left_out)
            return Text(as_string(part.get("text"), f"{path}.text"), (), _cache(part, path))
        case "output_text":
            note_others(part, _SPOKEN, CONTENT, CONTENT, TITLE, left_out)
            return _spoken(part, path, left_out)
        case "refusal":
            note_others(part, _REFUSAL, CONTENT, CONTENT, TITLE, left_out)
            return Refusal(as_string(part.get("refusal"), f"{path}.refusal"))
        case "input_image":
            note_others(part, _IMAGE, CONTENT, CONTENT, TITLE, left_out)
            return _image(part, path)
        case "input_file":
            note_others(part, _FILE, CONTENT, CONTENT, TITLE, left_out)
            return _file(part, path, left_out)
        case "input_audio":
            note_others(part, _AUDIO, CONTENT, CONTENT, TITLE, left_out)
            return _audio(part, path)
        case None:
            raise missing(f"{path}.type")
        case kind:
            raise refuse(f"{path}.type", TITLE, value=kind)


def _cache(part: dict[str, Any], path: str) -> Cache | None:
    point = part.get("prompt_cache_breakpoint")
    if point is None:
        return None
    point = as_object(point, f"{path}.prompt_cache_breakpoint")
    return Cache(as_optional_string(point.get("ttl"), f"{path}.prompt_cache_breakpoint.ttl"))


def _spoken(part: dict[str, Any], path: str, left_out: list[str]) -> Text:
    text = as_string(part.get("text"), f"{path}.text")
    if part.get("logprobs"):
        left_out.append(f"{CONTENT}.logprobs")
    annotations = part.get("annotations")
    citations = read_citations(annotations)
    if annotations and (not isinstance(annotations, list) or len(citations) != len(annotations)):
        left_out.append(f"{CONTENT}.annotations")
    return Text(text, citations)


def read_citations(annotations: object) -> tuple[Citation, ...]:
    """The sources that have an address; others are places in OpenAI's own files."""
    if not annotations or not isinstance(annotations, list):
        return ()
    return tuple([citation for entry in annotations if (citation := read_citation(entry)) is not None])


def read_citation(value: object) -> Citation | None:
    """One source; None for what has no address."""
    if not isinstance(value, dict) or value.get("type") != "url_citation":
        return None
    url, title = value.get("url"), value.get("title")
    if not isinstance(url, str):
        return None
    return Citation(url, title if isinstance(title, str) else None, _index(value, "start"), _index(value, "end"))


def _index(value: dict[str, Any], name: str) -> int | None:
    index = value.get(f"{name}_index")
    return index if isinstance(index, int) and not isinstance(index, bool) else None


def _image(part: dict[str, Any], path: str) -> Image:
    url = as_optional_string(part.get("image_url"), f"{path}.image_url")
    file_id = as_optional_string(part.get("file_id"), f"{path}.file_id")
    detail = as_optional_string(part.get("detail"), f"{path}.detail")
    if detail is not None and detail not in DETAILS:
        raise wrong_value(f"{path}.detail", "low, high, auto or original")
    if url is not None:
        media = read_url(url, f"{path}.image_url")
    elif file_id is not None:
        media = Media(file_id=file_id)
    else:
        raise missing(f"{path}.image_url")
    return Image(media, None if detail == "auto" else detail, _cache(part, path))


def _file(part: dict[str, Any], path: str, left_out: list[str]) -> File:
    data = as_optional_string(part.get("file_data"), f"{path}.file_data")
    url = as_optional_string(part.get("file_url"), f"{path}.file_url")
    file_id = as_optional_string(part.get("file_id"), f"{path}.file_id")
    name = as_optional_string(part.get("filename"), f"{path}.filename")
    if part.get("detail") not in (None, "auto"):
        left_out.append(f"{CONTENT}.detail")
    if data is not None:
        plain = data[:5].lower() != "data:"
        media = Media(_type_of(name), data) if plain else read_url(data, f"{path}.file_data")
    elif url is not None:
        media = Media(url=url)
    elif file_id is not None:
        media = Media(file_id=file_id)
    else:
        raise missing(f"{path}.file_data")
    return File(media, name, _cache(part, path))


def _type_of(name: str | None) -> str:
    """The type of a file's bare base64: what its name says, else PDF, which is what this API's files mostly are."""
    guessed = None if name is None else mimetypes.guess_type(name)[0]
    return guessed or PDF


def _audio(part: dict[str, Any], path: str) -> Audio:
    sound = as_object(part.get("input_audio"), f"{path}.input_audio")
    form = as_string(sound.get("format"), f"{path}.input_audio.format")
    if form not in ("wav", "mp3"):
        raise wrong_value(f"{path}.input_audio.format", "wav or mp3")
    return Audio(Media(f"audio/{form}", as_string(sound.get("data"), f"{path}.input_audio.data")))


def read_url(url: str, path: str) -> Media:
    """Where an image or a file is: an address, or a data URL (RFC 2397) with base64 in it."""
    if url[:5].lower() != "data:":
        return Media(url=url)
    header, comma, data = url.partition(",")
    media_type, *parameters = header[5:].split(";")
    if not comma or "base64" not in (word.strip().lower() for word in parameters):
        raise wrong_value(path, "an address, or a data URL in base64")
    return Media(media_type.strip().lower() or "text/plain", data)


def read_texts(value: object, path: str, left_out: list[str]) -> tuple[Text, ...]:
    """The content of an instruction, which is text alone in every other format."""
    texts: list[Text] = []
    for at, part in enumerate(read_parts(value, path, left_out)):
        if not isinstance(part, Text):
            raise refuse(
                f"{path}[{at}].type", TITLE, "an instruction is text", value=as_array(value, path)[at].get("type")
            )
        texts.append(part)
    return tuple(texts)
