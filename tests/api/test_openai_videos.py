"""OpenAI's videos API over our tasks, judged by OpenAI's own SDK; and by hand where the SDK can't say it."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.api.media import MediaClient, media_model
from tests.api.scan import assert_refused
from tests.gateway import Customer, Gateway, Operator

# OpenAI's own service has ended, and its SDK says so at every call.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FIELDS = {
    "id",
    "object",
    "model",
    "status",
    "progress",
    "created_at",
    "completed_at",
    "expires_at",
    "prompt",
    "seconds",
    "size",
    "remixed_from_video_id",
    "error",
}
POLL_MS = 50


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gateway.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def customer(operator: Operator) -> Customer:
    return operator.customer()


@pytest.fixture(scope="module")
def client(gateway: Gateway, customer: Customer) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key=customer.key, max_retries=0) as made:
        yield made


@pytest.fixture
def stranger(gateway: Gateway, operator: Operator) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key=operator.customer().key, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def by_hand(http: httpx2.Client, customer: Customer) -> MediaClient:
    return MediaClient(http, customer)


@pytest.fixture(scope="module")
def quick(operator: Operator) -> str:
    return media_model(operator)


@pytest.fixture(scope="module")
def endless(operator: Operator) -> str:
    return media_model(operator, "never=1")


@pytest.fixture(scope="module", autouse=True)
def begun(client: OpenAI, by_hand: MediaClient, operator: Operator, quick: str) -> dict[str, str]:
    """Videos that several tests wait for, begun together: the first poll comes after two seconds."""
    uri = "data:image/png;base64," + base64.b64encode(PNG).decode()
    bracketed = {"input_reference": {"image_url": uri}, "watermark": True, "metadata": {"shop": "7"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        create = partial(client.videos.create, prompt="a cat")
        return {
            "done": create(model=quick).id,
            "deleted": create(model=quick).id,
            "file": create(model=quick, input_reference=("cat.png", PNG, "image/png")).id,
            "large": create(model=quick, input_reference=("cat.png", PNG + bytes(5 << 20))).id,
            "bracketed": create(model=quick, extra_body=bracketed).id,
            "failed": create(model=media_model(operator, "polls=1&fail=no+cats+today")).id,
            "public": create(model=media_model(operator, public=True)).id,
            "v2": by_hand.submit(quick, aspect_ratio="9:16", duration="10"),
        }


def test_create_poll_and_download(client: OpenAI, quick: str) -> None:
    video = client.videos.create_and_poll(
        prompt="a cat", model=quick, seconds="8", size="1280x720", poll_interval_ms=POLL_MS
    )
    assert (video.status, video.object, video.model, video.progress) == ("completed", "video", quick, 100)
    assert (video.seconds, video.size, video.prompt, video.error) == ("8", "1280x720", "a cat", None)
    assert video.completed_at is not None
    assert video.expires_at is not None
    assert video.created_at <= video.completed_at < video.expires_at
    content = client.videos.download_content(video.id)
    assert content.response.headers["content-type"] == "video/mp4"
    assert content.read()[4:8] == b"ftyp"


def test_a_failed_video(client: OpenAI, begun: dict[str, str]) -> None:
    video = client.videos.poll(begun["failed"], poll_interval_ms=POLL_MS)
    assert video.status == "failed"
    assert video.error is not None
    assert "no cats today" in video.error.message
    assert video.error.code
    with pytest.raises(openai.NotFoundError) as caught:
        client.videos.download_content(video.id)
    assert caught.value.code == "file_not_found"


def test_the_header_that_sdks_poll_by(by_hand: MediaClient, begun: dict[str, str], endless: str) -> None:
    response = by_hand.call("GET", f"/v1/videos/{by_hand.submit(endless)}")
    assert int(response.headers["openai-poll-after-ms"]) >= 1000
    assert set(response.json()) == FIELDS
    assert response.json()["status"] in ("queued", "in_progress")
    by_hand.wait(begun["done"])
    assert "openai-poll-after-ms" not in by_hand.call("GET", f"/v1/videos/{begun['done']}").headers


def test_the_same_tasks_by_either_api(client: OpenAI, by_hand: MediaClient, begun: dict[str, str]) -> None:
    body = by_hand.wait(begun["done"])
    assert body["task_id"] == begun["done"]
    assert client.videos.retrieve(begun["done"]).completed_at == body["finish_time"]
    found = client.videos.retrieve(begun["v2"])
    assert (found.seconds, found.size) == ("10", "720x1280")


@pytest.mark.parametrize("prefix", ["/v1", ""])
def test_with_and_without_the_prefix(by_hand: MediaClient, endless: str, prefix: str) -> None:
    made = by_hand.call("POST", f"{prefix}/videos", json={"prompt": "a cat", "model": endless})
    assert made.status_code == 200, made.text
    video_id = made.json()["id"]
    assert by_hand.call("GET", f"{prefix}/videos/{video_id}").json()["id"] == video_id
    assert by_hand.call("GET", f"{prefix}/videos", params={"limit": 1}).json()["data"][0]["id"] == video_id
    assert by_hand.call("GET", f"{prefix}/videos/{video_id}/content").status_code == 409
    assert by_hand.call("POST", f"{prefix}/videos/{video_id}/remix", json={"prompt": "x"}).status_code == 409
    assert by_hand.call("DELETE", f"{prefix}/videos/{video_id}").json() == {
        "id": video_id,
        "object": "video.deleted",
        "deleted": True,
    }


# -- what goes in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["file", "large", "bracketed"])
def test_a_reference(client: OpenAI, begun: dict[str, str], reference: str) -> None:
    assert client.videos.poll(begun[reference], poll_interval_ms=POLL_MS).status == "completed"


FORM = {"prompt": (None, "a cat")}


@pytest.mark.parametrize(
    ("files", "param"),
    [
        ({}, "prompt"),
        (FORM | {"seconds": (None, "5"), "model": (None, "sora-2")}, "seconds"),
        (FORM | {"size": (None, "1x1"), "model": (None, "sora-2")}, "size"),
        (FORM | {"input_reference": ("a.png", b"no picture", "image/png")}, "input_reference"),
        (FORM | {"input_reference": ("a.mp4", b"\0\0\0\x18ftypisom" + bytes(50), "video/mp4")}, "input_reference"),
        (FORM | {"input_reference[file_id]": (None, "file-1")}, "input_reference[file_id]"),
        (FORM | {"input_reference[image_url]": (None, "http://127.0.0.1/1.png")}, "input_reference[image_url]"),
        (FORM | {"video": ("a.mp4", b"x", "video/mp4")}, "video"),
        (FORM | {"watermark": (None, "yes")}, "watermark"),
        (FORM | {"remix_of": (None, "video_1")}, "remix_of"),
        (FORM | {"notify_hook": (None, "http://10.0.0.1/")}, "notify_hook"),
        (FORM | {"a[b]": (None, "1"), "a": (None, "2")}, "a"),
        (FORM | {"big": (None, "x" * 100_000)}, "big"),
    ],
)
def test_a_refused_form_names_the_field(by_hand: MediaClient, files: dict[str, Any], param: str) -> None:
    response = by_hand.call("POST", "/v1/videos", files=files or {"model": (None, "sora-2")})
    assert_refused(response, param, 400)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b"not a form"),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="prompt"\r\n\r\nhalf of'),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--\r\n"),
        ("application/x-www-form-urlencoded", b"prompt=a+cat"),
        ("text/plain", b""),
    ],
)
def test_a_body_that_cannot_be_read(by_hand: MediaClient, content_type: str, content: bytes) -> None:
    response = by_hand.call("POST", "/v1/videos", content=content, headers={"content-type": content_type})
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_a_form_of_very_many_parts(by_hand: MediaClient) -> None:
    part = b'--x\r\ncontent-disposition: form-data; name="a%d"\r\n\r\n1\r\n'
    content = b"".join(part % number for number in range(20_000)) + b"--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert by_hand.call("POST", "/v1/videos", content=content, headers=headers).status_code == 400


def test_a_form_that_is_too_large(by_hand: MediaClient) -> None:
    response = by_hand.call("POST", "/v1/videos", files={"input_reference": ("a.png", bytes(9 << 20), "image/png")})
    assert response.status_code == 413


def test_an_idempotency_key_makes_one_video(by_hand: MediaClient, endless: str) -> None:
    headers = {"idempotency-key": "video 1"}
    files = {"prompt": (None, "a cat"), "model": (None, endless), "input_reference": ("a.png", PNG, "image/png")}
    first, second = (by_hand.call("POST", "/v1/videos", files=files, headers=headers) for _ in range(2))
    assert first.status_code == 200, first.text
    assert first.json()["id"] == second.json()["id"]
    changed = files | {"input_reference": ("a.png", PNG + b"x", "image/png")}
    assert by_hand.call("POST", "/v1/videos", files=changed, headers=headers).status_code == 409


# -- lists, deleting, content ------------------------------------------------------------------------------------------


def test_lists(stranger: OpenAI, endless: str) -> None:
    made = [stranger.videos.create(prompt=f"cat {number}", model=endless).id for number in range(5)]
    assert [video.id for video in stranger.videos.list(limit=2)] == made[::-1]
    assert [video.id for video in stranger.videos.list(limit=3, order="asc")] == made
    page = stranger.videos.list(limit=2)
    assert (page.has_more, page.last_id) == (True, made[3])
    assert stranger.videos.list(limit=2, after=made[1]).data[0].id == made[0]
    for query in ({"limit": 0}, {"limit": 101}, {"order": "up"}):
        with pytest.raises(openai.UnprocessableEntityError):
            stranger.videos.list(**query)
    with pytest.raises(openai.NotFoundError):
        stranger.videos.list(after="nobody:1-x")


def test_a_deleted_video_is_gone(client: OpenAI, by_hand: MediaClient, begun: dict[str, str]) -> None:
    video = client.videos.poll(begun["deleted"], poll_interval_ms=POLL_MS)
    link = by_hand.query(video.id)["data"]["output"]
    assert httpx2.get(link).status_code == 200
    deleted = client.videos.delete(video.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (video.id, "video.deleted", True)
    for call in (client.videos.retrieve, client.videos.download_content, client.videos.delete):
        with pytest.raises(openai.NotFoundError):
            call(video.id)
    assert video.id not in [found.id for found in client.videos.list()]
    assert httpx2.get(link).status_code == 404


def test_deleting_a_video_that_is_being_made_cancels_it(gateway: Gateway, operator: Operator, endless: str) -> None:
    customer = operator.customer()
    with OpenAI(base_url=gateway.base_url, api_key=customer.key, max_retries=0) as client:
        video = client.videos.create(prompt="a cat", model=endless)
        assert operator.account(customer)["held"] == "0.1"
        assert client.videos.delete(video.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.videos.retrieve(video.id)
    operator.entries(customer, count=1)
    assert operator.account(customer)["balance"] == "10"


def test_content_has_ranges(by_hand: MediaClient, begun: dict[str, str]) -> None:
    by_hand.wait(begun["done"])
    path = f"/v1/videos/{begun['done']}/content"
    whole = by_hand.call("GET", path)
    part = by_hand.call("GET", path, headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"


def test_a_file_that_stays_at_the_upstream(client: OpenAI, by_hand: MediaClient, begun: dict[str, str]) -> None:
    video = client.videos.poll(begun["public"], poll_interval_ms=POLL_MS)
    assert video.expires_at is None
    response = by_hand.call("GET", f"/v1/videos/{video.id}/content")
    assert response.status_code == 302
    assert response.headers["location"] == by_hand.query(video.id)["data"]["output"]
    assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"


@pytest.mark.parametrize("variant", ["thumbnail", "spritesheet"])
def test_there_are_no_other_variants(by_hand: MediaClient, begun: dict[str, str], variant: str) -> None:
    path = f"/v1/videos/{begun['done']}/content"
    assert_refused(by_hand.call("GET", path, params={"variant": variant}), "variant", 400)


def test_anothers_video_is_no_video(client: OpenAI, stranger: OpenAI, begun: dict[str, str]) -> None:
    video = client.videos.poll(begun["done"], poll_interval_ms=POLL_MS)
    calls = (
        lambda: stranger.videos.retrieve(video.id),
        lambda: stranger.videos.delete(video.id),
        lambda: stranger.videos.download_content(video.id),
        lambda: stranger.videos.remix(video.id, prompt="at night"),
        lambda: stranger.videos.list(after=video.id),
    )
    for call in calls:
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.code == "task_not_found"
    assert stranger.videos.list().data == []
    assert client.videos.retrieve(video.id).status == "completed"


def test_a_picture_is_no_video(by_hand: MediaClient, operator: Operator) -> None:
    task_id = by_hand.submit(media_model(operator, scope="images"), "images")
    assert by_hand.call("GET", f"/v1/videos/{task_id}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/videos"),
        ("GET", "/v1/videos"),
        ("GET", "/v1/videos/x"),
        ("DELETE", "/v1/videos/x"),
        ("GET", "/v1/videos/x/content"),
        ("POST", "/v1/videos/x/remix"),
        ("POST", "/v1/videos/edits"),
        ("POST", "/v1/videos/extensions"),
        ("POST", "/v1/videos/characters"),
    ],
)
def test_strangers_are_refused(gateway: Gateway, method: str, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer sk-wrong"}):
        response = httpx2.request(method, gateway.url + path, headers=headers, content=b"{not json")
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"


# -- remix, and what there isn't ---------------------------------------------------------------------------------------


def test_an_upstream_that_cannot_remix(client: OpenAI, begun: dict[str, str]) -> None:
    video = client.videos.poll(begun["done"], poll_interval_ms=POLL_MS)
    with pytest.raises(openai.BadRequestError) as caught:
        client.videos.remix(video.id, prompt="at night")
    assert "can't remix" in caught.value.message


def test_a_remix_takes_a_prompt_only(by_hand: MediaClient, begun: dict[str, str]) -> None:
    task_id = begun["done"]
    for body, param in (({}, "prompt"), ({"prompt": ""}, "prompt"), ({"prompt": "x", "model": "y"}, "model")):
        assert_refused(by_hand.call("POST", f"/v1/videos/{task_id}/remix", json=body), param, 400)


@pytest.mark.parametrize(
    ("operation", "instead"),
    [("edits", "remix"), ("extensions", "remix"), ("characters", "/sora/v1/characters")],
)
def test_what_there_is_instead(by_hand: MediaClient, operation: str, instead: str) -> None:
    response = by_hand.call("POST", f"/v1/videos/{operation}", files={"prompt": (None, "x")})
    assert response.status_code == 400
    assert instead in response.json()["error"]["message"]
