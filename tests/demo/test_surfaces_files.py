"""The official SDK keeps files, uploads them in parts, and has batches of requests answered."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

import openai
import pytest

from app.demo.answers import DEFAULT_TEXT
from tests.demo.process import DemoProcess

pytestmark = pytest.mark.usefixtures("demo")
CHAT: Final = "/v1/chat/completions"


@pytest.fixture
def sdk(demo_process: DemoProcess, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    # A key of its own for each test, since objects belong to keys.
    key = "sk-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12].replace("bad", "b0d")
    with openai.OpenAI(base_url=f"{demo_process.url}/v1", api_key=key, max_retries=0) as client:
        yield client


def line(number: int, url: str = CHAT, model: str = "demo", **fields: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    return {"custom_id": f"r{number}", "method": "POST", "url": url, "body": body}


def put(sdk: openai.OpenAI, *lines: object) -> str:
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    return sdk.files.create(file=("in.jsonl", text.encode()), purpose="batch").id


def read(sdk: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(text) for text in sdk.files.content(file_id).text.splitlines()]


def test_a_file(demo: DemoProcess, sdk: openai.OpenAI) -> None:
    data = bytes(range(256)) * 4_000
    made = sdk.files.create(
        file=("a.bin", data), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3_600}
    )

    assert (made.object, made.bytes, made.filename, made.purpose) == ("file", len(data), "a.bin", "user_data")
    assert made.expires_at == made.created_at + 3_600
    assert sdk.files.retrieve(made.id) == made
    assert sdk.files.content(made.id).content == data
    deleted = sdk.files.delete(made.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "file")
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.files.retrieve(made.id)
    assert caught.value.param == "id"
    first = demo.settled()[0]
    assert [(part["name"], part["size"]) for part in first["parts"]][-1] == ("file", len(data))


def test_lists_of_files(sdk: openai.OpenAI) -> None:
    ids = [sdk.files.create(file=(f"{name}.txt", b"x"), purpose="user_data").id for name in "abc"]
    other = sdk.files.create(file=("d.txt", b"x"), purpose="vision").id

    assert [file.id for file in sdk.files.list(limit=2)] == [other, *ids[::-1]]
    assert [file.id for file in sdk.files.list(purpose="user_data", order="asc", after=ids[0])] == ids[1:]
    page = sdk.files.list(limit=1)
    assert (len(page.data), page.has_more) == (1, True)


def test_files_belong_to_a_key(demo: DemoProcess, sdk: openai.OpenAI) -> None:
    made = sdk.files.create(file=("a.txt", b"x"), purpose="user_data")
    stranger = sdk.with_options(api_key="sk-another")

    with pytest.raises(openai.NotFoundError):
        stranger.files.retrieve(made.id)
    assert made.id not in [file.id for file in stranger.files.list()]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fun"}, "purpose"),
        ({}, "purpose"),
        ({"purpose": "batch", "expires_after[anchor]": "x"}, "expires_after.anchor"),
    ],
)
def test_bad_files(sdk: openai.OpenAI, fields: dict[str, str], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.post(
            "/files",
            body=fields,
            files={"file": ("a.txt", b"x")},
            cast_to=object,
            options={"headers": {"content-type": "multipart/form-data"}},
        )

    assert caught.value.param == param


def test_an_upload(sdk: openai.OpenAI) -> None:
    data = b"hello world"
    upload = sdk.uploads.create(bytes=len(data), filename="a.txt", mime_type="text/plain", purpose="assistants")
    parts = [sdk.uploads.parts.create(upload.id, data=data[start : start + 6]).id for start in (0, 6)]
    with pytest.raises(openai.BadRequestError):
        sdk.uploads.complete(upload.id, part_ids=parts[:1])
    done = sdk.uploads.complete(upload.id, part_ids=parts, md5=hashlib.md5(data).hexdigest())

    assert (upload.status, done.status, upload.object) == ("pending", "completed", "upload")
    assert done.file is not None
    assert (done.file.filename, done.file.purpose, done.file.bytes) == ("a.txt", "assistants", len(data))
    assert sdk.files.content(done.file.id).content == data
    with pytest.raises(openai.BadRequestError):
        sdk.uploads.cancel(upload.id)


def test_a_cancelled_upload(sdk: openai.OpenAI) -> None:
    upload = sdk.uploads.create(bytes=5, filename="a", mime_type="text/plain", purpose="batch")

    assert sdk.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        sdk.uploads.parts.create(upload.id, data=b"hello")
    with pytest.raises(openai.NotFoundError):
        sdk.uploads.complete("upload_none", part_ids=[])


def test_a_batch(demo: DemoProcess, sdk: openai.OpenAI) -> None:
    source = put(sdk, line(1), line(2, model="demo?status=429"), line(3, model="demo?usage=missing"), line(4))
    made = sdk.batches.create(input_file_id=source, endpoint=CHAT, completion_window="24h", metadata={"a": "b"})
    early = sdk.batches.retrieve(made.id)
    done = sdk.batches.retrieve(made.id)

    assert [each.status for each in (made, early, done)] == ["validating", "in_progress", "completed"]
    assert done.request_counts is not None
    assert done.request_counts.to_dict() == {"total": 4, "completed": 3, "failed": 1}
    assert (early.usage, done.metadata) == (None, {"a": "b"})
    assert done.usage is not None
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (16, 32, 48)
    output, errors = read(sdk, done.output_file_id), read(sdk, done.error_file_id)
    assert [(told["custom_id"], told["response"]["status_code"]) for told in output] == [
        ("r1", 200),
        ("r3", 200),
        ("r4", 200),
    ]
    assert output[0]["response"]["body"]["choices"][0]["message"]["content"] == DEFAULT_TEXT
    assert [(told["custom_id"], told["response"]["status_code"]) for told in errors] == [("r2", 429)]
    assert sdk.batches.retrieve(made.id) == done
    assert [entry["path"] for entry in demo.settled()].count(CHAT) == 0


def test_a_batch_of_embeddings(sdk: openai.OpenAI) -> None:
    request = {"custom_id": "e", "method": "POST", "url": "/v1/embeddings"}
    source = put(sdk, {**request, "body": {"model": "demo", "input": "hello world", "dimensions": 2}})
    made = sdk.batches.create(input_file_id=source, endpoint="/v1/embeddings", completion_window="24h")
    sdk.batches.retrieve(made.id)
    done = sdk.batches.retrieve(made.id)

    assert done.usage is not None
    assert (done.usage.input_tokens, done.usage.output_tokens, done.model) == (2, 0, "demo")
    assert len(read(sdk, done.output_file_id)[0]["response"]["body"]["data"][0]["embedding"]) == 2


def test_a_batch_takes_its_time(sdk: openai.OpenAI) -> None:
    source = put(sdk, line(1, model="demo?polls=4"), line(2, model="demo?drop=1"))
    made = sdk.batches.create(input_file_id=source, endpoint=CHAT, completion_window="24h")
    looks = [sdk.batches.retrieve(made.id) for _ in range(4)]

    assert [each.status for each in looks] == ["in_progress"] * 3 + ["completed"]
    assert read(sdk, looks[-1].error_file_id)[0]["error"]["code"] == "server_error"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("{", "invalid_json_line"),
        (line(1), "duplicate_custom_id"),
        (line(2, url="/v1/embeddings"), "mismatched_endpoint"),
        (line(2, stream=True), "invalid_request"),
        ({"url": CHAT}, "missing_required_parameter"),
    ],
)
def test_a_bad_line_fails_a_batch(sdk: openai.OpenAI, bad: object, code: str) -> None:
    made = sdk.batches.create(input_file_id=put(sdk, line(1), bad), endpoint=CHAT, completion_window="24h")
    failed = sdk.batches.retrieve(made.id)

    assert failed.status == "failed"
    assert failed.errors is not None
    assert [(error.code, error.line) for error in failed.errors.data or []] == [(code, 2)]


def test_a_cancelled_batch(sdk: openai.OpenAI) -> None:
    made = sdk.batches.create(input_file_id=put(sdk, line(1)), endpoint=CHAT, completion_window="24h")
    cancelling = sdk.batches.cancel(made.id)

    assert (cancelling.status, sdk.batches.retrieve(made.id).status) == ("cancelling", "cancelled")
    assert [batch.id for batch in sdk.batches.list()] == [made.id]
    with pytest.raises(openai.BadRequestError):
        sdk.batches.cancel(made.id)


def test_bad_batches(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.batches.create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")
    assert caught.value.param == "input_file_id"
    with pytest.raises(openai.NotFoundError):
        sdk.batches.retrieve("batch_none")


def test_faults_by_the_name_of_a_kind(demo: DemoProcess, sdk: openai.OpenAI) -> None:
    demo.script("files", {"status": 503}, {"drop": True})

    with pytest.raises(openai.InternalServerError):
        sdk.files.create(file=("a.txt", b"x"), purpose="user_data")
    with pytest.raises(openai.APIConnectionError):
        sdk.files.list()
    assert list(sdk.files.list()) == []
