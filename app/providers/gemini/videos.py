"""Videos by Google's Interactions API: an interaction is created in the background, polled, and its file awaited.

As google-genai 3.4 (`_gaos/types/interactions`) and https://ai.google.dev/gemini-api/docs/omni have it. That page says of
answers: `output_video` is an SDK's shorthand, the video stands in the `model_output` steps; a GET may carry it inline though
a URI was asked for; a file behind a URI is to be awaited until it is `ACTIVE`. All of that is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from app.core.media import Attachment, Job, Measured, Status
from app.core.tokens import bound_of_request
from app.core.usage import Usage, read_count, read_details
from app.errors import bad_upstream_response, invalid_request
from app.providers.gemini.answers import add, read_accepted, read_answer
from app.providers.gemini.framing import role, video_frame, whole_seconds
from app.providers.gemini.inline import content_type, encode
from app.providers.jobs import read_base64, read_id, refuse
from app.providers.media import Call, Done, Failed, Handle, Outcome, Output, Reply, Running
from app.providers.replies import MAX_MESSAGE

VERSION = "/v1beta"
"""Vendor's examples by HTTP use it; the SDK's default is `v1`, which lacks the `*-latest` model names."""

RESOLUTIONS = ("360p", "720p", "1080p", "4k")

DEFAULT_SECONDS = 8
"""Sent where the client names no length, since the vendor's own default isn't documented and a length is what is billed."""

EDIT_SECONDS = 10
"""An edited video is as long as what went in, which isn't known: the longest that the documentation takes is held for."""

LENGTHS = range(3, 16)
"""3 to 10 seconds at Omni 1.1; up to 15 at 1.2 by resellers' words, unverified. Each model refuses what it can't."""

TOKENS_PER_SECOND = {"360p": 1738, "720p": 5792, "1080p": 8688, "4k": 17376}
"""Output tokens of a second, for holds at token prices. 720p is quoted from the vendor's price page; the others follow
resellers' price ratios, unverified. The usage that is reported replaces it."""

_MEDIA_TOKENS = 3000
"""For each image or video that goes in: 10 seconds of video at 300 tokens. For holds alone."""

_FILE = re.compile(r"(?:^|/)files/([A-Za-z0-9_-]{1,100})(?::download)?(?:\?|$)")

_ENDED = {
    "completed": "The upstream completed without a video.",
    "failed": "The upstream failed.",
    "cancelled": "The task was cancelled.",
    "incomplete": "The upstream stopped before the video was complete.",
    "budget_exceeded": "The upstream's budget for this task was exceeded.",
    # No tool was offered, and a video isn't resumed: neither can go on by itself.
    "requires_action": "The upstream asks for an action that can't be taken.",
    "requires_continuation": "The upstream stopped before the video was complete.",
}
_SPEAKS_OF_CLIENT = frozenset({"completed", "failed", "incomplete"})


def check(job: Job) -> None:
    """Raises GatewayError 400 naming the field."""
    refuse(job, "character_url", "n", by="Google's video model")
    video_frame(job, RESOLUTIONS)
    seconds = whole_seconds(job)
    if seconds is not None and seconds not in LENGTHS:
        raise invalid_request(f"duration: must be {LENGTHS[0]} to {LENGTHS[-1]} seconds.", "duration")
    if len(job.videos) > 1:
        raise invalid_request("videos: this upstream takes one.", "videos")
    if job.extra.get("negative_prompt"):
        message = "negative_prompt: this upstream has none; say in the prompt what is to be left out."
        raise invalid_request(message, "negative_prompt")
    if job.extra.get("generate_audio") is False:
        raise invalid_request("generate_audio: this upstream makes no video without sound.", "generate_audio")


