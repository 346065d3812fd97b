"""Gemini: Interactions for videos, generateContent for images (google-genai 3.4; ai.google.dev/gemini-api/docs/omni)."""

from __future__ import annotations

from typing import Any

from app.core.media import Attachment, Measured, Scope, Status
from app.core.tokens import bound_of_request
from app.core.usage import Usage
from app.providers.media import Call, Done, Failed, Output, Running
from tests.providers.media_fixtures import (
    FETCHED,
    PNG,
    PNG_BYTES,
    Cancels,
    Case,
    Fault,
    Finds,
    Found,
    Polled,
    Polls,
    Refused,
    Sent,
    Submitted,
    handle,
    job,
    reply,
)

PROVIDERS = ("gemini",)

PNG_64 = "iVBORw0KGgotZGVtby0="
IMAGE = {"type": "image", "data": PNG_64, "mime_type": "image/png"}
MP4 = Attachment(key="inputs/2026-01-01/abc/1.mp4", content_type="video/mp4", data=b"mp4")
ID = "v1_abc"
FILE = "https://generativelanguage.googleapis.com/v1beta/files/f00d-1:download?alt=media"
MEMO = {"file": "f00d-1", "type": "video/mp4", "in": 12, "out": 46336}
PROMPT_TOKENS = bound_of_request(b"a cat")


def video(input: object, task: str | None = None, **format: str) -> Call:
    body: dict[str, Any] = {
        "model": "upstream-model",
        "input": input,
        "background": True,
        "store": True,
        "response_format": {"type": "video", "delivery": "uri", **format},
    }
    if task is not None:
        body["generation_config"] = {"video_config": {"task": task}}
    return Call("POST", "/v1beta/interactions", json=body)


def image(parts: list[dict[str, Any]], **config: Any) -> Call:
    body = {
        "contents": [{"role": "user", "parts": parts}],
        "generationConfig": {"responseModalities": ["IMAGE"], **config},
    }
    return Call("POST", "/v1beta/models/upstream-model:generateContent", json=body, timeout=300.0)


def usage(seconds: int, resolution: str = "720p", tokens: int = 5792, media: int = 0, **traits: str) -> Usage:
    return Usage(
        videos=1,
        milliseconds=seconds * 1000,
        input_tokens=PROMPT_TOKENS + media * 3000,
        output_tokens=seconds * tokens,
        traits={
            "resolution": resolution,
            "duration": str(seconds),
            "aspect_ratio": "16:9",
            "input": "text",
            "audio": "true",
            **traits,
        },
    )


def interaction(status: str, **fields: Any) -> dict[str, Any]:
    return {"id": ID, "object": "interaction", "model": "upstream-model", "status": status, **fields}


