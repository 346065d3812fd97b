"""The official SDKs ask for completions, embeddings, moderations and rerank."""

import base64
import math
import struct
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import openai
import pytest
from google import genai
from openai.types import ModerationMultiModalInputParam

from app.demo.answers import DEFAULT_TEXT
from tests.demo.process import DemoProcess
from tests.demo.wire import HEADERS, WireAnswer, call_path

pytestmark = pytest.mark.usefixtures("demo")
DOCUMENTS = ["Bananas are yellow.", "A car is fast.", "The sky is blue today."]
QUERY = {"model": "demo-rerank", "query": "why is the sky blue", "documents": DOCUMENTS}


@pytest.fixture(scope="module")
def sdk(demo_process: DemoProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo_process.url}/v1", api_key="sk-test", max_retries=0) as client:
        yield client


def send(demo: DemoProcess, path: str, body: dict[str, Any]) -> WireAnswer:
    return call_path(demo, path, body, HEADERS)


def test_completion(sdk: openai.OpenAI) -> None:
    made = sdk.completions.create(model="demo", prompt="hello there")

    assert made.usage is not None
    assert (made.object, made.model, made.choices[0].text) == ("text_completion", "demo", DEFAULT_TEXT)
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total_tokens) == (2, 16, 18)


def test_completions_of_many_prompts(sdk: openai.OpenAI) -> None:
    made = sdk.completions.create(
        model="demo", prompt=["one", "two"], n=2, best_of=3, echo=True, max_tokens=4, logprobs=1
    )

    assert made.usage is not None
    assert [choice.index for choice in made.choices] == [0, 1, 2, 3]
    assert [choice.text[:7] for choice in made.choices] == ["oneThe ", "oneThe ", "twoThe ", "twoThe "]
    assert {choice.finish_reason for choice in made.choices} == {"length"}
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (2, 2 * 3 * 4)
    logprobs = made.choices[0].logprobs
    assert logprobs is not None
    assert "".join(logprobs.tokens or []) == made.choices[0].text


@pytest.mark.parametrize(("prompt", "text"), [([15339, 1917], "hello world"), ([[15339], [1917]], "hello")])
def test_completions_of_tokens(sdk: openai.OpenAI, prompt: Any, text: str) -> None:
    made = sdk.completions.create(model="demo", prompt=prompt, echo=True, max_tokens=0)

    assert made.usage is not None
    assert (made.choices[0].text, made.usage.prompt_tokens, made.usage.completion_tokens) == (text, 2, 0)