def units(job: Job) -> Usage:
    """One video of the length asked for, and about the tokens that it takes."""
    frame, seconds = video_frame(job, RESOLUTIONS), _seconds(job)
    resolution = frame.resolution or "720p"
    media = len(job.images) + len(job.videos)
    return Usage(
        videos=1,
        milliseconds=seconds * 1000,
        input_tokens=bound_of_request(job.prompt.encode()) + media * _MEDIA_TOKENS,
        output_tokens=seconds * TOKENS_PER_SECOND[resolution],
        traits={
            "resolution": resolution,
            "duration": str(seconds),
            "aspect_ratio": frame.aspect_ratio or "16:9",
            "input": "video" if job.videos else "image" if job.images else "text",
            "audio": "true",
        },
    )


def submit(job: Job, model: str) -> Call:
    """`store` because only what is stored can be polled."""
    body: dict[str, Any] = {
        "model": model,
        "input": _input(job),
        "background": True,
        "store": True,
        "response_format": _format(job),
    }
    config: dict[str, Any] = {}
    if task := _task(job):
        config["video_config"] = {"task": task}
    seed = job.extra.get("seed")
    if isinstance(seed, int) and not isinstance(seed, bool):
        config["seed"] = seed
    if config:
        body["generation_config"] = config
    return Call("POST", f"{VERSION}/interactions", json=body)


def read_submitted(reply: Reply) -> Outcome:
    """Raises UpstreamError."""
    return read_accepted(reply, lambda body: _read_interaction(body, read_id(body.get("id"))))


def poll(handle: Handle) -> Call:
    """The interaction, or once that is done the file that it has announced."""
    if file := handle.memo.get("file"):
        return Call("GET", f"{VERSION}/files/{quote(str(file), safe='')}")
    return Call("GET", _path(handle))


def read_polled(handle: Handle, reply: Reply) -> Outcome:
    """Raises UpstreamError."""
    body = read_answer(reply)
    return _read_file(handle, body) if handle.memo.get("file") else _read_interaction(body, handle.id)


def cancel(handle: Handle) -> Call | None:
    """None once the interaction is done and only its file is awaited."""
    return None if handle.memo.get("file") else Call("POST", f"{_path(handle)}/cancel")


def _path(handle: Handle) -> str:
    return f"{VERSION}/interactions/{quote(handle.id, safe='')}"


def _seconds(job: Job) -> int:
    return whole_seconds(job) or (EDIT_SECONDS if job.videos else DEFAULT_SECONDS)


def _task(job: Job) -> str | None:
    if job.videos:
        return "edit"
    match role(job):
        case None:
            return None
        case "references":
            return "reference_to_video"
        case "first" | "frames":
            return "image_to_video"


def _input(job: Job) -> str | list[dict[str, Any]]:
    if not job.images and not job.videos:
        return job.prompt
    prompt = job.prompt
    if role(job) == "frames" and not job.videos:
        # Roles of images are told in the prompt; the vendor's page has this spelling, its cookbook the second tag.
        prompt = (
            f"[# Sources <FIRST_FRAME>@Image1 <LAST_FRAME>@Image2] {prompt} "
            "Use Image1 as the first frame and Image2 as the last frame."
        )
    media = [_content("image", "image/png", image) for image in job.images]
    media += [_content("video", "video/mp4", video) for video in job.videos]
    return [*media, {"type": "text", "text": prompt}]


def _content(kind: str, usual: str, attachment: Attachment) -> dict[str, Any]:
    data = encode(attachment)
    place = {"uri": attachment.url} if data is None else {"data": data}
    return {"type": kind, **place, "mime_type": content_type(attachment.content_type, usual)}


def _format(job: Job) -> dict[str, Any]:
    frame = video_frame(job, RESOLUTIONS)
    body: dict[str, Any] = {"type": "video", "delivery": "uri"}
    if frame.aspect_ratio is not None:
        body["aspect_ratio"] = frame.aspect_ratio
    if frame.resolution is not None:
        body["resolution"] = frame.resolution
    if job.seconds is not None or not job.videos:
        body["duration"] = f"{_seconds(job)}s"
    return body


