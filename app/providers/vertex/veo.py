"""Veo on Vertex AI: what a job becomes as `predictLongRunning`, and what an operation says.

As google-genai 3.4 writes and reads it (`_GenerateVideos*_to_vertex`), and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo-video-generation describes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from app.core.media import Attachment, Job, Measured
from app.core.usage import Usage, read_count, read_details
from app.errors import invalid_request
from app.providers.gemini.framing import Frame, role, video_frame, whole_seconds
from app.providers.gemini.inline import content_type, encode
from app.providers.jobs import read_base64, refuse
from app.providers.media import Call, Done, Failed, Output
from app.providers.replies import MAX_MESSAGE

RESOLUTIONS = ("720p", "1080p", "4k")
"""4k is a preview of some models; the others refuse it."""

DEFAULT_SECONDS = 8
MOST_SAMPLES = 4
MOST_REFERENCES = 3

STORAGE = "https://storage.googleapis.com/storage/v1/b"

_LENGTHS: Mapping[str, tuple[int, ...]] = MappingProxyType({"veo-3": (4, 6, 8), "veo-2": (5, 6, 7, 8)})
"""Seconds by the beginning of the model's name, for videos that aren't extensions."""

_PARAMETERS: Mapping[str, tuple[str, type]] = MappingProxyType(
    {
        "enhance_prompt": ("enhancePrompt", bool),
        "generate_audio": ("generateAudio", bool),
        "negative_prompt": ("negativePrompt", str),
        "person_generation": ("personGeneration", str),
        "compression_quality": ("compressionQuality", str),
        "resize_mode": ("resizeMode", str),
        "seed": ("seed", int),
    }
)
"""Fields of a client's body that Veo takes as parameters: their names there, and their types."""

_OF_REQUEST = frozenset({3, 9, 11})
"""`google.rpc.Code`: INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE. Others may speak of the operator's account."""


def check(job: Job, model: str) -> None:
    """Raises GatewayError 400 naming the field."""
    refuse(job, "character_url", by="Veo")
    frame(job)
    _check_length(job, model)
    if job.count > MOST_SAMPLES:
        raise invalid_request(f"n: Veo makes at most {MOST_SAMPLES} videos at a time.", "n")
    if len(job.videos) > 1:
        raise invalid_request("videos: Veo takes one.", "videos")
    if job.videos and job.images:
        raise invalid_request("images: Veo takes images or a video, not both.", "images")
    if role(job) == "references" and len(job.images) > MOST_REFERENCES:
        raise invalid_request(f"images: Veo takes at most {MOST_REFERENCES} reference images.", "images")
    for name, (_, kind) in _PARAMETERS.items():
        value = job.extra.get(name)
        if value is not None and type(value) is not kind:
            raise invalid_request(f"{name}: must be {_KINDS[kind]}.", name)


_KINDS: Mapping[type, str] = MappingProxyType({bool: "true or false", str: "a text", int: "a whole number"})


def frame(job: Job) -> Frame:
    """Raises GatewayError 400."""
    return video_frame(job, RESOLUTIONS)


def units(job: Job, model: str) -> Usage:
    """As many videos as asked for, and the length of all of them together."""
    wanted, seconds = frame(job), length(job)
    audio = sound(job, model)
    return Usage(
        videos=job.count,
        milliseconds=seconds * 1000 * job.count,
        traits={
            "resolution": wanted.resolution or "720p",
            "duration": str(seconds),
            "aspect_ratio": wanted.aspect_ratio or "16:9",
            "input": "video" if job.videos else "image" if job.images else "text",
            "audio": str(bool(audio)).lower(),
        },
    )


def length(job: Job) -> int:
    """Seconds of each video. Of an extension too, whose own default isn't documented."""
    return whole_seconds(job) or DEFAULT_SECONDS


def sound(job: Job, model: str) -> bool | None:
    """Whether there is sound, which costs; sent in any case, since the documentation wants it said. None: a model without."""
    if model.startswith("veo-2"):
        return None
    wished = job.extra.get("generate_audio")
    return wished if isinstance(wished, bool) else True