def said(*content: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """Steps as they come: what went in is told back."""
    return [
        {"type": "user_input", "content": [{"type": "video", "data": "bm90IHRoaXM="}]},
        {"type": "thought", "signature": "c2ln"},
        {"type": "model_output", "content": list(content), **fields},
    ]


def content(*parts: dict[str, Any], finish: str = "STOP", **fields: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, "index": 0, **fields}
    counts = {"promptTokenCount": 9, "candidatesTokenCount": 1120, "thoughtsTokenCount": 80, "totalTokenCount": 1209}
    return {"candidates": [candidate], "usageMetadata": counts, "modelVersion": "upstream-model"}


TOKENS = {
    "total_input_tokens": 10,
    "total_tool_use_tokens": 2,
    "total_output_tokens": 46000,
    "total_thought_tokens": 336,
}
CLIP: dict[str, Any] = {"type": "video", "mime_type": "video/mp4"}
PICTURE = job("a cat", Scope.IMAGES)
INLINE = {"inlineData": {"mimeType": "image/png", "data": PNG_64}}

VIDEOS: tuple[Case, ...] = (
    Sent("text", job(), video("a cat", duration="8s"), usage(8)),
    Sent(
        "all that can be wished for",
        job(seconds=10, aspect_ratio="9:16", resolution="4K"),
        video("a cat", aspect_ratio="9:16", resolution="4k", duration="10s"),
        usage(10, "4k", 17376, aspect_ratio="9:16"),
    ),
    Sent(
        "upsampled",
        job(extra={"enable_upsample": True, "enhance_prompt": True, "watermark": False}),
        video("a cat", resolution="1080p", duration="8s"),
        usage(8, "1080p", 8688),
    ),
    Sent("hd", job(hd=True), video("a cat", resolution="1080p", duration="8s"), usage(8, "1080p", 8688)),
    Sent(
        "a size",
        job(size="720x1280", seconds=4),
        video("a cat", aspect_ratio="9:16", resolution="720p", duration="4s"),
        usage(4, aspect_ratio="9:16"),
    ),
    Sent(
        "an image",
        job(images=(PNG,)),
        video([IMAGE, {"type": "text", "text": "a cat"}], "image_to_video", duration="8s"),
        usage(8, media=1, input="image"),
    ),
    Sent(
        "several images",
        job(images=(PNG, FETCHED)),
        video([IMAGE, IMAGE, {"type": "text", "text": "a cat"}], "reference_to_video", duration="8s"),
        usage(8, media=2, input="image"),
    ),
    Sent(
        "a video",
        job(videos=(MP4,)),
        video(
            [{"type": "video", "data": "bXA0", "mime_type": "video/mp4"}, {"type": "text", "text": "a cat"}],
            "edit",
        ),
        usage(10, media=1, input="video"),
    ),
    Refused("a length below what it makes", job(seconds=2), "duration"),
    Refused("a length above what it makes", job(seconds=25), "duration"),
    Refused("half a second", job(seconds=4.5), "duration"),
    Refused("a square", job(aspect_ratio="1:1"), "aspect_ratio"),
    Refused("a resolution between", job(resolution="480p"), "resolution"),
    Refused("a size of another shape", job(size="1024x1792"), "size"),
    Refused("a size that is none", job(size="large"), "size"),
    Refused("two videos out", job(count=2), "n"),
    Refused("two videos in", job(videos=(MP4, MP4)), "videos"),
    Refused("a character", job(character_url="https://client.example/c.mp4"), "character_url"),
    Refused("a negative prompt", job(extra={"negative_prompt": "dogs"}), "negative_prompt"),
    Refused("silence", job(extra={"generate_audio": False}), "generate_audio"),
    Submitted("accepted", job(), reply(interaction("in_progress")), Running(Status.IN_PROGRESS, ID)),
    Submitted("queued", job(), reply(interaction("queued")), Running(Status.QUEUED, ID)),
    Submitted("without an id", job(), reply({"status": "in_progress"}), Fault("upstream_bad_response")),
    Submitted(
        "made at once",
        job(),
        reply(interaction("completed", steps=said({**CLIP, "data": "bXA0"}), usage=TOKENS)),
        Done((Output("video/mp4", data=b"mp4"),), Measured(videos=1, input_tokens=12, output_tokens=46336)),
    ),
    Submitted(
        "a key that isn't one",
        job(),
        reply(
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                    "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
                }
            },
            400,
        ),
        Fault("upstream_refused_credentials"),
    ),
    Submitted(
        "a country that isn't served",
        job(),
        reply([{"error": {"code": 400, "message": "Enable billing.", "status": "FAILED_PRECONDITION"}}], 400),
        Fault("upstream_refused_credentials"),
    ),
    Submitted(
        "a model that isn't known",
        job(),
        reply({"error": {"code": 404, "message": "models/x is not found.", "status": "NOT_FOUND"}}, 404),
        Fault("upstream_model_not_found"),
    ),
    Submitted(
        "refused, in a list",
        job(),
        reply([{"error": {"code": 400, "message": "Unknown name.", "status": "INVALID_ARGUMENT"}}], 400),
        Failed("Unknown name.", "400"),
    ),
    Polls("by id", handle(ID), Call("GET", "/v1beta/interactions/v1_abc")),
    Polls("its file", handle(ID, MEMO), Call("GET", "/v1beta/files/f00d-1")),
    Polled("queued", handle(ID), reply(interaction("queued")), Running(Status.QUEUED, ID)),
    Polled("at work", handle(ID), reply(interaction("in_progress")), Running(Status.IN_PROGRESS, ID)),
    Polled("a status of tomorrow", handle(ID), reply(interaction("dreaming")), Fault("upstream_bad_response")),
    Polled(
        "a file to be awaited",
        handle(ID),
        reply(interaction("completed", steps=said({**CLIP, "uri": FILE}), usage=TOKENS)),
        Running(Status.IN_PROGRESS, ID, memo=MEMO),
    ),
    Polled(
        "the SDK's shorthand",
        handle(ID),
        reply(interaction("completed", output_video={"uri": "files/f00d-1", "mime_type": "video/mp4"}, usage=TOKENS)),
        Running(Status.IN_PROGRESS, ID, memo=MEMO),
    ),
    Polled(
        "inline though a file was asked for, the last of two",
        handle(ID),
        reply(interaction("completed", steps=said({**CLIP, "data": "b25l"}, {**CLIP, "data": "dHdv"}))),
        Done((Output("video/mp4", data=b"two"),), Measured(videos=1)),
    ),
    Polled(
        "at a place that isn't known",
        handle(ID),
        reply(interaction("completed", steps=said({**CLIP, "uri": "gs://bucket/x.mp4"}))),
        Fault("upstream_bad_response"),
    ),
    Polled(
        "completed without a video, with words",
        handle(ID),
        reply(interaction("completed", steps=said({"type": "text", "text": "I can't make that."}))),
        Failed("I can't make that."),
    ),
    Polled(
        "completed without a video or a word",
        handle(ID),
        reply(interaction("completed")),
        Failed("The upstream completed without a video."),
    ),
    Polled(
        "failed, with reasons in both places",
        handle(ID),
        reply(
            interaction(
                "failed",
                errors=[{"code": "https://errors.example/safety", "message": "Blocked by safety filters."}],
                steps=said(error={"code": 3, "message": "The prompt names a person."}),
            )
        ),
        Failed("Blocked by safety filters.; The prompt names a person."),
    ),
    Polled("failed", handle(ID), reply(interaction("failed")), Failed("The upstream failed.")),
    Polled(
        "cancelled", handle(ID), reply(interaction("cancelled")), Failed("The task was cancelled.", "task_cancelled")
    ),
    Polled(
        "an incomplete video isn't one",
        handle(ID),
        reply(interaction("incomplete", steps=said({**CLIP, "data": "bXA0"}))),
        Failed("The upstream stopped before the video was complete."),
    ),
    Polled(
        "a budget is nothing for clients",
        handle(ID),
        reply(interaction("budget_exceeded", errors=[{"message": "Project 123 is out of money."}])),
        Failed("The upstream's budget for this task was exceeded."),
    ),
    Polled(
        "an action nobody can take",
        handle(ID),
        reply(interaction("requires_action")),
        Failed("The upstream asks for an action that can't be taken."),
    ),
    Polled(
        "a continuation nobody asks for",
        handle(ID),
        reply(interaction("requires_continuation", continuation_token="t")),
        Failed("The upstream stopped before the video was complete."),
    ),
    Polled(
        "its file is being processed",
        handle(ID, MEMO),
        reply({"name": "files/f00d-1", "state": "PROCESSING"}),
        Running(Status.IN_PROGRESS, ID, memo=MEMO),
    ),
    Polled(
        "its file is there",
        handle(ID, MEMO),
        reply({"name": "files/f00d-1", "state": "ACTIVE", "uri": FILE}),
        Done(
            (Output("video/mp4", call=Call("GET", "/v1beta/files/f00d-1:download?alt=media")),),
            Measured(videos=1, input_tokens=12, output_tokens=46336),
        ),
    ),
    Polled(
        "its file is lost",
        handle(ID, MEMO),
        reply({"name": "files/f00d-1", "state": "FAILED", "error": {"code": 13, "message": "Processing failed."}}),
        Failed("Processing failed."),
    ),
    Polled("its file in no state", handle(ID, MEMO), reply({"name": "files/f00d-1"}), Fault("upstream_bad_response")),
    Cancels("by id", handle(ID), Call("POST", "/v1beta/interactions/v1_abc/cancel")),
    Cancels("not once it is made", handle(ID, MEMO), None),
    Finds("not at all", job(), None),
    Found("nothing can be told", job(), reply({"interactions": []}), Fault("upstream_bad_response")),
)

