"""Other models in place of the one asked for, by the operator's word or the request's, and requests that no model is sent."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Operator
from tests.relay.calls import Answer, Client, chat, demo_model, entries, received, serve_model, upstream_name

BROKEN = "status=500"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEUlEQVR4nGNgYGD4jwePSGkARQxjnQ2lSJgAAAAASUVORK5CYII="


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a format asks: its path, where a model stands in it or not, and the least of a body."""

    path: str
    body: Mapping[str, Any]
    names_model: bool = True

    async def ask(self, client: Client, customer: Customer, model: str, fields: Mapping[str, Any]) -> Answer:
        body = {**self.body, **fields, **({"model": model} if self.names_model else {})}
        return await client.send(json.dumps(body).encode(), customer.headers, self.path.replace("MODEL", model))


TALK = [{"role": "user", "content": "hi"}]
CHAT = Dialect("/v1/chat/completions", {"messages": TALK})
RESPONSES = Dialect("/v1/responses", {"input": "hi"})
MESSAGES = Dialect("/v1/messages", {"messages": TALK, "max_tokens": 50})
GEMINI = Dialect("/v1beta/models/MODEL:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}, names_model=False)
DIALECTS = {"chat": CHAT, "responses": RESPONSES, "messages": MESSAGES, "gemini": GEMINI}
every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())


def code_of(answer: Answer) -> str:
    """The error's code, wherever the format has it, in small letters."""
    error = answer.json["error"]
    if "details" not in error:
        return str(error["code"])
    details = error["details"]
    code = details["error_code"] if isinstance(details, dict) else details[0]["reason"]
    return str(code).lower()


@dataclass(frozen=True, slots=True)
class Unfit:
    """A model that can't do what a request asks, the upstream's name of it, and a model that can."""

    model: str
    upstream: str
    able: str


@pytest.fixture(scope="module")
def unable(operator: Operator) -> Unfit:
    """Without vision, tools and schemas."""
    upstream, lacks = upstream_name("reply=unable"), ["json_schema", "tools", "vision"]
    model = serve_model(operator, {"upstream_model": upstream}, options={"lacks": lacks})
    return Unfit(model, upstream, demo_model(operator, "reply=able"))


@pytest.fixture(scope="module")
def small(operator: Operator) -> Unfit:
    """Of 300 tokens."""
    upstream = upstream_name("reply=small")
    model = serve_model(operator, {"upstream_model": upstream}, context_window=300)
    return Unfit(model, upstream, demo_model(operator, "reply=able", context_window=3_000))


async def assert_refused_or_helped(
    unfit: Unfit,
    ask: Callable[[str, Mapping[str, Any]], Awaitable[Answer]],
    demo: DemoProcess,
    fields: Mapping[str, Any],
    code: str,
) -> Answer:
    """Asks of a model what it can do and what it can't, then with a stand-in that can; returns the refusal."""
    before = {request["id"] for request in received(demo, unfit.upstream)}
    plain = await ask(unfit.model, {})
    refused = await ask(unfit.model, fields)
    helped = await ask(unfit.model, {**fields, "models": [unfit.able]})

    assert (plain.status, helped.status) == (200, 200), helped.body
    assert (refused.status, code_of(refused)) == (400, code)
    assert len({request["id"] for request in received(demo, unfit.upstream)} - before) == 1
    return refused


# -- the operator's ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_operators_stand_in_answers_at_its_own_price(
    operator: Operator, client: Client, stream: bool
) -> None:
    customer = operator.customer()
    stand_in = demo_model(operator, "reply=stand-in")
    operator.call("PATCH", f"/models/{stand_in}", json={"price": {"input_mtok": "100", "output_mtok": "1000"}})
    model = demo_model(operator, BROKEN, BROKEN, options={"fallbacks": [stand_in]})
    answer = await client.chat(customer, model, stream=stream)
    (entry,) = await entries(operator, customer, 1)

    assert (answer.status, answer.text) == (200, "stand-in")
    assert answer.headers["x-relaygate-model"] == stand_in
    assert (entry["model"], entry["attempts"], entry["status"]) == (stand_in, 3, "settled")
    usage = entry["usage"]
    cost = Decimal(100 * usage["input_tokens"] + 1000 * usage["output_tokens"]) / 1_000_000
    assert Decimal(entry["charged"]) == cost
    assert operator.audit()["ok"] is True


