"""Speech jobs as calls of `/audio/speech`, and their answers, which are the sound itself.

Source: openai-python, `types/audio/speech_create_params.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from app.core.media import Job, Measured
from app.core.usage import Usage, read_name
from app.errors import bad_upstream_response, invalid_request
from app.providers.jobs import refuse, requested
from app.providers.media import Call, Done, Output, Reply
from app.providers.replies import error_of

TIMEOUT = 300.0
MAX_INPUT = 4096

_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "mp3": "audio/mpeg",
        "opus": "audio/opus",
        "aac": "audio/aac",
        "flac": "audio/flac",
        "wav": "audio/wav",
        "pcm": "audio/pcm",
    }
)
"""By `response_format`; `mp3` where a request names none."""

_NO_SOUND = ("application/json", "text/")


def check(job: Job, *, exact: bool) -> None:
    """Raises GatewayError 400 naming the field. `exact`: OpenAI's own bounds hold."""
    by = "this upstream's speech"
    refuse(job, "duration", "aspect_ratio", "size", "resolution", "hd", "n", "images", "videos", by=by)
    refuse(job, "character_url", "character_timestamps", by=by)
    if job.extra.get("stream_format") not in (None, "audio"):
        raise invalid_request("stream_format: a task's sound comes when it is done.", "stream_format")
    if not exact:
        return
    if not job.extra.get("voice"):
        raise invalid_request("voice: this upstream needs one, such as alloy.", "voice")
    if job.extra.get("response_format") not in (None, *_TYPES):
        raise invalid_request(f"response_format: must be one of {', '.join(_TYPES)}.", "response_format")
    if len(job.prompt) > MAX_INPUT:
        raise invalid_request(f"prompt: this upstream speaks {MAX_INPUT} characters at most.", "prompt")


def units(job: Job) -> Usage:
    """The characters: the answer has no usage."""
    return requested(job)


def write(job: Job, model: str) -> Call:
    fields: dict[str, Any] = {name: value for name, value in job.extra.items() if name != "input"}
    return Call("POST", "/audio/speech", json={**fields, "input": job.prompt, "model": model}, timeout=TIMEOUT)


def read(job: Job, reply: Reply) -> Done:
    """The sound. Raises UpstreamError: for what says that it is text, too."""
    if reply.status >= 300:
        raise error_of(reply)
    said = (read_name(reply.headers.get("content-type", "").partition(";")[0].strip()) or "").lower()
    if not reply.body or said.startswith(_NO_SOUND):
        raise bad_upstream_response("The upstream's answer isn't sound.")
    asked = job.extra.get("response_format")
    content_type = said if said.startswith("audio/") else _TYPES.get(str(asked), _TYPES["mp3"])
    return Done((Output(content_type, data=reply.body),), Measured(characters=len(job.prompt)))
