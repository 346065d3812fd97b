"""Blocks of a user's turn, written as parts of a message's content."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from app.core.conversation import Ask, Audio, Block, Cache, File, Image, Media, Opaque, Refusal, Text
from app.errors import GatewayError, invalid_request
from app.formats.fields import cannot_carry
from app.formats.openai_chat.fields import CARRIES, NAME, TITLE
from app.formats.openai_chat.quirks import NO_IMAGE_URLS
from app.formats.openai_chat.turn import write_url

PDF = "application/pdf"
OPENAI_FORMATS = frozenset({NAME, "openai_responses"})
"""Formats whose files live at OpenAI."""

_SOUNDS: Mapping[str, str] = MappingProxyType({"x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "mpeg": "mp3"})
"""By subtype of the media type, where it isn't what this format calls it."""


class PartWriter:
    """Writes one request's parts. `left_out` gathers the client's names of what was left out of them.

    `same`: the client spoke this format, so that everything goes out as it said it.
    """

    __slots__ = ("_ask", "_quirks", "left_out", "same")

    def __init__(self, ask: Ask, quirks: frozenset[str]) -> None:
        self._ask = ask
        self._quirks = quirks
        self.same = ask.format == NAME
        self.left_out: list[str] = []

    def part(self, block: Block) -> dict[str, Any]:
        """Raises GatewayError 400 naming the client's field that can't be carried."""
        match block:
            case Text():
                return self._cached(self.text(block), block.cache)
            case Image():
                return self._cached({"type": "image_url", "image_url": self._image(block)}, block.cache)
            case File():
                return self._cached(self._file(block), block.cache)
            case Audio():
                return self._cached({"type": "input_audio", "input_audio": self._audio(block)}, block.cache)
            case Refusal(text):
                return {"type": "refusal", "refusal": text} if self.same else {"type": "text", "text": text}
            case Opaque(field=field):
                raise cannot_carry(field, TITLE)
            case _:
                raise self.refuse("messages", "such a block has no place in this turn")

    def text(self, block: Text) -> dict[str, Any]:
        if block.citations and not self.same:
            self.drop("citations")
        return {"type": "text", "text": block.text}

    def drop(self, attribute: str) -> None:
        self.left_out.append(self._ask.field(attribute))

    def refuse(self, attribute: str, why: str = "") -> GatewayError:
        return cannot_carry(self._ask.field(attribute), TITLE, why)

    def note_cache(self, cache: Cache | None) -> None:
        """What isn't written is named, once."""
        if cache is not None and not self.same:
            self.drop("cache_point")

    def _cached(self, part: dict[str, Any], cache: Cache | None) -> dict[str, Any]:
        self.note_cache(cache)
        if cache is not None and self.same:
            part["prompt_cache_breakpoint"] = write_cache(cache)
        return part

    def _image(self, block: Image) -> dict[str, Any]:
        media = block.media
        if media.file_id is not None:
            raise self.refuse("file_id", "a picture is an address or data")
        if media.url is not None:
            if not media.url.startswith(("http://", "https://")) and not self.same:
                raise self.refuse("image_url", "it fetches from http and https addresses only")
            if NO_IMAGE_URLS in self._quirks:
                raise self.refuse("image_url", "its server takes data only")
        image = {"url": write_url(media)}
        if block.detail is not None:
            image["detail"] = block.detail
        return image

    def _audio(self, block: Audio) -> dict[str, Any]:
        media = block.media
        if media.data is None:
            raise self.refuse("audio_url", CARRIES["audio_url"].note)
        kind = (media.media_type or "").partition(";")[0].strip().lower().removeprefix("audio/")
        return {"data": media.data, "format": _SOUNDS.get(kind, kind)}

    def _file(self, block: File) -> dict[str, Any]:
        media = block.media
        if not self.same and media.data is not None and (media.text or (media.media_type or "").startswith("text/")):
            return {"type": "text", "text": self._plain(block)}
        file: dict[str, Any] = {}
        if media.file_id is not None:
            if self._ask.format not in OPENAI_FORMATS:
                raise self.refuse("file_id", CARRIES["file_id"].note)
            file["file_id"] = media.file_id
        elif media.url is not None:
            if not self.same:
                raise self.refuse("file_url", CARRIES["file_url"].note)
            file["file_data"] = media.url
        else:
            file["file_data"] = self._data(media)
        if block.name is not None:
            file["filename"] = block.name
        elif not self.same and media.file_id is None:
            file["filename"] = "document.pdf" if media.media_type in (None, PDF) else "document"
        return {"type": "file", "file": file}

    def _data(self, media: Media) -> str:
        data = media.data or ""
        if media.text:
            data = b64encode(data.encode("utf-8", "replace")).decode()
        elif media.media_type is None and self.same:
            return data  # as the client gave it
        return f"data:{media.media_type or PDF};base64,{data}"

    def _plain(self, block: File) -> str:
        text = block.media.data or ""
        if not block.media.text:
            try:
                text = b64decode(text, validate=True).decode()
            except ValueError as error:
                field = self._ask.field("file")
                raise invalid_request(f"'{field}' must be UTF-8 text in base64.", field, "invalid_value") from error
        return text if block.name is None else f"{block.name}\n\n{text}"


def write_cache(cache: Cache) -> dict[str, str]:
    return {"mode": "explicit"} if cache.ttl is None else {"mode": "explicit", "ttl": cache.ttl}
