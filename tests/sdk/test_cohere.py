"""Cohere's own SDK takes the gateway for Cohere when it ranks, whatever the upstream speaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway import Customer, Gateway, Operator
from tests.providers.recorder import run_recorder
from tests.surfaces.vendor import Vendor

pytestmark = pytest.mark.long
RANKED = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.25}]
ANSWERS = {
    "cohere": {"id": "c", "results": RANKED, "meta": {"billed_units": {"search_units": 1}}},
    "jina": {"model": "j", "results": RANKED, "usage": {"total_tokens": 9}},
    "vllm": {"id": "v", "model": "v", "results": RANKED, "usage": {"prompt_tokens": 9, "total_tokens": 9}},
}


@pytest.fixture(scope="module")
def vendor(operator: Operator) -> Iterator[Vendor]:
    with run_recorder() as recorder, Vendor.open(operator, recorder) as vendor:
        yield vendor


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("provider", ANSWERS)
async def test_rerank(gateway: Gateway, operator: Operator, vendor: Vendor, provider: str) -> None:
    import cohere

    customer: Customer = operator.customer()
    model = vendor.model("rerank", {"per_search_unit": "0.002"}, provider)
    vendor.answers(ANSWERS[provider])
    asked: dict[str, Any] = {"model": model, "query": "cats", "documents": ["dogs", "cats"], "top_n": 2}
    with cohere.ClientV2(api_key=customer.key, base_url=gateway.url) as plain:
        answer = plain.rerank(**asked)
    assert [(result.index, result.relevance_score) for result in answer.results] == [(1, 0.9), (0, 0.25)]
    assert answer.meta.billed_units.search_units == 1
    async with cohere.AsyncClientV2(api_key=customer.key, base_url=gateway.url) as other:
        assert (await other.rerank(**asked)).results[0].index == 1
    assert [entry["charged"] for entry in operator.entries(customer, count=2)] == ["0.002", "0.002"]


async def test_a_wrong_key(gateway: Gateway) -> None:
    import cohere

    with (
        cohere.ClientV2(api_key="sk-wrong", base_url=gateway.url) as client,
        pytest.raises(cohere.UnauthorizedError),
    ):
        client.rerank(model="m", query="q", documents=["d"])