IMAGES: tuple[Case, ...] = (
    Sent(
        "an image of words",
        PICTURE,
        image([{"text": "a cat"}]),
        Usage(
            images=1,
            input_tokens=PROMPT_TOKENS,
            output_tokens=1290,
            traits={"resolution": "1K", "input": "text"},
        ),
    ),
    Sent(
        "an image of an image",
        job("a cat", Scope.IMAGES, images=(PNG,), aspect_ratio="21:9", resolution="4k", extra={"seed": 7}),
        image(
            [{"text": "a cat"}, INLINE],
            imageConfig={"aspectRatio": "21:9", "imageSize": "4K"},
            seed=7,
        ),
        Usage(
            images=1,
            input_tokens=PROMPT_TOKENS + 1290,
            output_tokens=2520,
            traits={"resolution": "4K", "input": "image", "aspect_ratio": "21:9"},
        ),
    ),
    Sent(
        "an image of a size",
        job("a cat", Scope.IMAGES, size="1536x2048"),
        image([{"text": "a cat"}], imageConfig={"aspectRatio": "3:4", "imageSize": "2K"}),
    ),
    Sent("any size", job("a cat", Scope.IMAGES, size="auto"), image([{"text": "a cat"}])),
    Refused("two images", job("a cat", Scope.IMAGES, count=2), "n"),
    Refused("a video for an image", job("a cat", Scope.IMAGES, videos=(MP4,)), "videos"),
    Refused("a shape of image it lacks", job("a cat", Scope.IMAGES, aspect_ratio="7:4"), "aspect_ratio"),
    Refused("a size of image it lacks", job("a cat", Scope.IMAGES, size="1792x1024"), "size"),
    Refused("an image too large", job("a cat", Scope.IMAGES, size="8192x8192"), "size"),
    Refused("an image in other words", job("a cat", Scope.IMAGES, resolution="720p"), "resolution"),
    Refused("an image with a length", job("a cat", Scope.IMAGES, seconds=4), "duration"),
    Submitted(
        "an image",
        PICTURE,
        reply(content({"text": "Here you are."}, INLINE)),
        Done((Output("image/png", data=PNG_BYTES),), Measured(images=1, input_tokens=9, output_tokens=1200)),
    ),
    Submitted(
        "drafts are no results",
        PICTURE,
        reply(content({**INLINE, "thought": True}, INLINE)),
        Done((Output("image/png", data=PNG_BYTES),), Measured(images=1, input_tokens=9, output_tokens=1200)),
    ),
    Submitted(
        "a blocked prompt",
        PICTURE,
        reply({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
        Failed("The upstream blocked the prompt (PROHIBITED_CONTENT).", "content_filtered"),
    ),
    Submitted(
        "a blocked image",
        PICTURE,
        reply(content(finish="IMAGE_SAFETY", finishMessage="Unable to show the generated image.")),
        Failed(
            "The upstream made no image (IMAGE_SAFETY). Unable to show the generated image.",
            "content_filtered",
        ),
    ),
    Submitted(
        "words alone",
        PICTURE,
        reply(content({"text": "Which cat?"})),
        Failed("The upstream made no image. Which cat?"),
    ),
    Submitted("no image", PICTURE, reply(content(finish="NO_IMAGE")), Failed("The upstream made no image (NO_IMAGE).")),
    Submitted(
        "no base64",
        PICTURE,
        reply(content({"inlineData": {"mimeType": "image/png", "data": "%%%"}})),
        Fault("upstream_bad_response"),
    ),
)

CASES: tuple[Case, ...] = VIDEOS + IMAGES
