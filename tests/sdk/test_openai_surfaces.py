"""OpenAI's own SDK, plain and asynchronous, calls every surface beside chat, and takes each answer for OpenAI's."""

from __future__ import annotations

import base64
import inspect
import io
import json
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest

from app.demo.media.makers.wav import make_wav
from tests.gateway import Customer, Gateway, Operator
from tests.providers.recorder import run_recorder
from tests.sdk.test_openai import sdk_for
from tests.surfaces.keeper import Keeper, run_keeper
from tests.surfaces.test_batches import line, make_model
from tests.surfaces.vendor import Vendor


@pytest.fixture(scope="module")
def customer(operator: Operator) -> Customer:
    return operator.customer("1000")


@pytest.fixture(scope="module")
def vendor(operator: Operator) -> Iterator[Vendor]:
    with run_recorder() as recorder, Vendor.open(operator, recorder) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def models(vendor: Vendor) -> dict[str, str]:
    """A model of each kind."""
    return {kind: vendor.model(kind, None) for kind in ("completion", "embedding", "moderation", "image", "audio")}


@pytest.fixture(scope="module")
async def sdk(gateway: Gateway, customer: Customer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_for(gateway, customer.key) as client:
        yield client


@pytest.fixture(scope="module")
def plain_sdk(gateway: Gateway, customer: Customer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=gateway.base_url, api_key=customer.key, max_retries=0, http_client=httpx2.Client()
    ) as client:
        yield client


PICTURE = base64.b64encode(b"\x89PNG").decode()
VECTOR = base64.b64encode(struct.pack("<2f", 0.5, -1)).decode()
IMAGE = {
    "created": 1,
    "data": [{"b64_json": PICTURE}],
    "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
}
COMPLETION = {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": []}
WORDS = {"text": "Hi.", "usage": {"type": "duration", "seconds": 1}}


def recording() -> Any:
    return ("a.wav", io.BytesIO(make_wav("speech", 0.5)), "audio/wav")


def picture() -> Any:
    return ("a.png", io.BytesIO(b"\x89PNG"), "image/png")


@dataclass(frozen=True, slots=True)
class Case:
    """`call` is given a client of either sort; `seen` what came of it, streams as lists. A list of events is streamed."""

    kind: str
    answer: Any
    call: Callable[[Any, str], Any]
    seen: Callable[[Any], Any]
    wanted: Any
    content_type: str = "application/json"


CASES = {
    "completions.create": Case(
        "completion",
        {**COMPLETION, "choices": [{"index": 0, "text": "Meow", "finish_reason": "stop", "logprobs": None}]},
        lambda c, model: c.completions.create(model=model, prompt="A cat says"),
        lambda answer: answer.choices[0].text,
        "Meow",
    ),
    "completions.create, streamed": Case(
        "completion",
        [{**COMPLETION, "choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in ("Me", "ow")]
        + [{**COMPLETION, "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}, "[DONE]"],
        lambda c, model: c.completions.create(model=model, prompt="A cat says", stream=True),
        lambda chunks: "".join(chunk.choices[0].text for chunk in chunks),
        "Meow",
    ),
    "embeddings.create": Case(
        "embedding",
        {
            "object": "list",
            "model": "m",
            "data": [{"object": "embedding", "index": 0, "embedding": VECTOR}],
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        },
        lambda c, model: c.embeddings.create(model=model, input=["a"]),
        lambda answer: answer.data[0].embedding,
        [0.5, -1.0],
    ),
    "moderations.create": Case(
        "moderation",
        {"id": "m", "model": "m", "results": [{"flagged": True, "categories": {}, "category_scores": {}}]},
        lambda c, model: c.moderations.create(model=model, input="a"),
        lambda answer: answer.results[0].flagged,
        True,
    ),
    "images.generate": Case(
        "image",
        IMAGE,
        lambda c, model: c.images.generate(model=model, prompt="a cat"),
        lambda answer: answer.data[0].b64_json,
        PICTURE,
    ),
    "images.generate, streamed": Case(
        "image",
        [
            {"type": "image_generation.partial_image", "b64_json": PICTURE, "partial_image_index": 0},
            {"type": "image_generation.completed", "b64_json": PICTURE, "usage": IMAGE["usage"]},
        ],
        lambda c, model: c.images.generate(model=model, prompt="a cat", stream=True, partial_images=1),
        lambda events: [event.type for event in events],
        ["image_generation.partial_image", "image_generation.completed"],
    ),
    "images.edit": Case(
        "image",
        IMAGE,
        lambda c, model: c.images.edit(model=model, prompt="a dog", image=[picture(), picture()], mask=picture()),
        lambda answer: answer.data[0].b64_json,
        PICTURE,
    ),
    "images.edit, streamed": Case(
        "image",
        [{"type": "image_edit.completed", "b64_json": PICTURE, "usage": IMAGE["usage"]}],
        lambda c, model: c.images.edit(model=model, prompt="a dog", image=picture(), stream=True),
        lambda events: [event.type for event in events],
        ["image_edit.completed"],
    ),
    "images.create_variation": Case(
        "image",
        IMAGE,
        lambda c, model: c.images.create_variation(model=model, image=picture()),
        lambda answer: answer.data[0].b64_json,
        PICTURE,
    ),
    "audio.speech.create": Case(
        "audio",
        b"sound" * 1000,
        lambda c, model: c.audio.speech.create(model=model, input="hi", voice="alloy"),
        lambda answer: answer.content,
        b"sound" * 1000,
        "audio/mpeg",
    ),
    "audio.speech.create, as events": Case(
        "audio",
        [
            {"type": "speech.audio.delta", "audio": PICTURE},
            {"type": "speech.audio.done", "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}},
        ],
        lambda c, model: c.audio.speech.create(model=model, input="hi", voice="alloy", stream_format="sse"),
        lambda answer: b"speech.audio.done" in answer.content,
        True,
    ),
    "audio.transcriptions.create": Case(
        "audio",
        WORDS,
        lambda c, model: c.audio.transcriptions.create(model=model, file=recording()),
        lambda answer: answer.text,
        "Hi.",
    ),
    "audio.transcriptions.create, verbose": Case(
        "audio",
        {"text": "Hi.", "duration": 0.5, "language": "english", "segments": [], "words": []},
        lambda c, model: c.audio.transcriptions.create(
            model=model, file=recording(), response_format="verbose_json", timestamp_granularities=["word"]
        ),
        lambda answer: answer.duration,
        0.5,
    ),
    "audio.transcriptions.create, as subtitles": Case(
        "audio",
        b"1\n00:00:00,000 --> 00:00:01,000\nHi.\n",
        lambda c, model: c.audio.transcriptions.create(model=model, file=recording(), response_format="srt"),
        lambda answer: answer,
        "1\n00:00:00,000 --> 00:00:01,000\nHi.\n",
        "text/plain",
    ),
    "audio.transcriptions.create, streamed": Case(
        "audio",
        [{"type": "transcript.text.delta", "delta": "Hi."}, {"type": "transcript.text.done", "text": "Hi."}],
        lambda c, model: c.audio.transcriptions.create(model=model, file=recording(), stream=True),
        lambda events: [event.type for event in events],
        ["transcript.text.delta", "transcript.text.done"],
    ),
    "audio.translations.create": Case(
        "audio",
        {"text": "Hi."},
        lambda c, model: c.audio.translations.create(model=model, file=recording()),
        lambda answer: answer.text,
        "Hi.",
    ),
}


def prepare(vendor: Vendor, case: Case) -> None:
    if isinstance(case.answer, list):
        vendor.streams(*case.answer, named=case.kind != "completion")
    else:
        vendor.answers(case.answer, case.content_type)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
async def test_a_surface(
    plain_sdk: openai.OpenAI, sdk: openai.AsyncOpenAI, vendor: Vendor, models: dict[str, str], case: Case
) -> None:
    prepare(vendor, case)
    answer = case.call(plain_sdk, models[case.kind])
    assert case.seen(list(answer) if isinstance(answer, openai.Stream) else answer) == case.wanted
    answer = await case.call(sdk, models[case.kind])
    assert (
        case.seen([item async for item in answer] if isinstance(answer, openai.AsyncStream) else answer) == case.wanted
    )


async def test_speech_comes_while_it_is_made(sdk: openai.AsyncOpenAI, vendor: Vendor, models: dict[str, str]) -> None:
    vendor.answers(b"sound" * 100_000, "audio/mpeg")
    async with sdk.audio.speech.with_streaming_response.create(
        model=models["audio"], input="hi", voice="alloy"
    ) as answer:
        pieces = [piece async for piece in answer.iter_bytes(4096)]
    assert b"".join(pieces) == b"sound" * 100_000


# -- objects -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    with run_keeper() as running:
        yield running


@pytest.fixture(scope="module")
def home(operator: Operator, keeper: Keeper) -> str:
    """A model whose channel keeps objects."""
    return make_model(operator, keeper)


async def settle(answer: Any) -> Any:
    """What a call of either sort of client comes to."""
    return await answer if inspect.isawaitable(answer) else answer


async def listed(page: Any) -> list[Any]:
    """All objects of a list of either sort of client."""
    if hasattr(page, "__aiter__"):
        return [item async for item in page]
    return list(page)


async def use_files(client: Any, there: dict[str, str]) -> str:
    """Every method of files; returns the id of one."""
    file = await settle(client.files.create(file=b"hello", purpose="assistants", extra_headers=there))
    assert (await settle(client.files.retrieve(file.id))).id == file.id
    assert (await settle(client.files.content(file.id))).content == b"hello"
    assert file.id in {item.id for item in await listed(client.files.list(purpose="assistants"))}
    other = await settle(client.files.create(file=b"bye", purpose="assistants", extra_headers=there))
    assert (await settle(client.files.delete(other.id))).deleted
    with pytest.raises(openai.NotFoundError):
        await settle(client.files.retrieve(other.id))
    return str(file.id)


async def use_uploads(client: Any, there: dict[str, str]) -> None:
    begin: dict[str, Any] = {"bytes": 4, "filename": "a", "mime_type": "text/plain", "purpose": "assistants"}
    upload = await settle(client.uploads.create(**begin, extra_headers=there))
    await settle(client.uploads.parts.create(upload.id, data=b"abcd"))
    whole = await settle(client.uploads.complete(upload.id, part_ids=["part_1"]))
    assert (await settle(client.files.retrieve(whole.file.id))).id == whole.file.id
    other = await settle(client.uploads.create(**begin, extra_headers=there))
    await settle(client.uploads.cancel(other.id))


async def use_vector_stores(client: Any, file: str) -> None:
    stores = client.vector_stores
    store = (await settle(stores.create(name="s", file_ids=[file]))).id
    await settle(stores.retrieve(store))
    assert (await settle(stores.update(store, name="t"))).name == "t"
    assert store in {item.id for item in await listed(stores.list())}
    await listed(stores.search(store, query="cats"))
    await settle(stores.files.create(store, file_id=file))
    await settle(stores.files.retrieve(file, vector_store_id=store))
    await settle(stores.files.update(file, vector_store_id=store, attributes={"a": "b"}))
    await listed(stores.files.list(store))
    await listed(stores.files.content(file, vector_store_id=store))
    await settle(stores.files.delete(file, vector_store_id=store))
    await settle(stores.file_batches.create(store, file_ids=[file]))
    await settle(stores.file_batches.retrieve("vsfb_1", vector_store_id=store))
    await listed(stores.file_batches.list_files("vsfb_1", vector_store_id=store))
    await settle(stores.file_batches.cancel("vsfb_1", vector_store_id=store))
    await settle(stores.delete(store))


async def use_conversations(client: Any, there: dict[str, str]) -> None:
    conversations = client.conversations
    id = (await settle(conversations.create(metadata={"a": "b"}, extra_headers=there))).id
    await settle(conversations.retrieve(id))
    await settle(conversations.update(id, metadata={"a": "c"}))
    await settle(conversations.items.create(id, items=[{"role": "user", "content": "hi", "type": "message"}]))
    await listed(conversations.items.list(id))
    await settle(conversations.items.retrieve("msg_1", conversation_id=id))
    await settle(conversations.items.delete("msg_1", conversation_id=id))
    await settle(conversations.delete(id))


async def use_containers(client: Any, there: dict[str, str]) -> None:
    containers = client.containers
    id = (await settle(containers.create(name="c", extra_headers=there))).id
    await settle(containers.retrieve(id))
    assert id in {item.id for item in await listed(containers.list())}
    await settle(containers.files.create(id, file=b"x"))
    await listed(containers.files.list(id))
    await settle(containers.files.retrieve("cfile_1", container_id=id))
    await settle(containers.files.content.retrieve("cfile_1", container_id=id))
    await settle(containers.files.delete("cfile_1", container_id=id))
    await settle(containers.delete(id))


@pytest.mark.parametrize("plain", [True, False])
async def test_objects(
    plain_sdk: openai.OpenAI, sdk: openai.AsyncOpenAI, keeper: Keeper, home: str, plain: bool
) -> None:
    client: Any = plain_sdk if plain else sdk
    there = {"x-relaygate-model": home}
    file = await use_files(client, there)
    await use_uploads(client, there)
    await use_vector_stores(client, file)
    await use_conversations(client, there)
    await use_containers(client, there)


@pytest.mark.parametrize("plain", [True, False])
async def test_batches(
    plain_sdk: openai.OpenAI, sdk: openai.AsyncOpenAI, keeper: Keeper, home: str, plain: bool
) -> None:
    client: Any = plain_sdk if plain else sdk
    keeper.ending = None
    raw = json.dumps(line(home)).encode()
    file = await settle(client.files.create(file=("b.jsonl", raw), purpose="batch"))
    made = await settle(
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    )
    assert (await settle(client.batches.retrieve(made.id))).status == "in_progress"
    assert made.id in {item.id for item in await listed(client.batches.list())}
    await settle(client.batches.cancel(made.id))
    keeper.ending = {"status": "cancelled"}
    assert (await settle(client.batches.retrieve(made.id))).status == "cancelled"
