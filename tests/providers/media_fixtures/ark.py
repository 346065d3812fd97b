"""Seedance by Volcengine Ark or BytePlus ModelArk. Shapes as byteplus-python-sdk-v2 3.0.63 has them."""

from __future__ import annotations

from app.core.media import Job, Measured, Scope, Status
from app.core.usage import Usage
from app.providers.media import Call, Done, Failed, Output, Running
from tests.providers.media_fixtures import (
    MODEL,
    PNG,
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

PROVIDERS = ("ark",)

TASKS = "/contents/generations/tasks"
TASK = handle("cgt-20260101000000-abcde")
WAITING = handle(TASK.id, {"queued": True})
URL = "https://ark-content.tos-cn-beijing.volces.com/seedance/0217.mp4?X-Tos-Expires=86400&X-Tos-Signature=ab"
TEXT = {"type": "text", "text": "a cat"}
VIDEO = {"type": "video_url", "video_url": {"url": VIDEO_LINK.url}, "role": "reference_video"}


def call(*parts: object, **fields: object) -> Call:
    return Call("POST", TASKS, json={"model": MODEL, "content": [TEXT, *parts], **fields})


def picture(url: str | None, role: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}, "role": role}


def named(model: str, **fields: object) -> Job:
    return Job(scope=Scope.VIDEOS, model=model, prompt="a cat", **fields)  # type: ignore[arg-type]


def task(status: str, **fields: object) -> dict[str, object]:
    return {
        "id": TASK.id,
        "model": "doubao-seedance-1-5-pro-251215",
        "status": status,
        "created_at": 1767225600,
        "updated_at": 1767225660,
        "service_tier": "default",
        "execution_expires_after": 172800,
        **fields,
    }


SUCCEEDED = task(
    "succeeded",
    content={"video_url": URL},
    usage={"completion_tokens": 108_900, "total_tokens": 108_900},
    seed=7,
    resolution="720p",
    ratio="16:9",
    duration=5,
    framespersecond=24,
    generate_audio=True,
)

SENT = (
    Sent(
        "text alone",
        job(),
        call(),
        # 5 s of 24 frames at most 2.1 million pixels each, 1024 of them a token.
        Usage(videos=1, milliseconds=5000, output_tokens=246_094, traits={"input": "text", "duration": "5"}),
    ),
    Sent(
        "everything said",
        job(
            seconds=10.0,
            aspect_ratio="21:9",
            resolution="480p",
            extra={"generate_audio": True, "watermark": False, "seed": 7, "camera_fixed": True, "service_tier": "flex"},
        ),
        call(
            ratio="21:9",
            resolution="480p",
            duration=10,
            generate_audio=True,
            watermark=False,
            seed=7,
            camera_fixed=True,
            service_tier="flex",
        ),
        Usage(
            videos=1,
            milliseconds=10_000,
            output_tokens=100_782,
            service_tier="flex",
            traits={"input": "text", "duration": "10", "resolution": "480p", "aspect_ratio": "21:9", "audio": "true"},
        ),
    ),
    Sent("a size says ratio and resolution", job(size="720x1280"), call(ratio="9:16", resolution="720p")),
    Sent("hd is 1080p", job(hd=True), call(resolution="1080p")),
    Sent("the contract's own fields stay here", job(extra={"private": True, "enhance_prompt": True}), call()),
    Sent("first frame by link", job(images=(PNG_LINK,)), call(picture(PNG_LINK.url, "first_frame"))),
    Sent("first frame by bytes", job(images=(PNG,)), call(picture(PNG_URI, "first_frame"))),
    Sent(
        "first frame and last",
        named("veo3-pro-frames", images=(PNG, PNG_LINK)),
        call(picture(PNG_URI, "first_frame"), picture(PNG_LINK.url, "last_frame")),
    ),
    Sent(
        "two of veo3.1 are frames",
        named("veo3.1-pro", images=(PNG, PNG_LINK)),
        call(picture(PNG_URI, "first_frame"), picture(PNG_LINK.url, "last_frame")),
    ),
    Sent(
        "three of veo3.1 are references",
        named("veo3.1", images=(PNG, PNG, PNG)),
        call(*[picture(PNG_URI, "reference_image")] * 3),
    ),
    Sent(
        "components are references",
        named("veo2-fast-components", images=(PNG,)),
        call(picture(PNG_URI, "reference_image")),
    ),
    Sent("several are references", job(images=(PNG, PNG)), call(*[picture(PNG_URI, "reference_image")] * 2)),
    Sent(
        "a video, and a picture beside it",
        job(seconds=4.0, resolution="720p", videos=(VIDEO_LINK,), images=(PNG,)),
        call(picture(PNG_URI, "reference_image"), VIDEO, resolution="720p", duration=4),
        # Reference videos count too: 4 + 15 s at 965,000 pixels.
        Usage(
            videos=1,
            milliseconds=4000,
            output_tokens=429_727,
            traits={"input": "video", "duration": "4", "resolution": "720p"},
        ),
    ),
)

