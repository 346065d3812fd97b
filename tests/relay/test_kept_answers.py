"""Responses that an upstream keeps: built upon, asked about, deleted, for the account alone that got them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from openai import ConflictError, NotFoundError, OpenAI, RateLimitError

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.relay.calls import demo_model, serve_model, upstream_name

RESPONSES = {"options": {"formats": ["openai_responses"]}}


@pytest.fixture(scope="module")
def owner(operator: Operator) -> Customer:
    return operator.customer()


def _sdk(gateway: Gateway, customer: Customer) -> OpenAI:
    return OpenAI(base_url=gateway.base_url, api_key=customer.key, max_retries=0)


def _heard(demo: DemoProcess, of: str) -> int:
    """How many requests that name something have reached the upstream, which other tests' late calls reach as well."""
    return len(demo.settled(of))


def _model(operator: Operator, options: str = "", **fields: Any) -> str:
    return serve_model(operator, {"upstream_model": upstream_name(options), **RESPONSES}, **fields)


def test_a_conversation_goes_on_at_the_channel_that_keeps_it(
    operator: Operator, gateway: Gateway, demo: DemoProcess, owner: Customer
) -> None:
    first, second = upstream_name("echo=1"), upstream_name("echo=1")
    model = serve_model(
        operator,
        {"upstream_model": first, "priority": 0, **RESPONSES},
        {"upstream_model": second, "priority": 0, **RESPONSES},
    )
    with _sdk(gateway, owner) as sdk:
        answer = sdk.responses.create(model=model, input="one")
        made_by = answer.model
        for turn in range(6):
            answer = sdk.responses.create(model=model, input=f"turn {turn}", previous_response_id=answer.id)
            assert answer.model == made_by
            assert answer.output_text == f"turn {turn}"


def test_a_streamed_answer_is_kept_too(operator: Operator, gateway: Gateway, owner: Customer) -> None:
    model = _model(operator)
    with _sdk(gateway, owner) as sdk:
        events = list(sdk.responses.create(model=model, input="one", stream=True))
        made = events[-1].response  # type: ignore[union-attr]
        assert sdk.responses.retrieve(made.id).output_text == made.output_text
        assert sdk.responses.create(model=model, input="two", previous_response_id=made.id).status == "completed"


def test_it_can_be_asked_about_and_deleted(operator: Operator, gateway: Gateway, owner: Customer) -> None:
    model = _model(operator)
    with _sdk(gateway, owner) as sdk:
        made = sdk.responses.create(model=model, input="What was asked")
        assert sdk.responses.retrieve(made.id).output_text == made.output_text
        (item,) = sdk.responses.input_items.list(made.id).data
        assert "What was asked" in item.to_json()
        sdk.responses.delete(made.id)
        for call in (sdk.responses.retrieve, sdk.responses.delete, sdk.responses.cancel):
            with pytest.raises(NotFoundError):
                call(made.id)


@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
)
def test_another_accounts_is_a_404_that_no_upstream_hears_of(
    operator: Operator, gateway: Gateway, demo: DemoProcess, owner: Customer, method: str, rest: str
) -> None:
    model = _model(operator)
    with _sdk(gateway, owner) as sdk:
        made = sdk.responses.create(model=model, input="secret")
        sdk.responses.retrieve(made.id)
    stranger = operator.customer()
    nobodys = "resp_" + "0" * 40
    path = f"{gateway.base_url}/responses/{made.id}{rest}"
    with httpx2.Client(headers=stranger.headers) as http:
        refused = http.request(method, path)
        unknown = http.request(method, path.replace(made.id, nobodys))
    assert refused.status_code == unknown.status_code == 404
    assert refused.json()["error"]["code"] == "previous_response_not_found"
    told = refused.json()["error"]["message"], unknown.json()["error"]["message"]
    assert told[0].replace(made.id, "") == told[1].replace(nobodys, "")
    assert (_heard(demo, made.id), _heard(demo, nobodys)) == (1, 0)


