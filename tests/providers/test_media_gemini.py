"""What of Gemini's adapter isn't a case of the conformance suite: pictures and their parts, frames, and whose fault it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.media import Attachment, Job, Scope
from app.errors import GatewayError, UpstreamError
from app.providers.gemini import PROVIDERS, videos
from app.providers.gemini.answers import read_answer
from app.providers.gemini.framing import Frame, Role, image_frame, role, video_frame, whole_seconds
from app.providers.gemini.inline import content_type
from app.providers.media import Handle, Reply, Site

PNG = Attachment(content_type="image/png", data=b"png")
GEMINI = PROVIDERS[0]


def job(model: str = "omni", images: int = 0, scope: Scope = Scope.VIDEOS, **fields: Any) -> Job:
    return Job(scope, model, "a cat", images=(PNG,) * images, **fields)


def refused_field(read: Callable[[], object]) -> str | None:
    """The field that was refused; None: none was."""
    try:
        read()
    except GatewayError as error:
        return error.param
    return None


def test_it_is_signed_with_its_own_header() -> None:
    assert GEMINI.sign("AIza") == {"x-goog-api-key": "AIza"}
    assert GEMINI.base_url == "https://generativelanguage.googleapis.com"


@pytest.mark.parametrize(
    ("model", "images", "expected"),
    [
        ("veo3", 0, None),
        ("veo3", 1, "first"),
        ("veo3.1", 2, "frames"),
        ("veo3.1", 3, "references"),
        ("veo2-fast-frames", 1, "first"),
        ("veo3-pro-frames", 2, "frames"),
        ("veo2-fast-components", 1, "references"),
        ("veo2-fast-components", 2, "references"),
        ("omni", 1, "first"),
        ("omni", 2, "references"),
        ("my-frames", 2, "frames"),
    ],
)
def test_the_clients_model_tells_what_images_are(model: str, images: int, expected: Role | None) -> None:
    assert role(job(model, images)) == expected


def test_frames_are_told_in_the_prompt() -> None:
    body = videos.submit(job("veo3-pro-frames", 2), "gemini-omni-1.1-flash").json
    *images, text = body["input"]
    assert [image["type"] for image in images] == ["image", "image"]
    assert text["text"].startswith("[# Sources <FIRST_FRAME>@Image1 <LAST_FRAME>@Image2] a cat ")
    assert body["generation_config"] == {"video_config": {"task": "image_to_video"}}


def test_an_edit_keeps_the_length_unless_one_is_asked_for() -> None:
    clip = Attachment(content_type="video/mp4", data=b"mp4")
    plain, asked = (videos.submit(job(videos=(clip,), seconds=seconds), "m").json for seconds in (None, 5))
    assert "duration" not in plain["response_format"]
    assert asked["response_format"]["duration"] == "5s"
    assert videos.units(job(videos=(clip,), seconds=5)).milliseconds == 5000


def test_a_file_that_google_has_already_goes_in_by_its_uri() -> None:
    body = videos.submit(job(images=0, videos=(Attachment(url="https://g.example/v1beta/files/1"),)), "m").json
    assert body["input"][0] == {"type": "video", "uri": "https://g.example/v1beta/files/1", "mime_type": "video/mp4"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Frame(None, None)),
        ({"size": "1920x1080"}, Frame("16:9", "1080p")),
        ({"size": "2160x3840"}, Frame("9:16", "4k")),
        ({"size": "1280x720", "resolution": "1080P"}, Frame("16:9", "1080p")),
        ({"size": "1280x720", "aspect_ratio": "9:16"}, Frame("9:16", "720p")),
        ({"extra": {"enable_upsample": False}}, Frame(None, None)),
        ({"resolution": "720p", "extra": {"enable_upsample": True}}, Frame(None, "720p")),
    ],
)
def test_a_frame_of_a_video(fields: dict[str, Any], expected: Frame) -> None:
    assert video_frame(job(**fields), videos.RESOLUTIONS) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("1024x1024", Frame("1:1", "1K")),
        ("2048x2048", Frame("1:1", "2K")),
        ("4096x4096", Frame("1:1", "4K")),
        ("1536x1024", Frame("3:2", "2K")),
        ("1050x450", Frame("21:9", "1K")),
        ("auto", Frame(None, None)),
    ],
)
def test_a_frame_of_an_image(size: str, expected: Frame) -> None:
    assert image_frame(job(scope=Scope.IMAGES, size=size)) == expected


@given(
    size=st.text(max_size=12) | st.from_regex(r"[0-9]{1,6}x[0-9]{1,6}", fullmatch=True), scope=st.sampled_from(Scope)
)
def test_any_size_is_a_frame_or_refused_by_name(size: str, scope: Scope) -> None:
    wanted = job(scope=scope, size=size)
    for read in (image_frame, lambda job: video_frame(job, videos.RESOLUTIONS)):
        assert refused_field(lambda read=read: read(wanted)) in (None, "size")  # type: ignore[misc]


@given(seconds=st.floats(allow_nan=True, allow_infinity=True))
def test_any_length_is_whole_or_refused_by_name(seconds: float) -> None:
    field = refused_field(lambda: whole_seconds(job(seconds=seconds)))
    assert field == (None if seconds >= 1 and seconds.is_integer() else "duration")


@given(st.text(max_size=40))
def test_no_type_but_a_media_type_is_believed(said: str) -> None:
    found = content_type(said, "video/mp4")
    assert found.startswith("video/")
    assert found.isascii()
    assert found.isprintable()


@pytest.mark.parametrize(
    "said", ["text/html", "video/mp4; charset=x", "image/png", "video/", "video/mp4\r\nx: y", None, 7]
)
def test_a_type_of_another_kind_is_not(said: object) -> None:
    assert content_type(said, "video/mp4") == "video/mp4"


@pytest.mark.parametrize(
    ("status", "error", "code", "retryable"),
    [
        (400, {"status": "INVALID_ARGUMENT", "message": "No."}, "upstream_refused", False),
        (400, {"status": "FAILED_PRECONDITION", "message": "No."}, "upstream_refused_credentials", True),
        (400, {"details": [{"reason": "API_KEY_INVALID"}]}, "upstream_refused_credentials", True),
        (400, {"details": [{"reason": "OTHER"}, 7]}, "upstream_refused", False),
        (400, {"details": 7}, "upstream_refused", False),
        (403, {"status": "PERMISSION_DENIED", "message": "No."}, "upstream_error", True),
        (404, {"status": "NOT_FOUND", "message": "No."}, "upstream_model_not_found", True),
        (429, {"status": "RESOURCE_EXHAUSTED"}, "upstream_error", True),
    ],
)
def test_whose_fault_a_refusal_is(status: int, error: dict[str, Any], code: str, retryable: bool) -> None:
    for body in ({"error": error}, [{"error": error}]):
        with pytest.raises(UpstreamError) as caught:
            read_answer(Reply(status, {}, orjson.dumps(body)))
        assert (caught.value.code, caught.value.retryable, caught.value.upstream_status) == (code, retryable, status)


@given(status=st.sampled_from([200, 204, 302, 400, 404, 500]), body=st.binary(max_size=200))
def test_any_bytes_are_an_object_or_an_upstream_error(status: int, body: bytes) -> None:
    with contextlib.suppress(UpstreamError):
        assert isinstance(read_answer(Reply(status, {}, body)), dict)


def test_an_edit_that_was_announced_is_not_cancelled_by_its_file() -> None:
    """While the file is awaited there is nothing left to stop."""
    media, site = GEMINI.media, Site("https://g.example")
    assert media is not None
    assert media.cancel(Handle("v1_a", {"file": "f"}, Scope.VIDEOS, "m"), site) is None