REFUSED = (
    Refused("half a second", job(seconds=7.5), "duration"),
    Refused("too short", job(seconds=1.0), "duration"),
    Refused("too long", job(seconds=16.0), "duration"),
    Refused("two videos", job(count=2), "n"),
    Refused("a ratio", job(aspect_ratio="3:2"), "aspect_ratio"),
    Refused("a size that is no class", job(size="1000x1000"), "size"),
    Refused("three frames", named("veo3-pro-frames", images=(PNG, PNG, PNG)), "images"),
    Refused("frames beside a video", named("veo3-pro-frames", images=(PNG,), videos=(VIDEO_LINK,)), "videos"),
    Refused("a character", job(character_url="https://a.test", character_timestamps="1,3"), "character_url"),
    Refused("its own word for the prompt", job(extra={"content": []}), "content"),
    Refused("a callback past the gateway", job(extra={"callback_url": "https://a.test"}), "callback_url"),
    Refused("a length in frames", job(extra={"frames": 289}), "frames"),
    Refused("a length inside the prompt", job("a cat --dur 12"), "prompt"),
    Refused("a resolution inside the prompt", job("a cat\n--Resolution 1080p --cf true"), "prompt"),
    Refused("pictures", job(scope=Scope.IMAGES), "model"),
)

SUBMITTED = (
    Submitted("accepted", job(), reply({"id": TASK.id}), Running(Status.QUEUED, TASK.id, memo={"queued": True})),
    Submitted("no id", job(), reply({}), Fault("upstream_bad_response")),
    Submitted(
        "refused",
        job(),
        reply(
            {"error": {"code": "InputTextSensitiveContentDetected", "message": "Sensitive.", "type": "BadRequest"}}, 400
        ),
        Failed("Sensitive.", "InputTextSensitiveContentDetected"),
    ),
    Submitted(
        "overdue",
        job(),
        reply({"error": {"code": "AccountOverdueError", "message": "Pay."}}, 403),
        Fault("upstream_error"),
    ),
    Submitted(
        "overloaded", job(), reply({"error": {"message": "Slow."}}, 429, retry_after="3"), Fault("upstream_error")
    ),
)

POLLED = (
    Polled("queued", TASK, reply(task("queued")), Running(Status.QUEUED, TASK.id, memo={"queued": True})),
    Polled("running", WAITING, reply(task("running")), Running(Status.IN_PROGRESS, TASK.id)),
    Polled(
        "made",
        TASK,
        reply(SUCCEEDED),
        Done(
            (Output("video/mp4", url=URL),),
            Measured(
                videos=1,
                milliseconds=5000,
                output_tokens=108_900,
                traits={"duration": "5", "resolution": "720p", "aspect_ratio": "16:9", "audio": "true"},
            ),
        ),
    ),
    Polled(
        "made, counted in frames",
        TASK,
        reply(task("succeeded", content={"video_url": URL}, frames=49, framespersecond=24)),
        Done((Output("video/mp4", url=URL),), Measured(videos=1, milliseconds=2042, traits={"duration": "3"})),
    ),
    Polled(
        "made, and nothing measured",
        TASK,
        reply(task("succeeded", content={"video_url": URL})),
        Done((Output("video/mp4", url=URL),), Measured(videos=1)),
    ),
    Polled("made, and no link", TASK, reply(task("succeeded", content={})), Fault("upstream_bad_response")),
    Polled(
        "failed",
        TASK,
        reply(task("failed", error={"code": "OutputVideoSensitiveContentDetected", "message": "Sensitive."})),
        Failed("Sensitive.", "OutputVideoSensitiveContentDetected"),
    ),
    Polled(
        "failed, unsaid why",
        TASK,
        reply(task("failed", error=None)),
        Failed("The upstream gave no reason.", "upstream_failed"),
    ),
    Polled("cancelled", TASK, reply(task("cancelled")), Failed("The task was cancelled.", "cancelled")),
    Polled("expired", TASK, reply(task("expired")), Failed("The upstream didn't make it in time.", "expired")),
    Polled("a new status", TASK, reply(task("paused")), Fault("upstream_bad_response")),
    Polled(
        "unknown", TASK, reply({"error": {"code": "ResourceNotFound"}}, 404), Fault("upstream_refused", retryable=False)
    ),
)

CASES = (
    *SENT,
    *REFUSED,
    *SUBMITTED,
    *POLLED,
    Polls("by id", TASK, Call("GET", f"{TASKS}/{TASK.id}")),
    Cancels("while it waits", WAITING, Call("DELETE", f"{TASKS}/{TASK.id}")),
    Cancels("not once it runs: the record would go with it", TASK, None),
    Finds("can't be told", job(), None),
    Found("can't be told", job(), reply({"items": [], "total": 0}), Fault("upstream_bad_response")),
)
