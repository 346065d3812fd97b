"""A media job in one shape for every client API and every upstream: what is to be made, and how far a task has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from app.core.usage import Usage


class Scope(StrEnum):
    """What a task makes."""

    IMAGES = "images"
    VIDEOS = "videos"
    AUDIO = "audio"


class Status(StrEnum):
    """How far a task has come, in the order in which it moves: never back. The last two are final."""

    NOT_START = "NOT_START"
    SUBMITTED = "SUBMITTED"
    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"

    @property
    def final(self) -> bool:
        return self in (Status.SUCCESS, Status.FAILURE)

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {status: rank for rank, status in enumerate(Status)}

KIND_BY_SCOPE: Mapping[Scope, str] = MappingProxyType(
    {Scope.IMAGES: "image", Scope.VIDEOS: "video", Scope.AUDIO: "audio"}
)
"""The kind of model in the catalogue that serves a scope."""

_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Attachment:
    """An image or a video that goes in: exactly one of a URL that the client gave, or the place in our storage.

    `data` holds the bytes while a submission is made, where the upstream wants bytes: it is never written to a row.
    """

    url: str | None = None
    key: str | None = None
    content_type: str | None = None
    data: bytes | None = field(default=None, repr=False, compare=False)

    def write(self) -> dict[str, Any]:
        stored = {"url": self.url, "key": self.key, "content_type": self.content_type}
        return {name: value for name, value in stored.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be made. Whatever a client left out is None: what it means then, the upstream decides.

    `model` is the name that the client used. `seconds`: the length that was asked for. `size`: `WIDTHxHEIGHT`. `count`:
    how many results. `hd`, `resolution`, `aspect_ratio` as the contract's fields of that name. `remix_of`: the upstream's id
    of the video that is made anew, which is our task `remixed_from`. `extra`: every other field of the client's body,
    unknown ones too, as it came (`watermark`, `private`, `enhance_prompt`, `quality`, `voice`, …); upstreams of the same API
    get them unchanged.
    """

    scope: Scope
    model: str
    prompt: str
    seconds: float | None = None
    aspect_ratio: str | None = None
    size: str | None = None
    resolution: str | None = None
    hd: bool = False
    count: int = 1
    images: tuple[Attachment, ...] = ()
    videos: tuple[Attachment, ...] = ()
    character_url: str | None = None
    character_timestamps: str | None = None
    remix_of: str | None = None
    remixed_from: str | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)

    def write(self) -> dict[str, Any]:
        """As JSON for a task's row; what is None, false or empty is left out."""
        body: dict[str, Any] = {"scope": self.scope.value, "model": self.model, "prompt": self.prompt}
        for name in _PLAIN:
            if (value := getattr(self, name)) not in (None, False):
                body[name] = value
        for name in ("images", "videos"):
            if items := getattr(self, name):
                body[name] = [item.write() for item in items]
        if self.extra:
            body["extra"] = dict(self.extra)
        return body


_PLAIN = (
    "seconds",
    "aspect_ratio",
    "size",
    "resolution",
    "hd",
    "count",
    "character_url",
    "character_timestamps",
    "remix_of",
    "remixed_from",
)


def read_job(body: Mapping[str, Any]) -> Job:
    """Back from `Job.write`."""
    return Job(
        scope=Scope(body["scope"]),
        model=body["model"],
        prompt=body["prompt"],
        images=tuple(Attachment(**item) for item in body.get("images", ())),
        videos=tuple(Attachment(**item) for item in body.get("videos", ())),
        extra=body.get("extra", _EMPTY),
        **{name: body[name] for name in _PLAIN if name in body},
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """What an upstream says that it made; None: it doesn't say. Goes over the units that were held for."""

    images: int | None = None
    videos: int | None = None
    milliseconds: int | None = None
    characters: int | None = None
    input_tokens: int | None = None
    input_image_tokens: int | None = None
    output_tokens: int | None = None
    output_image_tokens: int | None = None
    traits: Mapping[str, str] = field(default_factory=lambda: _EMPTY)

    def over(self, units: Usage) -> Usage:
        """The usage to be charged: what was measured, and for the rest what was asked for."""
        said = {name: getattr(self, name) for name in _COUNTS}
        known: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
        return replace(units, **known, traits={**units.traits, **self.traits})


_COUNTS = (
    "images",
    "videos",
    "milliseconds",
    "characters",
    "input_tokens",
    "input_image_tokens",
    "output_tokens",
    "output_image_tokens",
)
