"""xAI's images: generated from text, or edited from pictures, and answered at once.

Sources: @ai-sdk/xai 3.0 `xai-image-model.ts` (REST paths, fields, `response_format`, `respect_moderation`) and its guide
(ratios, resolutions, no `size`); xai-sdk 1.21 `types/image.py`; https://docs.x.ai/developers/debugging (errors). At most ten
images a request: https://docs.x.ai/docs/guides/image-generations.

Unverified: how many pictures an edit takes, and whether an edit takes `n`; the upstream says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.core.media import Job, Measured
from app.core.usage import Usage
from app.errors import UpstreamError, bad_upstream_response, invalid_request
from app.providers.jobs import as_link, read_base64, read_data_uri, read_link, refuse, requested, traits
from app.providers.media import Call, Done, Failed, Outcome, Output, Reply
from app.providers.xai.errors import read_accepted

RATIOS = (
    *("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "2:1", "1:2"),
    *("19.5:9", "9:19.5", "20:9", "9:20", "auto"),
)
RESOLUTIONS = ("1k", "2k")
MAX_COUNT = 10
SECONDS = 300.0
"""How long an answer may take: it comes with the images themselves."""

MODERATED = "The images were blocked by the upstream's moderation."
GATEWAYS_OWN = frozenset(
    {"notify_hook", "private", "enhance_prompt", "enable_upsample", "watermark", "response_format"}
)

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
USUAL_TYPE = "image/jpeg"


def check(job: Job) -> None:
    """Raises GatewayError 400 naming the field that xAI has nothing for."""
    refuse(job, "size", "duration", "hd", "videos", "character_url", "character_timestamps", by="xAI's images")
    if job.count > MAX_COUNT:
        raise invalid_request(f"n: xAI makes {MAX_COUNT} images at most.", "n")
    if job.aspect_ratio is not None and job.aspect_ratio not in RATIOS:
        raise invalid_request(f"aspect_ratio: xAI takes {', '.join(RATIOS)}.", "aspect_ratio")
    if job.resolution is not None and job.resolution.lower() not in RESOLUTIONS:
        raise invalid_request(f"resolution: xAI takes {', '.join(RESOLUTIONS)}.", "resolution")
    for name in ("image", "storage_options"):
        if name in job.extra:
            raise invalid_request(
                f"{name}: isn't taken here; pictures go in by `images`, and come by `data.output`.", name
            )


def units(job: Job) -> Usage:
    known = requested(job)
    return replace(known, traits=traits({**known.traits, "resolution": job.resolution and job.resolution.lower()}))


def submit(job: Job, model: str) -> Call:
    """Asks for bytes: a link would be one more call, and would expire."""
    body: dict[str, Any] = {name: value for name, value in job.extra.items() if name not in GATEWAYS_OWN}
    body |= {"model": model, "prompt": job.prompt, "n": job.count, "response_format": "b64_json"}
    if job.aspect_ratio is not None:
        body["aspect_ratio"] = job.aspect_ratio
    if job.resolution is not None:
        body["resolution"] = job.resolution.lower()
    pictures = [{"url": as_link(item), "type": "image_url"} for item in job.images]
    if not pictures:
        return Call("POST", "/images/generations", json=body, timeout=SECONDS)
    body |= {"image": pictures[0]} if len(pictures) == 1 else {"images": pictures}
    return Call("POST", "/images/edits", json=body, timeout=SECONDS)


def read_submitted(reply: Reply) -> Outcome:
    """Images that moderation blocked are missing from what is charged; if all were, nothing was made."""
    body = read_accepted(reply)
    if isinstance(body, Failed):
        return body
    data = body.get("data")
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    passed = [item for item in items if item.get("respect_moderation") is not False]
    if items and not passed:
        return Failed(MODERATED, "moderation")
    outputs = tuple(output for item in passed if (output := _read_image(item)) is not None)
    if not outputs:
        raise bad_upstream_response("The upstream's answer has no images.")
    return Done(outputs, Measured(images=len(outputs)))


def _read_image(item: dict[str, Any]) -> Output | None:
    """Bytes as asked for, or a link, which is temporary. Older replies have a data URI in `b64_json`. None for neither:
    one image that can't be read doesn't cost the others, which are paid for.
    """
    encoded = item.get("b64_json")
    try:
        if isinstance(encoded, str) and encoded:
            data = read_data_uri(encoded)[1] if encoded.startswith("data:") else read_base64(encoded)
            return Output(_type_of(data), data=data)
        output = read_link(item.get("url"), USUAL_TYPE)
    except UpstreamError:
        return None
    return None if output is None else replace(output, keep=True)


def _type_of(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES if data.startswith(signature)), USUAL_TYPE)