async def test_a_stand_in_that_the_key_may_not_call_isnt_one(
    operator: Operator, client: Client, demo: DemoProcess
) -> None:
    upstream = upstream_name("reply=stand-in")
    stand_in = serve_model(operator, {"upstream_model": upstream})
    model = demo_model(operator, BROKEN, options={"fallbacks": [stand_in]})
    answer = await client.chat(operator.customer(models=[model]), model)

    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert received(demo, upstream) == []


async def test_a_model_without_a_channel_has_its_stand_in(operator: Operator, client: Client) -> None:
    stand_in = demo_model(operator, "reply=stand-in")
    model = serve_model(operator, options={"fallbacks": [stand_in]})
    assert (await client.chat(operator.customer(), model)).text == "stand-in"


async def test_a_quota_that_covers_the_model_alone(operator: Operator, client: Client) -> None:
    """The hold is for the dearest that may answer: what is charged is never more than was held."""
    dear = demo_model(operator, "reply=dear")
    operator.call("PATCH", f"/models/{dear}", json={"price": {"input_mtok": "10000", "output_mtok": "10000"}})
    model = demo_model(operator, "reply=cheap", options={"fallbacks": [dear]})
    answer = await client.chat(operator.customer("0.01"), model)
    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")


# -- the request's -------------------------------------------------------------------------------------------------------


@every_dialect
async def test_a_request_names_its_stand_ins_and_no_upstream_hears_of_it(
    operator: Operator, client: Client, demo: DemoProcess, dialect: Dialect
) -> None:
    customer = operator.customer()
    names = [upstream_name(BROKEN), upstream_name(BROKEN), upstream_name("reply=third")]
    first, second, third = (serve_model(operator, {"upstream_model": name}) for name in names)
    answer = await dialect.ask(client, customer, first, {"models": [first, second, third]})
    (entry,) = await entries(operator, customer, 1)
    seen = [request for name in names for request in received(demo, name)]

    assert (answer.status, entry["model"], entry["attempts"]) == (200, third, 3)
    assert b"third" in answer.body
    assert len(seen) == 3
    assert [request for request in seen if "models" in request["body"]] == []


async def test_the_requests_come_before_the_operators(operator: Operator, client: Client) -> None:
    theirs, ours = demo_model(operator, "reply=theirs"), demo_model(operator, "reply=ours")
    model = demo_model(operator, BROKEN, options={"fallbacks": [ours]})
    customer = operator.customer()
    assert (await client.chat(customer, model)).text == "ours"
    assert (await client.chat(customer, model, models=[theirs])).text == "theirs"
    assert (await client.chat(customer, model, models=[])).text == "ours"
    assert (await client.chat(customer, model, models=None)).text == "ours"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("gpt", id="a name"),
        pytest.param({"a": 1}, id="an object"),
        pytest.param(7, id="a number"),
        pytest.param([7], id="numbers"),
        pytest.param([None], id="nulls"),
        pytest.param([""], id="an empty name"),
        pytest.param(["x" * 201], id="a long name"),
        pytest.param(["x"] * 11, id="too many"),
    ],
)
async def test_what_is_no_list_of_models(operator: Operator, client: Client, unable: Unfit, given: object) -> None:
    customer = operator.customer()
    answer = await client.chat(customer, unable.able, models=given)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_request", "models")
    assert await entries(operator, customer, 0) == []


async def test_stand_ins_that_arent_there_or_arent_allowed(
    operator: Operator, client: Client, demo: DemoProcess
) -> None:
    upstream = upstream_name()
    model, other = serve_model(operator, {"upstream_model": upstream}), demo_model(operator, "")
    customer = operator.customer(models=[model])
    unknown = await client.chat(operator.customer(), model, models=["no-such-model"])
    refused = await client.chat(customer, model, models=[other])

    assert (unknown.status, unknown.error["code"], unknown.error["param"]) == (404, "model_not_found", "models")
    assert (refused.status, refused.error["code"], refused.error["param"]) == (403, "model_not_allowed", "models")
    assert received(demo, upstream) == []
    assert await entries(operator, customer, 0) == []


async def test_a_stand_in_is_no_way_around_what_the_client_got_wrong(
    operator: Operator, client: Client, demo: DemoProcess
) -> None:
    upstream = upstream_name()
    stand_in = serve_model(operator, {"upstream_model": upstream})
    model = demo_model(operator, "status=400&code=bad", options={"fallbacks": [stand_in]})
    answer = await client.chat(operator.customer(), model)
    assert (answer.status, answer.error["code"]) == (400, "bad")
    assert received(demo, upstream) == []


