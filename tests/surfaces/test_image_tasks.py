"""OpenAI's images of models that speak no OpenAI: one task a request, its pictures the answer, its money its own."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.gateway import Customer, Operator
from tests.surfaces.vendor import UPSTREAM_MODEL, Vendor, charged

PICTURE = b"\x89PNG\r\n\x1a\n" + b"pixels"
MADE = {
    "candidates": [
        {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PICTURE).decode()}}]}}
    ],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1290},
}
PROMPT = "A cat."


@pytest.fixture
def customer(operator: Operator) -> Customer:
    return operator.customer()


def test_gemini_paints_for_openais_clients(fresh: Vendor, operator: Operator, customer: Customer) -> None:
    model = fresh.model("image", {"per_image": "0.04"}, "gemini")
    fresh.answers(MADE)
    asked = {"model": model, "prompt": PROMPT, "size": "1024x1024", "user": "u"}
    answer = fresh.http.post("/v1/images/generations", json=asked, headers=customer.headers)
    assert answer.status_code == 200, answer.text
    (picture,) = answer.json()["data"]
    assert base64.b64decode(picture["b64_json"]) == PICTURE
    assert fresh.received().path == f"/v1beta/models/{UPSTREAM_MODEL}:generateContent"
    assert fresh.received().json()["generationConfig"]["imageConfig"]["aspectRatio"] == "1:1"
    assert str(charged(fresh.entry(customer))) == "0.04"
    task = fresh.http.get(
        f"/v2/images/generations/{answer.headers['x-relaygate-task-id']}", headers=customer.headers
    ).json()
    assert task["status"] == "SUCCESS"


def test_as_a_link_and_as_a_stream(fresh: Vendor, customer: Customer) -> None:
    model = fresh.model("image", None, "gemini")
    fresh.answers(MADE)
    asked: dict[str, Any] = {"model": model, "prompt": PROMPT}
    answer = fresh.http.post(
        "/v1/images/generations", json={**asked, "response_format": "url"}, headers=customer.headers
    )
    (picture,) = answer.json()["data"]
    assert fresh.http.get(picture["url"]).content == PICTURE
    answer = fresh.http.post("/v1/images/generations", json={**asked, "stream": True}, headers=customer.headers)
    (data,) = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    event = json.loads(data)
    assert (event["type"], base64.b64decode(event["b64_json"])) == ("image_generation.completed", PICTURE)


@pytest.mark.parametrize("as_form", [False, True])
def test_edits_start_from_the_clients_pictures(fresh: Vendor, customer: Customer, as_form: bool) -> None:
    model = fresh.model("image", None, "gemini")
    fresh.answers(MADE)
    encoded = base64.b64encode(PICTURE).decode()
    if as_form:
        files = [("image[]", ("a.png", PICTURE, "image/png")), ("image[]", ("b.png", PICTURE, "image/png"))]
        answer = fresh.http.post(
            "/v1/images/edits", data={"model": model, "prompt": PROMPT}, files=files, headers=customer.headers
        )
    else:
        shown = [{"image_url": f"data:image/png;base64,{encoded}"}] * 2
        answer = fresh.http.post(
            "/v1/images/edits", json={"model": model, "prompt": PROMPT, "images": shown}, headers=customer.headers
        )
    assert answer.status_code == 200, answer.text
    told = fresh.received().json()["contents"][0]["parts"]
    assert told == [{"text": PROMPT}, *[{"inlineData": {"mimeType": "image/png", "data": encoded}}] * 2]


def test_what_cannot_be_carried_is_named(fresh: Vendor, customer: Customer) -> None:
    model = fresh.model("image", {"per_image": "1"}, "gemini")
    for field, value in (("n", 2), ("mask", "data:image/png;base64,AA=="), ("response_format", "svg")):
        asked = {"model": model, "prompt": PROMPT, field: value}
        answer = fresh.http.post("/v1/images/generations", json=asked, headers=customer.headers)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field), answer.text
    assert not fresh.recorder.requests
    assert not fresh.operator.entries(customer)


def test_a_refused_prompt_costs_nothing(fresh: Vendor, customer: Customer) -> None:
    model = fresh.model("image", {"per_image": "1"}, "gemini")
    fresh.answers({"promptFeedback": {"blockReason": "SAFETY"}})
    answer = fresh.http.post(
        "/v1/images/generations", json={"model": model, "prompt": PROMPT}, headers=customer.headers
    )
    assert answer.status_code == 400, answer.text
    assert answer.headers["x-should-retry"] == "false"
    (entry,) = fresh.operator.entries(customer, count=1)
    assert (entry["status"], entry["charged"]) == ("released", "0")


@pytest.mark.parametrize(("said", "code"), [({"n": ""}, 200), ({"n": "abc"}, 400), ({"n[]": "abc"}, 200)])
def test_a_number_in_a_form(fresh: Vendor, customer: Customer, said: dict[str, str], code: int) -> None:
    model = fresh.model("image", None, "gemini")
    fresh.answers(MADE)
    data = {"model": model, "prompt": PROMPT, **said}
    files = {"image": ("a.png", PICTURE, "image/png")}
    answer = fresh.http.post("/v1/images/edits", data=data, files=files, headers=customer.headers)
    assert answer.status_code == code, answer.text


@pytest.mark.parametrize(("count", "megabytes"), [(1, 21), (11, 1)])
def test_pictures_are_refused_before_they_are_read(
    fresh: Vendor, customer: Customer, count: int, megabytes: int
) -> None:
    model = fresh.model("image", {"per_image": "1"}, "gemini")
    files = [("image[]", ("a.png", PICTURE + bytes(megabytes * 2**20), "image/png"))] * count
    data = {"model": model, "prompt": PROMPT}
    answer = fresh.http.post("/v1/images/edits", data=data, files=files, headers=customer.headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image"), answer.text
    assert not fresh.operator.entries(customer)


def test_half_a_character_is_no_reason_to_refuse(fresh: Vendor, customer: Customer) -> None:
    model = fresh.model("image", None)
    fresh.answers({"created": 1, "data": [{"b64_json": "x"}]})
    body = b'{"model":"%s","prompt":"x","image":"\\ud83d"}' % model.encode()
    headers = {**customer.headers, "content-type": "application/json"}
    assert fresh.http.post("/v1/images/generations", content=body, headers=headers).status_code == 200
