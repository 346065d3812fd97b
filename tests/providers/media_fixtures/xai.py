"""xAI: deferred videos and immediate images. Shapes as @ai-sdk/xai 3.0 and xai-sdk 1.21 have them."""

from __future__ import annotations

from base64 import b64encode

from app.core.media import Job, Measured, Scope, Status
from app.core.usage import Usage
from app.providers.media import Call, Done, Failed, Output, Running
from tests.providers.media_fixtures import (
    MODEL,
    PNG,
    PNG_BYTES,
    PNG_LINK,
    PNG_URI,
    VIDEO_LINK,
    Cancels,
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

PROVIDERS = ("xai",)

TASK = handle("d97415a1-5796-b7ec-379f-4e6819e08fdf")
RUNNING = Running(Status.IN_PROGRESS, TASK.id)
URL = "https://vidgen.x.ai/xai-vidgen-bucket/xai-video-d97415a1.mp4"
DEFAULTS = {"input": "text", "duration": "8", "resolution": "480p"}


def video(**fields: object) -> Call:
    return Call("POST", "/videos/generations", json={"model": MODEL, "prompt": "a cat", **fields})


def image(path: str, **fields: object) -> Call:
    body = {"model": MODEL, "prompt": "a cat", "n": 1, "response_format": "b64_json", **fields}
    return Call("POST", path, json=body, timeout=300.0)


def named(model: str, **fields: object) -> Job:
    return Job(scope=Scope.VIDEOS, model=model, prompt="a cat", **fields)  # type: ignore[arg-type]


def made(**fields: object) -> dict[str, object]:
    shown = {"url": URL, "duration": 6, "respect_moderation": True, **fields}
    return {
        "status": "done",
        "video": shown,
        "model": "grok-imagine-video",
        "usage": {"cost_in_usd_ticks": 500_000_000},
    }


SENT = (
    Sent("text alone", job(), video(), Usage(videos=1, milliseconds=8000, traits=DEFAULTS)),
    Sent(
        "everything said",
        job(seconds=10.0, aspect_ratio="9:16", resolution="720p", extra={"user": "u1", "generate_audio": False}),
        video(duration=10, aspect_ratio="9:16", resolution="720p", user="u1", generate_audio=False),
        Usage(
            videos=1,
            milliseconds=10_000,
            traits={"input": "text", "duration": "10", "resolution": "720p", "aspect_ratio": "9:16", "audio": "false"},
        ),
    ),
    Sent(
        "a size says ratio and resolution",
        job(size="720x1280"),
        video(aspect_ratio="9:16", resolution="720p"),
        Usage(
            videos=1,
            milliseconds=8000,
            traits={"input": "text", "size": "720x1280", "duration": "8", "resolution": "720p", "aspect_ratio": "9:16"},
        ),
    ),
    Sent("hd is 1080p", job(hd=True), video(resolution="1080p")),
    Sent("upsampled is 1080p", job(extra={"enable_upsample": True}), video(resolution="1080p")),
    Sent(
        "the contract's own fields stay here",
        job(extra={"private": True, "watermark": False, "enhance_prompt": True, "notify_hook": "https://a.test"}),
        video(),
    ),
    Sent(
        "first frame by link",
        job(images=(PNG_LINK,)),
        video(image={"url": PNG_LINK.url}),
        Usage(videos=1, milliseconds=8000, traits={**DEFAULTS, "input": "image"}),
    ),
    Sent("first frame by bytes", job(images=(PNG,)), video(image={"url": PNG_URI})),
    Sent(
        "several are references",
        job(images=(PNG, PNG_LINK)),
        video(reference_images=[{"url": PNG_URI}, {"url": PNG_LINK.url}]),
    ),
    Sent(
        "components are references",
        named("veo2-fast-components", images=(PNG,)),
        video(reference_images=[{"url": PNG_URI}]),
    ),
    Sent("one frame", named("veo3-pro-frames", images=(PNG,)), video(image={"url": PNG_URI})),
    Sent(
        "an edit",
        job(videos=(VIDEO_LINK,)),
        Call("POST", "/videos/edits", json={"model": MODEL, "prompt": "a cat", "video": {"url": VIDEO_LINK.url}}),
        Usage(videos=1, milliseconds=8700, traits={"input": "video"}),
    ),
    Sent(
        "an image",
        job(scope=Scope.IMAGES),
        image("/images/generations"),
        Usage(images=1, traits={"input": "text"}),
    ),
    Sent(
        "several images",
        job(scope=Scope.IMAGES, count=3, aspect_ratio="19.5:9", resolution="2K", extra={"quality": "low"}),
        image("/images/generations", n=3, aspect_ratio="19.5:9", resolution="2k", quality="low"),
        Usage(images=3, traits={"input": "text", "aspect_ratio": "19.5:9", "resolution": "2k", "quality": "low"}),
    ),
    Sent(
        "an image from one",
        job(scope=Scope.IMAGES, images=(PNG_LINK,)),
        image("/images/edits", image={"url": PNG_LINK.url, "type": "image_url"}),
    ),
    Sent(
        "an image from two",
        job(scope=Scope.IMAGES, images=(PNG_LINK, PNG)),
        image("/images/edits", images=[{"url": url, "type": "image_url"} for url in (PNG_LINK.url, PNG_URI)]),
    ),
)

REFUSED = (
    Refused("half a second", job(seconds=7.5), "duration"),
    Refused("too long", job(seconds=16.0), "duration"),
    Refused("two videos", job(count=2), "n"),
    Refused("a ratio", job(aspect_ratio="21:9"), "aspect_ratio"),
    Refused("a resolution", job(resolution="4k"), "resolution"),
    Refused("a size of another ratio", job(size="1792x1024"), "size"),
    Refused("a size against a ratio", job(size="1280x720", aspect_ratio="9:16"), "size"),
    Refused("a size against a resolution", job(size="1280x720", resolution="1080p"), "size"),
    Refused("hd against a resolution", job(hd=True, resolution="720p"), "hd"),
    Refused("upsampling against a size", job(size="1280x720", extra={"enable_upsample": True}), "enable_upsample"),
    Refused("a last frame", named("veo3-pro-frames", images=(PNG, PNG)), "images"),
    Refused("three frames", named("veo3-pro-frames", images=(PNG, PNG, PNG)), "images"),
    Refused("too many references", job(images=(PNG,) * 8), "images"),
    Refused("1080p from references", job(images=(PNG, PNG), hd=True), "resolution"),
    Refused("a watermark", job(extra={"watermark": True}), "watermark"),
    Refused("the result elsewhere", job(extra={"output": {"upload_url": "https://a.test"}}), "output"),
    Refused("its own word for pictures", job(extra={"image": {"url": "https://a.test"}}), "image"),
    Refused("a character", job(character_url="https://a.test", character_timestamps="1,3"), "character_url"),
    Refused("two edits", job(videos=(VIDEO_LINK, VIDEO_LINK)), "videos"),
    Refused("an edit with a picture", job(videos=(VIDEO_LINK,), images=(PNG,)), "images"),
    Refused("an edit of a length", job(videos=(VIDEO_LINK,), seconds=5.0), "duration"),
    Refused("an edit of a resolution", job(videos=(VIDEO_LINK,), resolution="720p"), "resolution"),
    Refused("an image of a size", job(scope=Scope.IMAGES, size="1024x1024"), "size"),
    Refused("an image of a resolution", job(scope=Scope.IMAGES, resolution="4k"), "resolution"),
    Refused("an image of a ratio", job(scope=Scope.IMAGES, aspect_ratio="21:9"), "aspect_ratio"),
    Refused("eleven images", job(scope=Scope.IMAGES, count=11), "n"),
    Refused("an image from its own field", job(scope=Scope.IMAGES, extra={"image": {}}), "image"),
)

PICTURE = job(scope=Scope.IMAGES)
JPEG = b"\xff\xd8\xff\xe0-demo-"
WEBP = b"RIFF\x10\x00\x00\x00WEBPVP8 "

SUBMITTED = (
    Submitted("accepted", job(), reply({"request_id": TASK.id}), Running(Status.SUBMITTED, TASK.id)),
    Submitted("no id", job(), reply({}), Fault("upstream_bad_response")),
    Submitted("a page", job(), reply(b"<html>"), Fault("upstream_bad_response")),
    Submitted(
        "refused",
        job(),
        reply({"code": "Client specified an invalid argument", "error": "The prompt is empty."}, 400),
        Failed("The prompt is empty.", "Client specified an invalid argument"),
    ),
    Submitted(
        "no such model",
        job(),
        reply({"code": "not-found", "error": "No model."}, 404),
        Failed("No model.", "not-found"),
    ),
    Submitted(
        "a wrong key is a 400, and the channel's fault",
        job(),
        reply({"code": "invalid-argument", "error": "Incorrect API key provided: xa***yz."}, 400),
        Fault("upstream_error"),
    ),
    Submitted("overloaded", job(), reply({"code": "x", "error": "Slow down."}, 429), Fault("upstream_error")),
    Submitted(
        "images as bytes",
        PICTURE,
        reply({"data": [{"b64_json": b64encode(data).decode()} for data in (PNG_BYTES, JPEG, WEBP)]}),
        Done(
            (Output("image/png", data=PNG_BYTES), Output("image/jpeg", data=JPEG), Output("image/webp", data=WEBP)),
            Measured(images=3),
        ),
    ),
    Submitted(
        "an image as a data URI",
        PICTURE,
        reply({"data": [{"b64_json": PNG_URI}]}),
        Done((Output("image/png", data=PNG_BYTES),), Measured(images=1)),
    ),
    Submitted(
        "an image as a link",
        PICTURE,
        reply({"data": [{"url": "https://imgen.x.ai/a.jpeg"}]}),
        Done((Output("image/jpeg", url="https://imgen.x.ai/a.jpeg"),), Measured(images=1)),
    ),
    Submitted(
        "one blocked, one broken, one made",
        PICTURE,
        reply({"data": [{"b64_json": "x", "respect_moderation": False}, {"b64_json": "?"}, {"b64_json": PNG_URI}]}),
        Done((Output("image/png", data=PNG_BYTES),), Measured(images=1)),
    ),
    Submitted(
        "all blocked",
        PICTURE,
        reply({"data": [{"b64_json": None, "respect_moderation": False}]}),
        Failed("The images were blocked by the upstream's moderation.", "moderation"),
    ),
    Submitted("no images", PICTURE, reply({"data": []}), Fault("upstream_bad_response")),
)

POLLED = (
    Polled("pending", TASK, reply({"status": "pending", "progress": 40}), Running(Status.IN_PROGRESS, TASK.id, 40)),
    Polled("pending, an empty 202", TASK, reply(b"", 202), RUNNING),
    Polled("pending, a 202 of another kind", TASK, reply(b"[]", 202), RUNNING),
    Polled(
        "pending, a 202 without a status", TASK, reply({"progress": 7}, 202), Running(Status.IN_PROGRESS, TASK.id, 7)
    ),
    Polled(
        "made",
        TASK,
        reply(made()),
        Done((Output("video/mp4", url=URL),), Measured(videos=1, milliseconds=6000, traits={"duration": "6"})),
    ),
    Polled(
        "made, length unsaid",
        TASK,
        reply(made(duration=None)),
        Done((Output("video/mp4", url=URL),), Measured(videos=1)),
    ),
    Polled(
        "made, in the older shape",
        TASK,
        reply({"video": {"url": URL, "duration": 6}, "model": "grok-imagine-video"}),
        Done((Output("video/mp4", url=URL),), Measured(videos=1, milliseconds=6000, traits={"duration": "6"})),
    ),
    Polled(
        "blocked",
        TASK,
        reply(made(url="", respect_moderation=False)),
        Failed("The video was blocked by the upstream's moderation.", "moderation"),
    ),
    Polled("made, and no link", TASK, reply(made(url=None)), Fault("upstream_bad_response")),
    Polled(
        "failed",
        TASK,
        reply({"status": "failed", "error": {"code": "internal_error", "message": "No frames."}}),
        Failed("No frames.", "internal_error"),
    ),
    Polled(
        "failed, unsaid why",
        TASK,
        reply({"status": "failed"}),
        Failed("The upstream gave no reason.", "upstream_failed"),
    ),
    Polled("expired", TASK, reply({"status": "expired"}), Failed("The upstream's request expired.", "expired")),
    Polled("a new status", TASK, reply({"status": "paused"}), Fault("upstream_bad_response")),
    Polled("a wrong key", TASK, reply({"error": "Incorrect API key provided."}, 400), Fault("upstream_error")),
    Polled("unknown", TASK, reply({"error": "Not found."}, 404), Fault("upstream_refused", retryable=False)),
)

CASES = (
    *SENT,
    *REFUSED,
    *SUBMITTED,
    *POLLED,
    Polls("by id", TASK, Call("GET", f"/videos/{TASK.id}")),
    Cancels("can't be stopped", TASK, None),
    Finds("can't be told", job(), None),
    Found("can't be told", job(), reply({"data": []}), Fault("upstream_bad_response")),
)