def test_another_accounts_cannot_be_built_upon(operator: Operator, gateway: Gateway, owner: Customer) -> None:
    model = _model(operator)
    with _sdk(gateway, owner) as sdk:
        made = sdk.responses.create(model=model, input="secret")
    stranger = operator.customer()
    with _sdk(gateway, stranger) as sdk, pytest.raises(NotFoundError) as caught:
        sdk.responses.create(model=model, input="what was it?", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"
    assert operator.entries(stranger) == []


def test_what_isnt_stored_isnt_remembered(operator: Operator, gateway: Gateway, owner: Customer) -> None:
    model = _model(operator)
    with _sdk(gateway, owner) as sdk:
        made = sdk.responses.create(model=model, input="one", store=False)
        with pytest.raises(NotFoundError):
            sdk.responses.retrieve(made.id)


def test_a_converted_answer_is_kept_nowhere(operator: Operator, gateway: Gateway, owner: Customer) -> None:
    model = serve_model(operator, {"upstream_model": upstream_name(), "options": {"formats": ["openai_chat"]}})
    with _sdk(gateway, owner) as sdk:
        raw = sdk.responses.with_raw_response.create(model=model, input="one", store=True)
        made = raw.parse()
        assert raw.headers["x-relaygate-dropped"] == "store"
        assert made.store is False  # type: ignore[attr-defined]
        with pytest.raises(NotFoundError):
            sdk.responses.create(model=model, input="two", previous_response_id=made.id)


def test_a_key_that_may_no_longer_call_the_model_may_not_read_its_answers(operator: Operator, gateway: Gateway) -> None:
    customer = operator.customer()
    model = _model(operator)
    with _sdk(gateway, customer) as sdk:
        made = sdk.responses.create(model=model, input="one")
        other = demo_model(operator)
        operator.call("PATCH", f"/keys/{customer.key_id}", json={"models": [other]})
        with pytest.raises(NotFoundError):
            sdk.responses.retrieve(made.id)


@pytest.mark.long
def test_a_background_response_is_charged_once_it_is_done(operator: Operator, gateway: Gateway) -> None:
    customer = operator.customer()
    model = _model(operator, "polls=2&tokens=20")
    with _sdk(gateway, customer) as sdk:
        made = sdk.responses.create(model=model, input="one", background=True)
        assert made.status in ("queued", "in_progress")
        assert operator.account(customer)["held"] != "0"
        (entry,) = operator.entries(customer, count=1, timeout=30)
        done = sdk.responses.retrieve(made.id)
    assert done.status == "completed"
    assert done.usage is not None
    assert entry["usage"]["output_tokens"] == done.usage.output_tokens == 20
    assert entry["usage"]["input_tokens"] == done.usage.input_tokens
    assert (entry["status"], entry["estimated"], entry["error"]) == ("settled", False, None)
    assert operator.audit()["ok"]


def test_a_background_stream_that_nobody_listens_to_is_charged(operator: Operator, gateway: Gateway) -> None:
    customer = operator.customer()
    model = _model(operator, "tokens=30&stall=chunk:1")
    body = {"model": model, "input": "one", "background": True, "stream": True}
    with (
        httpx2.Client(headers=customer.headers) as http,
        http.stream("POST", f"{gateway.base_url}/responses", json=body) as response,
    ):
        first = next(line for line in response.iter_lines() if line.startswith("data: "))
    made = json.loads(first.removeprefix("data: "))["response"]["id"]
    (entry,) = operator.entries(customer, count=1, timeout=30)
    with _sdk(gateway, customer) as sdk:
        done = sdk.responses.retrieve(made)
    assert done.usage is not None
    assert entry["usage"]["output_tokens"] == done.usage.output_tokens == 30
    assert (entry["status"], entry["estimated"]) == ("settled", False)


def test_a_background_response_is_not_deleted_before_it_is_charged(operator: Operator, gateway: Gateway) -> None:
    customer = operator.customer()
    model = _model(operator, "polls=1&tokens=25")
    with _sdk(gateway, customer) as sdk:
        made = sdk.responses.create(model=model, input="one", background=True)
        assert sdk.responses.retrieve(made.id).status == "completed"
        with pytest.raises(ConflictError) as caught:
            sdk.responses.delete(made.id)
        assert caught.value.code == "response_in_progress"
        (entry,) = operator.entries(customer, count=1, timeout=30)
        assert entry["usage"]["output_tokens"] == 25
        sdk.responses.delete(made.id)


def test_items_go_by_their_id_for_their_account_alone(
    operator: Operator, gateway: Gateway, demo: DemoProcess, owner: Customer
) -> None:
    model = _model(operator, "reply=The+word+is+plum")
    with _sdk(gateway, owner) as sdk:
        made = sdk.responses.create(model=model, input="What is the word?")
        (item,) = made.output
        given: Any = [{"type": "item_reference", "id": item.id}, {"role": "user", "content": "Again?"}]
        assert sdk.responses.create(model=model, input=given).status == "completed"
        streamed = sdk.responses.create(model=model, input="What is the word?", stream=True)
        last: Any = list(streamed)[-1]
        given = [{"type": "item_reference", "id": last.response.output[0].id}, {"role": "user", "content": "Again?"}]
        assert sdk.responses.create(model=model, input=given).status == "completed"
    asked = _heard(demo, "word+is+plum")
    stranger = operator.customer()
    both: Any = [{"type": "item_reference", "id": item.id}, {"role": "user", "content": "What was it?"}]
    bare: Any = [{"id": item.id}, {"role": "user", "content": "What was it?"}]
    with _sdk(gateway, stranger) as sdk:
        mine = sdk.responses.create(model=model, input="My own")
        for fields in (
            {"input": both},
            {"input": bare},
            {"input": both, "previous_response_id": mine.id},
            {"input": "x", "previous_response_id": mine.id, "conversation": "conv_0"},
        ):
            with pytest.raises(NotFoundError) as caught:
                sdk.responses.create(model=model, **fields)
            assert caught.value.code == "previous_response_not_found"
    assert (asked, _heard(demo, "word+is+plum")) == (4, 5)


def test_what_is_kept_is_held_for(operator: Operator, gateway: Gateway) -> None:
    customer = operator.customer("0.0101")
    model = _model(operator, "tokens=1", price={"input_mtok": "1", "output_mtok": "1"})
    with _sdk(gateway, customer) as sdk:
        made = sdk.responses.create(model=model, input="word " * 6000, max_output_tokens=16)
        with pytest.raises(RateLimitError) as caught:
            sdk.responses.create(model=model, input="x", previous_response_id=made.id, max_output_tokens=16)
    assert caught.value.code == "insufficient_quota"


@pytest.mark.parametrize("id", ["a\0b", "x" * 600, "resp_é"])
def test_an_id_that_is_none_is_not_found(operator: Operator, gateway: Gateway, owner: Customer, id: str) -> None:
    model = _model(operator)
    with httpx2.Client(base_url=gateway.url, headers=owner.headers) as http:
        body = {"model": model, "input": "x", "previous_response_id": id}
        assert http.post("/v1/responses", json=body).status_code == 404
        assert http.get(f"/responses/{quote(id)}").status_code == 404