def test_completion_stream(sdk: openai.OpenAI) -> None:
    stream = sdk.completions.create(
        model="demo?reply=a+b+c", prompt="p", n=2, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = stream

    texts = ["".join(each.choices[0].text for each in chunks if each.choices[0].index == index) for index in (0, 1)]
    assert texts == ["a b c", "a b c"]
    assert [each.choices[0].finish_reason for each in chunks[-2:]] == ["stop", "stop"]
    assert last.usage is not None
    assert (last.choices, last.usage.completion_tokens) == ([], 6)


def test_a_completion_stream_is_cut(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        list(sdk.completions.create(model="demo?cut=2", prompt="p", stream=True))


def test_completion_options(demo: DemoProcess) -> None:
    torn = send(
        demo, "/v1/completions", {"model": "demo?surrogates=1", "prompt": "p", "stream": True, "max_tokens": 99}
    )
    long = send(demo, "/v1/completions", {"model": "demo?big=5000", "prompt": "p"})
    echoed = send(demo, "/v1/completions", {"model": "demo?echo=1&delay_ms=1", "prompt": "say this"})

    assert b'"text":"\\ud83d"' in torn.body
    assert (len(long.body), len(long.json["choices"][0]["text"]) > 4_000) == (5_000, True)
    assert echoed.json["choices"][0]["text"] == "say this"


@pytest.mark.parametrize("value", ["hello world", ["hello world"], [15339, 1917], [[15339, 1917]]])
def test_embeddings(demo: DemoProcess, sdk: openai.OpenAI, value: Any) -> None:
    made = sdk.embeddings.create(model="demo-embed", input=value, dimensions=8)
    plain = sdk.embeddings.create(model="demo-embed", input=value, dimensions=8, encoding_format="float")

    vector = made.data[0].embedding
    assert vector == plain.data[0].embedding
    assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-6)
    assert (made.usage.prompt_tokens, made.usage.total_tokens, made.object) == (2, 2, "list")
    body = {"model": "m", "input": value, "dimensions": 8, "encoding_format": "base64"}
    raw = send(demo, "/embeddings", body).json["data"][0]["embedding"]
    assert list(struct.unpack("<8f", base64.b64decode(raw))) == vector


def test_texts_have_their_own_vectors(sdk: openai.OpenAI) -> None:
    made = sdk.embeddings.create(model="demo", input=["a", "b", "a"])

    assert [len(each.embedding) for each in made.data] == [1_536] * 3
    assert made.data[0].embedding == made.data[2].embedding != made.data[1].embedding


def test_gemini_embeddings(demo_process: DemoProcess) -> None:
    options = genai.types.HttpOptions(base_url=demo_process.url)
    with genai.Client(api_key="key", http_options=options) as client:
        made = client.models.embed_content(
            model="gemini-embedding-001", contents=["a", "b"], config={"output_dimensionality": 4}
        )

    assert made.embeddings is not None
    assert [len(each.values or []) for each in made.embeddings] == [4, 4]
    assert made.embeddings[0].values != made.embeddings[1].values


def test_one_gemini_embedding(demo: DemoProcess) -> None:
    body = {"content": {"parts": [{"text": "hello world"}]}, "outputDimensionality": 4, "taskType": "RETRIEVAL_QUERY"}
    path = "/v1beta/models/gemini-embedding-001:embedContent"
    answer = call_path(demo, path, body, {"x-goog-api-key": "key"}).json
    refused = call_path(demo, path, body | {"outputDimensionality": 0}, {"x-goog-api-key": "key"})
    misnamed = {"requests": [body | {"model": "models/other"}]}
    batch = call_path(demo, path.replace("embedC", "batchEmbedC") + "s", misnamed, {"x-goog-api-key": "key"})

    assert (len(answer["embedding"]["values"]), answer["usageMetadata"]) == (4, {"promptTokenCount": 2})
    assert refused.json["error"]["status"] == batch.json["error"]["status"] == "INVALID_ARGUMENT"


def test_cohere_embeddings(demo: DemoProcess) -> None:
    body = {"model": "embed-v4.0", "texts": ["hello world", "b"], "input_type": "search_query", "output_dimension": 4}
    answer = send(demo, "/v2/embed", body | {"embedding_types": ["float", "base64"]}).json
    mixed = {"inputs": [{"content": [{"type": "text", "text": "b"}]}], "input_type": "classification"}
    other = send(demo, "/v2/embed", {"model": "m", **mixed}).json
    refused = send(demo, "/v2/embed", {"model": "m", "texts": ["a"]})

    floats = answer["embeddings"]["float"]
    assert [list(struct.unpack("<4f", base64.b64decode(each))) for each in answer["embeddings"]["base64"]] == floats
    assert (answer["texts"], answer["meta"]["billed_units"]) == (["hello world", "b"], {"input_tokens": 3})
    assert len(other["embeddings"]["float"][0]) == 1_536
    assert (refused.status, refused.json) == (400, {"message": "Missing required parameter: 'input_type'."})


def test_moderations(sdk: openai.OpenAI) -> None:
    made = sdk.moderations.create(input=["a rose", "VIOLENCE!"])

    assert made.model == "omni-moderation-latest"
    calm, fierce = made.results
    assert (calm.flagged, fierce.flagged, fierce.categories.violence, fierce.categories.hate) == (0, 1, 1, 0)
    assert calm.category_scores.violence < 0.5 < fierce.category_scores.violence
    assert fierce.category_applied_input_types.violence == ["text"]


def test_moderation_of_parts(sdk: openai.OpenAI) -> None:
    parts: list[ModerationMultiModalInputParam] = [
        {"type": "text", "text": "some violence"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    made = sdk.moderations.create(model="demo", input=parts)

    assert [each.flagged for each in made.results] == [True]
    types = made.results[0].category_applied_input_types
    assert (types.violence, types.hate) == (["text", "image"], ["text"])


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/openai/v1/rerank"])
def test_rerank(demo: DemoProcess, path: str) -> None:
    answer = send(demo, path, QUERY | {"top_n": 2}).json
    bare = send(demo, path, QUERY | {"return_documents": False}).json

    assert [each["index"] for each in answer["results"]] == [2, 1]
    assert answer["results"][0]["document"] == {"text": DOCUMENTS[2]}
    scores = [each["relevance_score"] for each in bare["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert set(bare["results"][0]) == {"index", "relevance_score"}
    assert answer["id"].startswith("rerank-")
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 15


def test_cohere_rerank(demo: DemoProcess) -> None:
    answer = send(demo, "/v2/rerank", QUERY | {"documents": DOCUMENTS * 34}).json

    assert answer["results"][0]["index"] == 2
    assert set(answer["results"][0]) == {"index", "relevance_score"}
    assert (answer["meta"]["billed_units"], "usage" in answer) == ({"search_units": 2}, False)


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/completions", {"prompt": "p"}, "usage"),
        ("/v1/embeddings", {"input": "p"}, "usage"),
        ("/v1/rerank", QUERY, "usage"),
        ("/v2/rerank", QUERY, "meta.billed_units"),
        ("/v2/embed", {"texts": ["p"], "input_type": "search_query"}, "meta.billed_units"),
    ],
)
def test_usage_options(demo: DemoProcess, path: str, body: dict[str, Any], where: str) -> None:
    def usage(words: str) -> Any:
        found: Any = send(demo, path, {**body, "model": f"demo?usage={words}"}).json
        for name in where.split("."):
            found = found.get(name)
        return found

    assert usage("missing") is None
    assert set(usage("zero").values()) == {0}
    assert all(isinstance(value, str) for value in usage("string").values())


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/completions", {"model": "m"}, "prompt"),
        ("/completions", {"prompt": "p"}, "model"),
        ("/completions", {"model": "m", "prompt": 5}, "prompt"),
        ("/completions", {"model": "m", "prompt": ["a", 5]}, "prompt[1]"),
        ("/completions", {"model": "m", "prompt": [10**12]}, "prompt"),
        ("/completions", {"model": "m", "prompt": "p", "n": 3, "best_of": 2}, "best_of"),
        ("/completions", {"model": "m", "prompt": "p", "stream": True, "best_of": 2}, "best_of"),
        ("/completions", {"model": "m", "prompt": "p", "max_tokens": "5"}, "max_tokens"),
        ("/completions", {"model": "m", "prompt": "p", "stream_options": {}}, "stream_options"),
        ("/embeddings", {"model": "m"}, "input"),
        ("/embeddings", {"model": "m", "input": []}, "input"),
        ("/embeddings", {"model": "m", "input": "a", "dimensions": 0}, "dimensions"),
        ("/embeddings", {"model": "m", "input": "a", "encoding_format": "hex"}, "encoding_format"),
        ("/moderations", {"model": "m"}, "input"),
        ("/moderations", {"input": [{"type": "text"}]}, "input[0].text"),
        ("/rerank", {"model": "m", "query": "q"}, "documents"),
        ("/rerank", {"model": "m", "query": "q", "documents": [5]}, "documents[0]"),
        ("/rerank", {"model": "m", "documents": ["d"]}, "query"),
        ("/embeddings", {"model": "m?colour=red", "input": "a"}, "model"),
    ],
)
def test_bad_requests(demo: DemoProcess, path: str, body: dict[str, Any], param: str) -> None:
    answer = send(demo, f"/v1{path}", body)

    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    assert [entry["path"] for entry in demo.settled()] == [f"/v1{path}"]


@pytest.mark.parametrize("path", ["completions", "embeddings", "moderations", "rerank"])
async def test_options_and_keys(demo: DemoProcess, client: httpx.AsyncClient, path: str) -> None:
    body = {"prompt": "p", "input": "p", "query": "q", "documents": ["d"]}
    limited = await client.post(f"/openai/v1/{path}", json={**body, "model": "demo?status=429&retry_after=7"})
    keyless = await client.post(f"/{path}", json={**body, "model": "demo"}, headers={"authorization": ""})

    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    assert (keyless.status_code, keyless.json()["error"]["code"]) == (401, "invalid_api_key")