def _read_interaction(body: Mapping[str, Any], name: str) -> Outcome:
    match body.get("status"):
        case "queued":
            return Running(Status.QUEUED, name)
        case "in_progress":
            return Running(Status.IN_PROGRESS, name)
        case str(status) if status in _ENDED:
            video = _find_video(body) if status == "completed" else None
            return _failed(status, body) if video is None else _made(name, video, body)
        case _:
            raise bad_upstream_response("The upstream's task has a status that isn't known.")


def _made(name: str, video: Mapping[str, Any], body: Mapping[str, Any]) -> Outcome:
    measured, kind = _measure(body), content_type(video.get("mime_type"), "video/mp4")
    if data := video.get("data"):
        return Done((Output(kind, data=read_base64(data)),), measured)
    uri = video.get("uri")
    file = _FILE.search(uri) if isinstance(uri, str) else None
    if file is None:
        raise bad_upstream_response("The upstream's video stands at no place that is known.")
    memo = {"file": file[1], "type": kind, "in": measured.input_tokens, "out": measured.output_tokens}
    return Running(Status.IN_PROGRESS, name, memo=memo)


def _read_file(handle: Handle, body: Mapping[str, Any]) -> Outcome:
    """https://ai.google.dev/api/files#State"""
    memo = handle.memo
    match body.get("state"):
        case "PROCESSING":
            return Running(Status.IN_PROGRESS, handle.id, memo=memo)
        case "FAILED":
            return Failed(_message(body.get("error")) or _ENDED["failed"])
        case "ACTIVE":
            path = f"{VERSION}/files/{quote(str(memo['file']), safe='')}:download?alt=media"
            measured = Measured(videos=1, input_tokens=read_count(memo, "in"), output_tokens=read_count(memo, "out"))
            return Done((Output(content_type(memo.get("type"), "video/mp4"), call=Call("GET", path)),), measured)
        case _:
            raise bad_upstream_response("The upstream's file has a state that isn't known.")


def _find_video(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The last one: earlier ones of an interaction are drafts."""
    found = [item for item in (*_outputs(body), body.get("output_video")) if _is_video(item)]
    return found[-1] if found else None


def _is_video(item: object) -> bool:
    return isinstance(item, dict) and item.get("type", "video") == "video" and bool(item.get("data") or item.get("uri"))


def _steps(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What the model said; what went in is told back too, as steps of other types."""
    steps = body.get("steps")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and step.get("type") == "model_output":
            yield step


def _outputs(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for step in _steps(body):
        content = step.get("content")
        yield from (item for item in (content if isinstance(content, list) else ()) if isinstance(item, dict))


def _failed(status: str, body: Mapping[str, Any]) -> Failed:
    """With the upstream's words where they are about the request; a budget is the operator's affair."""
    code = "task_cancelled" if status == "cancelled" else "upstream_failed"
    if status not in _SPEAKS_OF_CLIENT:
        return Failed(_ENDED[status], code)
    errors = body.get("errors")
    said = [_message(error) for error in (errors if isinstance(errors, list) else ())]
    said += [_message(step.get("error")) for step in _steps(body)]
    said += [
        item["text"] for item in _outputs(body) if item.get("type") == "text" and isinstance(item.get("text"), str)
    ]
    words = "; ".join(dict.fromkeys(message.strip() for message in said if message and message.strip()))
    return Failed(words[:MAX_MESSAGE] or _ENDED[status], code)


def _message(error: object) -> str | None:
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None


def _measure(body: Mapping[str, Any]) -> Measured:
    """Thoughts stand beside the output, and what tools read beside the input."""
    usage = read_details(body, "usage")
    return Measured(
        videos=1,
        input_tokens=add(usage, "total_input_tokens", "total_tool_use_tokens"),
        output_tokens=add(usage, "total_output_tokens", "total_thought_tokens"),
    )
