"""Writes jobs for OpenAI's videos API, and reads its answers.

Sources: openai-python, `resources/videos.py`, `types/video*.py`. What other servers of this API do beyond it is unverified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from app.core.media import Job, Measured, Scope, Status
from app.core.usage import Usage, read_milliseconds, read_name
from app.errors import UpstreamError, bad_upstream_response, invalid_request
from app.providers.forms import write_fields, write_file
from app.providers.jobs import check_scope, duration_trait, read_id, refuse, requested, seconds_text, segment, traits
from app.providers.media import Call, Characters, Done, Failed, Handle, Outcome, Output, Reply, Running, Site, refused
from app.providers.openai_videos.sizes import DEFAULT_SIZE, choose_size, resolution_of, shape_of
from app.providers.replies import read_error, read_json

DEFAULT_SECONDS = 4.0
"""Where a request names none."""

MAX_SECONDS = 3600.0
"""Longer than any video that is made in one go. A greater length in an answer is a fault, and counts as missing."""

MAX_PAUSE = 600.0
NO_REASON = "The upstream gave no reason."
UPLOAD_TIMEOUT = 120.0
"""Seconds for a submission, which brings its picture along."""

_STATUSES: Mapping[object, Status] = MappingProxyType({"queued": Status.QUEUED, "in_progress": Status.IN_PROGRESS})


class OpenAIVideos:
    """The media side of `/v1/videos`.

    `characters`: its own are made of an uploaded file and a name, cut nowhere; a job names a URL or a task, and a stretch
    of it. `find`: its list tells prompt and time, and two jobs may have both in common: taking the other one's video for
    a lost one's would pay for one and give it twice. `cancels`: deleting is documented, stopping isn't.
    """

    platform: str = "openai"
    scopes: frozenset[Scope] = frozenset({Scope.VIDEOS})
    takes_urls: bool = False
    """The reference is a file. A form with its URL, `input_reference[image_url]`, is in the SDK's types; which servers
    take it is unverified."""

    idempotent: bool = False
    cancels: bool = False
    remixes: bool = True
    characters: Characters | None = None

    def check(self, job: Job, model: str) -> None:
        by = "this upstream"
        check_scope(job, self.scopes, by)
        refuse(job, "n", "videos", "character_url", "character_timestamps", by=by)
        if len(job.images) > 1:
            raise invalid_request("images: this upstream takes one reference picture.", "images")
        if job.seconds is not None and job.seconds != int(job.seconds):
            raise invalid_request("duration: this upstream takes whole seconds.", "duration")
        choose_size(job)

    def units(self, job: Job, model: str) -> Usage:
        """Where the job names no length or size: the API's documented ones, four seconds of 720x1280."""
        seconds = DEFAULT_SECONDS if job.seconds is None else job.seconds
        units = requested(replace(job, seconds=seconds))
        size = choose_size(job) or DEFAULT_SIZE
        shape = {"aspect_ratio": shape_of(size)}
        return replace(units, traits={**traits(shape), **units.traits, **_size_traits(size)})

    def submit(self, job: Job, model: str, key: str, site: Site) -> Call:
        if job.remix_of is not None:
            return Call("POST", f"/videos/{segment(job.remix_of)}/remix", json={"prompt": job.prompt})
        fields: dict[str, Any] = dict(job.extra)
        fields |= {"prompt": job.prompt, "model": model}
        fields["seconds"] = None if job.seconds is None else seconds_text(job.seconds)
        fields["size"] = choose_size(job)
        files = tuple(write_file("input_reference", item, "reference") for item in job.images)
        return Call("POST", "/videos", form=(*write_fields(fields), *files), timeout=UPLOAD_TIMEOUT)

    def read_submitted(self, job: Job, reply: Reply) -> Outcome:
        try:
            body = read_json(reply)
        except UpstreamError as error:
            if (failed := refused(error)) is not None:
                return failed
            raise
        return _read_video(read_id(body.get("id")), body, reply)

    def poll(self, handle: Handle, site: Site) -> Call:
        return Call("GET", f"/videos/{segment(handle.id)}")

    def read_polled(self, handle: Handle, reply: Reply) -> Outcome:
        return _read_video(handle.id, read_json(reply), reply)

    def cancel(self, handle: Handle, site: Site) -> Call | None:
        return None

    def find(self, job: Job, model: str, key: str, site: Site) -> Call | None:
        return None

    def read_found(self, job: Job, key: str, reply: Reply) -> Running | None:
        raise bad_upstream_response("This upstream can't tell which tasks are whose.")


def _read_video(id: str, body: Mapping[str, Any], reply: Reply) -> Outcome:
    match body.get("status"):
        case "completed":
            file = Call("GET", f"/videos/{segment(id)}/content")
            return Done((Output("video/mp4", call=file),), _read_measured(body))
        case "failed":
            message, code = read_error({"error": body.get("error")})
            return Failed(message or NO_REASON, code or "upstream_failed")
        case str(status) if status in _STATUSES:
            pause = _read_pause(reply.headers.get("openai-poll-after-ms"))
            return Running(_STATUSES[status], id, _read_progress(body.get("progress")), poll_after=pause)
        case _:
            raise bad_upstream_response("The upstream's answer has no status that is known.")


def _read_progress(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= 100 else None


def _read_pause(value: str | None) -> float | None:
    """The header that OpenAI's SDKs poll by: milliseconds until the next time."""
    if value is None or not value.isascii() or not value.isdecimal():
        return None
    return min(int(value[:9]) / 1000, MAX_PAUSE)


def _read_measured(body: Mapping[str, Any]) -> Measured:
    """Length and size as the answer has them: they may be others than were asked for."""
    seconds, size = _read_seconds(body.get("seconds")), read_name(body.get("size"))
    said = {} if size is None else _size_traits(size)
    if seconds is None:
        return Measured(videos=1, traits=said)
    length = read_milliseconds({"seconds": seconds}, "seconds")
    return Measured(videos=1, milliseconds=length, traits=said | {"duration": duration_trait(seconds)})


def _read_seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds <= MAX_SECONDS else None


def _size_traits(size: str) -> dict[str, str]:
    return traits({"size": size, "resolution": resolution_of(size)})
