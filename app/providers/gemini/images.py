"""Images by `generateContent`: the answer to the one call holds the results.

https://ai.google.dev/gemini-api/docs/image-generation
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from app.core.media import Attachment, Job, Measured
from app.core.tokens import bound_of_request
from app.core.usage import Usage, read_details, read_name
from app.providers.gemini.answers import add, read_accepted
from app.providers.gemini.framing import image_frame
from app.providers.gemini.inline import content_type, encode
from app.providers.gemini.videos import VERSION
from app.providers.jobs import read_base64, refuse
from app.providers.media import Call, Done, Failed, Outcome, Output, Reply
from app.providers.replies import MAX_MESSAGE

TIMEOUT = 300.0
"""Seconds: the largest pictures take minutes."""

OUTPUT_TOKENS = {"1K": 1290, "2K": 1680, "4K": 2520}
"""What a picture takes at most among the vendor's models, for holds at token prices; the report replaces it."""

_IMAGE_TOKENS = 1290

_FILTERED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "JAILBREAK",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)
"""Of `FinishReason` and `BlockedReason`: those that are about what was asked for or made."""


def check(job: Job) -> None:
    """Raises GatewayError 400 naming the field."""
    refuse(job, "character_url", "n", "videos", "duration", by="Google's image model")
    image_frame(job)


def units(job: Job) -> Usage:
    """One image, and about the tokens that it takes."""
    frame = image_frame(job)
    resolution = frame.resolution or "1K"
    traits = {"resolution": resolution, "input": "image" if job.images else "text"}
    if frame.aspect_ratio is not None:
        traits["aspect_ratio"] = frame.aspect_ratio
    return Usage(
        images=1,
        input_tokens=bound_of_request(job.prompt.encode()) + len(job.images) * _IMAGE_TOKENS,
        output_tokens=OUTPUT_TOKENS[resolution],
        traits=traits,
    )


def submit(job: Job, model: str) -> Call:
    parts: list[dict[str, Any]] = [{"text": job.prompt}, *map(_part, job.images)]
    config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
    frame = image_frame(job)
    wishes = {"aspectRatio": frame.aspect_ratio, "imageSize": frame.resolution}
    if picture := {name: value for name, value in wishes.items() if value is not None}:
        config["imageConfig"] = picture
    seed = job.extra.get("seed")
    if isinstance(seed, int) and not isinstance(seed, bool):
        config["seed"] = seed
    body = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}
    return Call("POST", f"{VERSION}/models/{quote(model, safe='')}:generateContent", json=body, timeout=TIMEOUT)


def read_submitted(reply: Reply) -> Outcome:
    """`Done` or `Failed`. Raises UpstreamError."""
    return read_accepted(reply, _read_content)


def _read_content(body: Mapping[str, Any]) -> Done | Failed:
    outputs: list[Output] = []
    for part in _parts(body):
        inline = part.get("inlineData")
        # A thinking model shows its drafts as thoughts.
        if isinstance(inline, dict) and part.get("thought") is not True:
            data = read_base64(inline.get("data"))
            outputs.append(Output(content_type(inline.get("mimeType"), "image/png"), data=data))
    if not outputs:
        return _failed(body)
    usage = read_details(body, "usageMetadata")
    measured = Measured(
        images=len(outputs),
        input_tokens=add(usage, "promptTokenCount", "toolUsePromptTokenCount"),
        output_tokens=add(usage, "candidatesTokenCount", "thoughtsTokenCount"),
    )
    return Done(tuple(outputs), measured)


def _part(image: Attachment) -> dict[str, Any]:
    kind, data = content_type(image.content_type, "image/png"), encode(image)
    if data is None:
        return {"fileData": {"mimeType": kind, "fileUri": image.url}}
    return {"inlineData": {"mimeType": kind, "data": data}}


def _candidates(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    candidates = body.get("candidates")
    yield from (one for one in (candidates if isinstance(candidates, list) else ()) if isinstance(one, dict))


def _parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for candidate in _candidates(body):
        parts = read_details(candidate, "content").get("parts")
        yield from (part for part in (parts if isinstance(parts, list) else ()) if isinstance(part, dict))


def _failed(body: Mapping[str, Any]) -> Failed:
    """A blocked prompt has no candidates, a blocked result a candidate without an image; both come with status 200."""
    blocked = read_name(read_details(body, "promptFeedback").get("blockReason"))
    ends = [read_name(candidate.get("finishReason")) for candidate in _candidates(body)]
    reason = blocked or next((end for end in ends if end and end != "STOP"), None)
    said = [candidate.get("finishMessage") for candidate in _candidates(body)]
    said += [part.get("text") for part in _parts(body) if part.get("thought") is not True]
    words = "; ".join(text.strip() for text in said if isinstance(text, str) and text.strip())[:MAX_MESSAGE]
    what = "The upstream blocked the prompt" if blocked else "The upstream made no image"
    told = f"{what} ({reason})." if reason else f"{what}."
    return Failed(
        f"{told} {words}" if words else told, "content_filtered" if reason in _FILTERED else "upstream_failed"
    )
