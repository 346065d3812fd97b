"""xAI's videos: generation from text and pictures, and edits of a video, as deferred requests.

Sources: https://docs.x.ai/docs/guides/video-generation (the two steps, `pending | done | expired`, links are temporary);
@ai-sdk/xai 3.0 `xai-video-model.ts` (REST paths, `image`, `video` and `reference_images` as objects with `url`, 202 with
or without a body while pending, `failed`, `error`, `progress`, `respect_moderation`); xai-sdk 1.21 `video.py` (lengths,
ratios, resolutions and their defaults, links valid for 24 hours).

Not implemented: extensions of a video (`/videos/extensions`), which no field of the contract asks for. Unverified in REST:
`last_frame`, which xai-sdk sends by gRPC, so that a last frame is refused.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from app.core.media import Job, Measured, Status
from app.core.usage import Usage, read_count, read_milliseconds
from app.errors import UpstreamError, bad_upstream_response, invalid_request
from app.providers.ark.shape import read_pictures, read_shape, whole_seconds
from app.providers.jobs import as_link, duration_trait, read_id, read_link, refuse, requested, segment, traits
from app.providers.media import Call, Done, Failed, Handle, Outcome, Reply, Running
from app.providers.replies import read_error
from app.providers.xai.errors import read_accepted, read_body

RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3")
RESOLUTIONS = ("480p", "720p", "1080p")
SHORTEST, LONGEST = 1, 15
DEFAULT_SECONDS = 8
DEFAULT_RESOLUTION = "480p"
MAX_EDITED_MILLISECONDS = 8700
"""The longest video that an edit takes; what is made is as long (@ai-sdk/xai, "Video Editing")."""

MAX_REFERENCES = 7
MODERATED = "The video was blocked by the upstream's moderation."

GATEWAYS_OWN = frozenset({"notify_hook", "private", "enhance_prompt", "enable_upsample", "watermark"})
"""Fields of the contract that this API has no word for: results are private, and 1080p is a resolution."""

_REFUSED = MappingProxyType(
    {
        "image": "give `images`",
        "image_url": "give `images`",
        "video": "give `videos`",
        "reference_images": "give `images`",
        "output": "results come by `data.output`",
        "storage_options": "results come by `data.output`",
    }
)
"""Fields of this API that would say what the contract's fields say, or have the result put elsewhere."""


def check(job: Job) -> None:
    """Raises GatewayError 400 naming the field that xAI has nothing for."""
    refuse(job, "n", "character_url", "character_timestamps", by="xAI")
    for name, instead in _REFUSED.items():
        if name in job.extra:
            raise invalid_request(f"{name}: isn't taken here; {instead}.", name)
    if job.extra.get("watermark") is True:
        raise invalid_request("watermark: xAI makes no watermarks.", "watermark")
    whole_seconds(job, SHORTEST, LONGEST)
    shape = read_shape(job, RATIOS, RESOLUTIONS)
    if job.videos:
        if len(job.videos) > 1:
            raise invalid_request("videos: xAI edits one at a time.", "videos")
        refuse(job, "images", "duration", "aspect_ratio", "size", "resolution", "hd", by="xAI's edits of videos")
        return
    pictures = read_pictures(job)
    if pictures.last is not None:
        raise invalid_request("images: xAI takes a first frame, but no last one.", "images")
    if len(pictures.references) > MAX_REFERENCES:
        raise invalid_request(f"images: xAI takes {MAX_REFERENCES} references at most.", "images")
    if pictures.references and shape.resolution == "1080p":
        raise invalid_request("resolution: xAI makes 720p at most from reference images.", "resolution")


def units(job: Job) -> Usage:
    """Lengths as asked for, else the documented default; an edit's at its longest, until xAI says how long it is."""
    known = requested(job)
    if job.videos:
        return replace(known, milliseconds=MAX_EDITED_MILLISECONDS)
    shape, seconds = read_shape(job, RATIOS, RESOLUTIONS), whole_seconds(job, SHORTEST, LONGEST) or DEFAULT_SECONDS
    said = {
        **known.traits,
        "duration": duration_trait(seconds),
        "resolution": shape.resolution or DEFAULT_RESOLUTION,
        "aspect_ratio": shape.ratio,
        "audio": job.extra.get("generate_audio"),
    }
    return replace(known, milliseconds=seconds * 1000, traits=traits(said))


def submit(job: Job, model: str) -> Call:
    body: dict[str, Any] = {name: value for name, value in job.extra.items() if name not in GATEWAYS_OWN}
    body |= {"model": model, "prompt": job.prompt}
    if job.videos:
        return Call("POST", "/videos/edits", json=body | {"video": {"url": as_link(job.videos[0])}})
    shape, seconds = read_shape(job, RATIOS, RESOLUTIONS), whole_seconds(job, SHORTEST, LONGEST)
    said = {"duration": seconds, "aspect_ratio": shape.ratio, "resolution": shape.resolution}
    body |= {name: value for name, value in said.items() if value is not None}
    pictures = read_pictures(job)
    if pictures.first is not None:
        body["image"] = {"url": as_link(pictures.first)}
    if pictures.references:
        body["reference_images"] = [{"url": as_link(item)} for item in pictures.references]
    return Call("POST", "/videos/generations", json=body)


def read_submitted(reply: Reply) -> Outcome:
    body = read_accepted(reply)
    if isinstance(body, Failed):
        return body
    return Running(Status.SUBMITTED, read_id(body.get("request_id")))


def poll(handle: Handle) -> Call:
    return Call("GET", f"/videos/{segment(handle.id)}")


def read_polled(handle: Handle, reply: Reply) -> Outcome:
    """A 202 says by itself that it isn't done, whatever its body."""
    try:
        body = read_body(reply)
    except UpstreamError:
        if reply.status == 202:
            return Running(Status.IN_PROGRESS, handle.id)
        raise
    match body.get("status"):
        case "pending":
            return Running(Status.IN_PROGRESS, handle.id, _read_progress(body.get("progress")))
        case "done":
            return _read_made(body)
        case "failed":
            reason, code = read_error({"error": body.get("error")})
            return Failed(reason or "The upstream gave no reason.", code or "upstream_failed")
        case "expired":
            return Failed("The upstream's request expired.", "expired")
        case _ if reply.status == 202:
            return Running(Status.IN_PROGRESS, handle.id, _read_progress(body.get("progress")))
        case None if isinstance(body.get("video"), dict):
            return _read_made(body)  # older replies have no status
        case _:
            raise bad_upstream_response("The upstream's answer has no status that is known.")


def _read_made(body: Any) -> Done | Failed:
    said = body.get("video")
    video = said if isinstance(said, dict) else {}
    if video.get("respect_moderation") is False:
        return Failed(MODERATED, "moderation")
    output = read_link(video.get("url"), "video/mp4")
    if output is None:
        raise bad_upstream_response("The upstream says that it succeeded, and names no result.")
    length = read_milliseconds(video, "duration")
    known = {} if length is None else traits({"duration": duration_trait(length / 1000)})
    # Kept whatever the link says: it lasts 24 hours.
    return Done((replace(output, keep=True),), Measured(videos=1, milliseconds=length, traits=known))


def _read_progress(value: object) -> int | None:
    percent = read_count({"progress": value}, "progress")
    return percent if percent is not None and percent <= 100 else None