def submit(job: Job, model: str, place: str) -> Call:
    """`place`: `projects/…/locations/…`. Raises GatewayError 400 for an attachment without bytes."""
    parameters: dict[str, Any] = {"sampleCount": job.count, "durationSeconds": length(job)}
    wanted = frame(job)
    said = {"aspectRatio": wanted.aspect_ratio, "resolution": wanted.resolution, "generateAudio": sound(job, model)}
    parameters |= {name: value for name, value in said.items() if value is not None}
    for name, (theirs, kind) in _PARAMETERS.items():
        if name != "generate_audio" and type(job.extra.get(name)) is kind:
            parameters[theirs] = job.extra[name]
    path = f"/v1beta1/{place}/publishers/google/models/{quote(model, safe='')}:predictLongRunning"
    return Call("POST", path, json={"instances": [_instance(job)], "parameters": parameters})


def read_operation(body: Mapping[str, Any], memo: Mapping[str, Any]) -> Done | Failed:
    """What an operation that is done came to; `memo` has the `seconds` of each video."""
    error = body.get("error")
    if isinstance(error, dict):
        return _read_error(error)
    response = read_details(body, "response")
    videos = response.get("videos")
    outputs = [_output(video) for video in (videos if isinstance(videos, list) else ()) if isinstance(video, dict)]
    made = tuple(output for output in outputs if output is not None)
    if not made:
        return _read_filtered(response)
    seconds = read_count(memo, "seconds")
    milliseconds = None if seconds is None else seconds * 1000 * len(made)
    return Done(made, Measured(videos=len(made), milliseconds=milliseconds))


def _check_length(job: Job, model: str) -> None:
    seconds = whole_seconds(job)
    lengths = next((known for name, known in _LENGTHS.items() if model.startswith(name)), None)
    if seconds is None or lengths is None or job.videos:
        return
    if role(job) == "references":
        # https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo-video-generation, durationSeconds
        lengths = (DEFAULT_SECONDS,)
    if seconds not in lengths:
        raise invalid_request(f"duration: must be {' or '.join(map(str, lengths))} seconds.", "duration")


def _instance(job: Job) -> dict[str, Any]:
    images = [_media(image, "image/png", f"images[{index}]") for index, image in enumerate(job.images)]
    instance: dict[str, Any] = {"prompt": job.prompt}
    match role(job):
        case "references":
            instance["referenceImages"] = [{"image": image, "referenceType": "ASSET"} for image in images]
        case "frames":
            instance["image"], instance["lastFrame"] = images
        case "first":
            (instance["image"],) = images
        case None:
            pass
    if job.videos:
        instance["video"] = _media(job.videos[0], "video/mp4", "videos[0]")
    return instance


def _media(attachment: Attachment, usual: str, field: str) -> dict[str, Any]:
    data = encode(attachment)
    if data is None:
        raise invalid_request(f"{field}: Veo takes no URLs.", field)
    return {"bytesBase64Encoded": data, "mimeType": content_type(attachment.content_type, usual)}


def _output(video: Mapping[str, Any]) -> Output | None:
    """Inline, as no bucket is named; if the upstream used one all the same, by the JSON API of Cloud Storage."""
    kind = content_type(video.get("mimeType"), "video/mp4")
    if data := video.get("bytesBase64Encoded"):
        return Output(kind, data=read_base64(data))
    uri = video.get("gcsUri")
    bucket, _, name = uri.removeprefix("gs://").partition("/") if isinstance(uri, str) else ("", "", "")
    if not bucket or not name:
        return None
    return Output(kind, call=Call("GET", f"{STORAGE}/{quote(bucket, safe='')}/o/{quote(name, safe='')}?alt=media"))


def _read_error(error: Mapping[str, Any]) -> Failed:
    code, message = error.get("code"), error.get("message")
    if not isinstance(code, int):
        return Failed("The upstream failed.")
    if code in _OF_REQUEST and isinstance(message, str) and message.strip():
        return Failed(message.strip()[:MAX_MESSAGE])
    return Failed(f"The upstream failed ({code}).")


def _read_filtered(response: Mapping[str, Any]) -> Failed:
    """Done without a video: its filters withheld it, or nobody knows why. A failure in either case."""
    reasons = response.get("raiMediaFilteredReasons")
    said = [reason for reason in (reasons if isinstance(reasons, list) else ()) if isinstance(reason, str) and reason]
    if said:
        return Failed("; ".join(dict.fromkeys(said))[:MAX_MESSAGE], "content_filtered")
    if read_count(response, "raiMediaFilteredCount"):
        return Failed("The upstream's filters withheld the result.", "content_filtered")
    return Failed("The upstream finished without a video.")
