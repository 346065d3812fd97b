"""The official SDK keeps vector stores, conversations and containers."""

import hashlib
from collections.abc import Iterator

import openai
import pytest

from tests.demo.process import DemoProcess

pytestmark = pytest.mark.usefixtures("demo")


@pytest.fixture
def sdk(demo_process: DemoProcess, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    # A key of its own for each test, since objects belong to keys.
    key = "sk-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12].replace("bad", "b0d")
    with openai.OpenAI(base_url=f"{demo_process.url}/v1", api_key=key, max_retries=0) as client:
        yield client


def put(sdk: openai.OpenAI, text: str) -> str:
    return sdk.files.create(file=("a.txt", text.encode()), purpose="assistants").id


def test_a_vector_store(sdk: openai.OpenAI) -> None:
    made = sdk.vector_stores.create(
        name="n",
        file_ids=[put(sdk, "hello")],
        expires_after={"anchor": "last_active_at", "days": 2},
        metadata={"a": "b"},
    )
    found = sdk.vector_stores.retrieve(made.id)
    changed = sdk.vector_stores.update(made.id, name="m")

    assert (made.status, found.status, found.name, changed.name) == ("in_progress", "completed", "n", "m")
    assert (found.file_counts.completed, found.file_counts.total, found.usage_bytes) == (1, 1, 5)
    assert (changed.metadata, changed.expires_after is not None) == ({"a": "b"}, True)
    assert [store.id for store in sdk.vector_stores.list()] == [made.id]
    assert sdk.vector_stores.delete(made.id).object == "vector_store.deleted"
    with pytest.raises(openai.NotFoundError):
        sdk.vector_stores.retrieve(made.id)


def test_files_of_a_vector_store(sdk: openai.OpenAI) -> None:
    store = sdk.vector_stores.create().id
    files = [put(sdk, "hello"), put(sdk, "world")]
    added = [sdk.vector_stores.files.create(store, file_id=each, attributes={"n": 1}) for each in files]
    changed = sdk.vector_stores.files.update(files[0], vector_store_id=store, attributes={"n": 2.0})

    assert [(each.status, each.attributes) for each in added] == [("in_progress", {"n": 1})] * 2
    assert sdk.vector_stores.files.retrieve(files[0], vector_store_id=store) == changed
    assert (changed.status, changed.attributes) == ("completed", {"n": 2.0})
    assert [each.id for each in sdk.vector_stores.files.list(store, order="asc")] == files
    assert list(sdk.vector_stores.files.list(store, filter="failed")) == []
    content = sdk.vector_stores.files.content(files[1], vector_store_id=store)
    assert [each.text for each in content] == ["world"]
    assert sdk.vector_stores.files.delete(files[0], vector_store_id=store).deleted
    assert sdk.files.retrieve(files[0]).id == files[0]
    with pytest.raises(openai.NotFoundError):
        sdk.vector_stores.files.retrieve(files[0], vector_store_id=store)
    with pytest.raises(openai.NotFoundError):
        sdk.vector_stores.files.create(store, file_id="file-none")


def test_batches_of_files(sdk: openai.OpenAI) -> None:
    store = sdk.vector_stores.create().id
    files = [put(sdk, "hello"), put(sdk, "world")]
    batches = sdk.vector_stores.file_batches
    made = batches.create(store, file_ids=files)
    done = batches.retrieve(made.id, vector_store_id=store)
    other = batches.create(store, files=[{"file_id": put(sdk, "x"), "attributes": {"a": True}}])
    cancelled = batches.cancel(other.id, vector_store_id=store)

    assert (made.status, made.file_counts.in_progress) == ("in_progress", 2)
    assert (done.status, done.file_counts.completed) == ("completed", 2)
    assert {each.id for each in batches.list_files(made.id, vector_store_id=store)} == set(files)
    assert (cancelled.status, cancelled.file_counts.cancelled) == ("cancelled", 1)
    with pytest.raises(openai.BadRequestError) as caught:
        batches.create(store, file_ids=[])
    assert caught.value.param == "file_ids"


def test_search(sdk: openai.OpenAI) -> None:
    store = sdk.vector_stores.create().id
    sky, car = put(sdk, "the sky is blue"), put(sdk, "a car is fast")
    sdk.vector_stores.files.create(store, file_id=car, attributes={"year": 1999})
    sdk.vector_stores.files.create(store, file_id=sky, attributes={"year": 2026})
    found = sdk.vector_stores.search(store, query="why is the sky blue").data
    old = sdk.vector_stores.search(store, query=["sky"], filters={"type": "lt", "key": "year", "value": 2000}).data

    assert [each.file_id for each in found] == [sky, car]
    assert (found[0].filename, found[0].content[0].text) == ("a.txt", "the sky is blue")
    assert found[0].score > found[1].score
    assert [each.file_id for each in old] == [car]
    assert len(sdk.vector_stores.search(store, query="is", max_num_results=1).data) == 1
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.vector_stores.search(store, query="is", max_num_results=51)
    assert caught.value.param == "max_num_results"


def test_a_conversation(sdk: openai.OpenAI) -> None:
    made = sdk.conversations.create(
        metadata={"a": "b"}, items=[{"type": "message", "role": "user", "content": "hello"}]
    )
    changed = sdk.conversations.update(made.id, metadata={"a": "c"})

    assert (made.object, made.metadata, changed.metadata) == ("conversation", {"a": "b"}, {"a": "c"})
    assert sdk.conversations.retrieve(made.id) == changed
    assert sdk.conversations.delete(made.id).object == "conversation.deleted"
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.retrieve(made.id)


def test_items_of_a_conversation(sdk: openai.OpenAI) -> None:
    conversation = sdk.conversations.create().id
    items = sdk.conversations.items
    added = items.create(
        conversation,
        items=[
            {"type": "message", "role": "user", "content": "hello"},
            {"type": "message", "role": "assistant", "content": "hi"},
        ],
    )
    listed = list(items.list(conversation, order="asc", limit=1))

    assert [each.id for each in added.data] == [each.id for each in listed] == [added.first_id, added.last_id]
    first = items.retrieve(added.first_id, conversation_id=conversation)
    assert first.type == "message"
    assert (first.role, first.status, first.content[0].type) == ("user", "completed", "input_text")
    assert items.delete(added.first_id, conversation_id=conversation).id == conversation
    with pytest.raises(openai.NotFoundError):
        items.retrieve(added.first_id, conversation_id=conversation)


def test_a_container(sdk: openai.OpenAI) -> None:
    made = sdk.containers.create(name="n", memory_limit="4g", file_ids=[put(sdk, "hello")])

    assert (made.object, made.name, made.status, made.memory_limit) == ("container", "n", "running", "4g")
    assert sdk.containers.retrieve(made.id).id == made.id
    assert [each.id for each in sdk.containers.list()] == [made.id]
    files = sdk.containers.files
    copied = files.create(made.id, file_id=put(sdk, "world"))
    sent = files.create(made.id, file=("b.txt", b"more"))
    assert [each.path for each in files.list(made.id, order="asc")] == ["/mnt/data/a.txt"] * 2 + ["/mnt/data/b.txt"]
    assert files.content.retrieve(copied.id, container_id=made.id).content == b"world"
    assert files.retrieve(sent.id, container_id=made.id).bytes == 4
    files.delete(sent.id, container_id=made.id)
    with pytest.raises(openai.NotFoundError):
        files.content.retrieve(sent.id, container_id=made.id)
    sdk.containers.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        sdk.containers.retrieve(made.id)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/vector_stores", {"file_ids": "x"}, "file_ids"),
        ("/vector_stores", {"expires_after": {"anchor": "last_active_at", "days": 0}}, "expires_after.days"),
        ("/conversations", {"items": [5]}, "items[0]"),
        ("/conversations", {"metadata": []}, "metadata"),
        ("/containers", {}, "name"),
        ("/containers", {"name": "n", "memory_limit": "2g"}, "memory_limit"),
        ("/uploads", {"bytes": 1}, "filename"),
        ("/batches", {"input_file_id": "f", "endpoint": "/v1/videos"}, "endpoint"),
    ],
)
def test_bad_requests(sdk: openai.OpenAI, path: str, body: dict[str, object], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.post(path, body=body, cast_to=object)

    assert caught.value.param == param


def test_bad_pages(sdk: openai.OpenAI) -> None:
    for query, param in ({"limit": 0}, "limit"), ({"after": "vs_none"}, "after"), ({"order": "up"}, "order"):
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.get("/vector_stores", cast_to=object, options={"params": query})
        assert caught.value.param == param
