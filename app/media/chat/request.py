"""A chat request read as a wish for a video: the last user message is the prompt, its pictures are references."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from app.core.media import Job, Scope
from app.errors import GatewayError, invalid_request
from app.formats.base import Request
from app.media.chat.cues import Wishes, read_cues, read_suffixes
from app.media.rules.generation import read_generation
from app.media.rules.sora import fit_storyboard

SECONDS = (10, 15)
"""What the family makes; the first where nothing is said (contract, "Chat-format video")."""

_NO_CHAT = "a video can't carry it"
_SAY_OTHERWISE = "say it by a suffix of the model or a cue in the prompt, or call POST /v2/videos/generations"
_FOREIGN = ("tools", "functions", "audio", "logprobs")
_WISHES = (
    "duration", "seconds", "aspect_ratio", "size", "resolution", "hd", "images", "videos", "watermark", "private",
    "character_url", "character_timestamps", "notify_hook",
)  # fmt: skip
_REFUSED = MappingProxyType(dict.fromkeys(_FOREIGN, _NO_CHAT) | dict.fromkeys(_WISHES, _SAY_OTHERWISE))
"""Fields that would change what is answered, and why they can't be had. Null, false and empty ones say nothing. Whatever
else there is only advises (`temperature`, `max_tokens`, …), and has nothing to advise here."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job, and by the job's own names of fields the places in the chat request that they came from."""

    job: Job
    places: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Message:
    text: str
    where: str
    images: tuple[tuple[str, str], ...]
    """Each with its place."""


def read_wanted(request: Request) -> Wanted:
    """The video that a chat request asks for. Pictures in base64 are decoded: for a large body call it in a thread.

    Raises GatewayError 400 naming the field at fault.
    """
    _check_fields(request)
    message = _last_of_user(_load(request.fields["messages"], "messages"))
    family = read_suffixes(request.model)
    cues, prompt = read_cues(message.text, message.where)
    if not prompt:
        raise invalid_request("The last user message holds no prompt.", message.where, "missing_required_parameter")
    wishes = cues if family is None else cues.over(family)
    places = {f"images[{index}]": place for index, (_, place) in enumerate(message.images)}
    places |= dict.fromkeys(("prompt", "duration", "aspect_ratio", "hd", "images"), message.where)
    try:
        job = read_generation(Scope.VIDEOS, _as_generation(request.model, prompt, wishes, message)).job
        if family is not None:
            job = fit_storyboard(job, SECONDS, "duration")
            job = replace(job, seconds=job.seconds or SECONDS[0])
    except GatewayError as error:
        name_place(error, places)
        raise
    return Wanted(job, places)


def name_place(error: GatewayError, places: Mapping[str, str]) -> None:
    """Has an error name the place in the chat request instead of the job's field."""
    place = places.get(error.param or "")
    if place is not None:
        error.message = error.message.replace(f"{error.param}: ", f"{place}: ", 1)
        error.param = place


def _as_generation(model: str, prompt: str, wishes: Wishes, message: _Message) -> dict[str, Any]:
    """The same wish as the unified API would have it, whose rules then hold here too."""
    return {
        "model": model,
        "prompt": prompt,
        "duration": wishes.seconds,
        "aspect_ratio": wishes.aspect_ratio,
        "hd": wishes.hd,
        "images": [text for text, _ in message.images] or None,
    }


def _check_fields(request: Request) -> None:
    if request.choices > 1:
        raise invalid_request("n: one video is made a call.", "n", "invalid_value")
    for name in _REFUSED.keys() & request.fields.keys():
        if _load(request.fields[name], name):
            raise invalid_request(f"{name}: {_REFUSED[name]}.", name, "invalid_value")
    if "response_format" in request.fields:
        wanted = _load(request.fields["response_format"], "response_format")
        if wanted and wanted != {"type": "text"}:
            raise invalid_request(f"response_format: {_NO_CHAT}.", "response_format", "invalid_value")
    if "modalities" in request.fields and _load(request.fields["modalities"], "modalities") not in (None, [], ["text"]):
        raise invalid_request(
            "modalities: a video is answered in text that links to it.", "modalities", "invalid_value"
        )


def _last_of_user(messages: Any) -> _Message:
    """System messages speak to a chat model, and what went before was another video's: neither is part of the prompt."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if isinstance(message, dict) and message.get("role") == "user":
            return _read_message(message.get("content"), f"messages[{index}].content")
    raise invalid_request("There is no user message to make a video of.", "messages", "missing_required_parameter")


def _read_message(content: Any, where: str) -> _Message:
    if isinstance(content, str):
        return _Message(content, where, ())
    if not isinstance(content, list):
        raise invalid_request(f"{where}: must be a text or a list of parts.", where, "invalid_type")
    texts: list[str] = []
    images: list[tuple[str, str]] = []
    for kind, value, place in _parts(content, where):
        if kind == "text":
            texts.append(value)
        else:
            images.append((value, place))
    return _Message("\n".join(texts), where, tuple(images))


def _parts(content: list[Any], where: str) -> Iterator[tuple[str, str, str]]:
    """Kind, value and place of each part; some clients write a picture's address alone instead of `{"url"}`."""
    for index, part in enumerate(content):
        place = f"{where}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "image_url"):
            message = f"{place}: only parts of the types text and image_url can go into a video."
            raise invalid_request(message, place, "invalid_value")
        value = part.get(kind)
        if kind == "image_url":
            value = value.get("url") if isinstance(value, dict) else value
            place += ".image_url"
        if not isinstance(value, str):
            raise invalid_request(f"{place}: must be a text.", place, "invalid_type")
        yield kind, value, place


def _load(raw: Any, name: str) -> Any:
    # Python's own decoder takes the escaped half characters too that some clients send in older messages.
    try:
        return json.loads(bytes(raw))
    except (ValueError, RecursionError) as error:
        raise invalid_request(f"{name}: isn't valid JSON.", name, "invalid_json") from error