# -- too long ------------------------------------------------------------------------------------------------------------


@every_dialect
async def test_what_is_too_long_is_refused_before_a_call(
    operator: Operator, client: Client, demo: DemoProcess, small: Unfit, dialect: Dialect
) -> None:
    text = "word " * 400
    long: Mapping[str, Any] = {
        "messages": [{"role": "user", "content": text}],
        "input": text,
        "contents": [{"parts": [{"text": text}]}],
    }
    fields = {name: value for name, value in long.items() if name in dialect.body}
    customer = operator.customer()
    await assert_refused_or_helped(
        small, partial(dialect.ask, client, customer), demo, fields, "context_length_exceeded"
    )
    assert [entry["model"] for entry in await entries(operator, customer, 2)] == [small.able, small.model]


async def test_what_may_fit_is_the_upstreams_to_judge(operator: Operator, client: Client) -> None:
    """Tokenizers differ: only what is surely too long is refused here."""
    model = demo_model(operator, "reply=fits", context_window=400)
    answer = await client.chat(operator.customer(), model, messages=[{"role": "user", "content": "word " * 410}])
    assert (answer.status, answer.text) == (200, "fits")


# -- not able --------------------------------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
PICTURE_URL = f"data:image/png;base64,{PIXEL}"
NEEDS: list[tuple[str, str, Mapping[str, Any]]] = [
    (
        "chat",
        "vision",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE_URL}}]}]},
    ),
    ("chat", "tools", {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]}),
    (
        "chat",
        "json_schema",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}},
    ),
    (
        "responses",
        "vision",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE_URL}]}]},
    ),
    ("responses", "tools", {"tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]}),
    (
        "responses",
        "json_schema",
        {"text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}}},
    ),
    (
        "messages",
        "vision",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
                    ],
                }
            ]
        },
    ),
    ("messages", "tools", {"tools": [{"name": "f", "input_schema": SCHEMA}]}),
    ("messages", "json_schema", {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
    (
        "gemini",
        "vision",
        {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}]}]},
    ),
    ("gemini", "tools", {"tools": [{"functionDeclarations": [{"name": "f"}]}]}),
    (
        "gemini",
        "json_schema",
        {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
    ),
    (
        "gemini",
        "json_schema",
        {"generation_config": {"response_mime_type": "application/json", "response_schema": {"type": "OBJECT"}}},
    ),
]


@pytest.mark.parametrize(("name", "need", "fields"), NEEDS, ids=[f"{name}-{need}" for name, need, _ in NEEDS])
async def test_what_a_model_cant_do_isnt_asked_of_it(
    operator: Operator,
    client: Client,
    demo: DemoProcess,
    unable: Unfit,
    name: str,
    need: str,
    fields: Mapping[str, Any],
) -> None:
    customer = operator.customer()
    ask = partial(DIALECTS[name].ask, client, customer)
    refused = await assert_refused_or_helped(unable, ask, demo, fields, "unsupported_by_model")
    assert f"doesn't support {need}.".encode() in refused.body
    assert [entry["model"] for entry in await entries(operator, customer, 2)] == [unable.able, unable.model]


async def test_a_channel_that_cant_leaves_it_to_one_that_can(
    operator: Operator, client: Client, demo: DemoProcess
) -> None:
    customer, unable = operator.customer(), upstream_name("reply=unable")
    model = serve_model(
        operator,
        {"upstream_model": unable, "options": {"lacks": ["tools"]}},
        {"upstream_model": upstream_name("reply=able")},
    )
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert (await client.chat(customer, model)).text == "unable"
    assert (await client.chat(customer, model, tools=[])).text == "unable"
    assert (await client.chat(customer, model, tools=tools)).text == "able"
    assert len(received(demo, unable)) == 2


async def test_words_about_pictures_are_none(operator: Operator, client: Client) -> None:
    """What stands inside a text is escaped there, so it can't be taken for a part."""
    model = demo_model(operator, "reply=read", options={"lacks": ["vision", "tools", "json_schema", "files", "audio"]})
    text = json.dumps(chat("m", tools=[{"type": "image_url"}], response_format={"type": "json_schema"}))
    answer = await client.chat(operator.customer(), model, messages=[{"role": "user", "content": text}])
    assert (answer.status, answer.text) == (200, "read")
