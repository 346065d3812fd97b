"""The default catalogue: whose price a name means, and what a vendor's way of pricing becomes here."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Any

import pytest

from app.catalog.pricelist import ListedModel, Origin, PriceList, find_model, find_origin, find_ref, matches, search
from app.catalog.prices import read_price, write_price
from app.catalog.tiers import Offer, read_offer
from app.core.usage import Usage
from tests.catalog.lists import bundled, listed, model, price_list, provider

TODAY = date(2030, 6, 15)


@pytest.fixture(scope="module")
def shelf() -> PriceList:
    """A maker, one who resells the maker's models under the same names, and one who has names of its own."""
    plain = listed({"input_mtok": "1"})
    return price_list(
        provider("reseller", model("maker/big", plain)),
        provider("maker", model("big", plain), model("small", plain), model_match={"starts_with": "big"}),
        provider("cloud", model("cloud-only", plain), fallback=["maker", "nobody"]),
        provider("x-ai", model("grok", plain)),
    )


@pytest.mark.parametrize(
    ("name", "origins", "ref"),
    [
        ("big", [], "maker/big"),
        ("BIG", [], "maker/big"),
        ("small", [], None),  # no vendor is known for making such names
        ("maker/small", [], "maker/small"),
        ("nobody/small", [], None),
        ("cloud/small", [], "maker/small"),
        ("big", [Origin("reseller", "https://x.test", "maker/big")], "reseller/maker/big"),
        ("anything", [Origin("reseller", "https://x.test", "maker/big")], "reseller/maker/big"),
        ("anything", [Origin("openai_compatible", "https://api.reseller.test/v1", "maker/big")], "reseller/maker/big"),
        ("anything", [Origin("openai_compatible", "https://x.test", "big")], None),
        ("anything", [Origin("cloud", "https://x.test", "big")], "maker/big"),
        ("anything", [Origin("xai", "https://x.test", "grok")], "x-ai/grok"),
        ("big", [Origin("reseller", "https://x.test", "unknown")], "maker/big"),
        ("a", [Origin("reseller", "", "unknown"), Origin("maker", "", "small")], "maker/small"),
        ("big*", [], None),  # whatever the names resemble that a star stands for: they may cost anything
        ("big*", [Origin("maker", "", "big*")], None),
        ("maker/*", [], None),
        ("any*", [Origin("maker", "", "small")], "maker/small"),
    ],
)
def test_a_model_is_found_where_it_is_bought_or_where_it_is_made(
    shelf: PriceList, name: str, origins: list[Origin], ref: str | None
) -> None:
    entry = find_model(shelf, name, origins)
    assert (None if entry is None else entry.ref) == ref


def test_an_entry_is_found_by_its_ref(shelf: PriceList) -> None:
    for entry in search(shelf, ""):
        found = find_ref(shelf, entry.ref)
        assert found is not None
        assert found.ref == entry.ref
    for ref in ("", "maker", "maker/", "maker/none", "cloud/big", "/big"):
        assert find_ref(shelf, ref) is None


def test_a_search_finds_every_word(shelf: PriceList) -> None:
    def refs(query: str) -> list[str]:
        return [entry.ref for entry in search(shelf, query)]

    assert refs("") == ["cloud/cloud-only", "maker/big", "maker/small", "reseller/maker/big", "x-ai/grok"]
    assert refs("big maker") == ["maker/big", "reseller/maker/big"]
    assert refs("Grok") == ["x-ai/grok"]
    assert refs("big grok") == []


@pytest.mark.parametrize(
    ("clause", "yes", "no"),
    [
        ({"equals": "A"}, ["a"], ["ab"]),
        ({"starts_with": "Gpt-"}, ["gpt-4"], ["x-gpt-"]),
        ({"ends_with": "-X"}, ["a-x"], ["x"]),
        ({"contains": "O1"}, ["ao1b"], ["o"]),
        ({"regex": r"^o\d$"}, ["o1"], ["o10"]),
        ({"or": [{"equals": "a"}, {"equals": "b"}]}, ["a", "b"], ["c"]),
        ({"and": [{"starts_with": "a"}, {"ends_with": "z"}]}, ["abz"], ["ab", "bz"]),
        ({"unheard_of": "a"}, [], ["a"]),
        ({}, [], ["a"]),
    ],
)
def test_clauses(clause: dict[str, Any], yes: list[str], no: list[str]) -> None:
    assert all(matches(clause, text) for text in yes)
    assert not any(matches(clause, text) for text in no)


# -- prices ----------------------------------------------------------------------------------------------------------


def offer(*prices: dict[str, Any], variants: Any = ()) -> Offer:
    (found,) = price_list(provider("p", model("m", *prices, variants=variants))).providers[0].shelf
    assert isinstance(found, ListedModel)
    return read_offer(found, TODAY)


def body(*prices: dict[str, Any], variants: Any = ()) -> dict[str, Any]:
    found = offer(*prices, variants=variants).price
    assert found is not None
    return write_price(found)


def test_units_become_ours() -> None:
    amounts = {
        "input_mtok": "1.5",
        "cache_write_5m_mtok": "2",
        "requests_kcount": "5",
        "web_searches_kcount": "10",
        "input_mchars": "15",
        "audio_hours": "0.36",
    }
    assert body(listed(amounts)) == {
        "input_mtok": "1.5",
        "cache_write_mtok": "2",
        "per_call": "0.005",
        "per_minute": "0.006",
        "per_kchar": "0.015",
        "per_search_unit": "0.01",
    }
    # what has no end in decimals is rounded up
    assert body(listed({"audio_hours": "0.0000001"})) == {"per_minute": "0.000000002"}


def test_what_cant_be_charged_is_named() -> None:
    found = offer(listed({"input_mtok": "1", "storage_searches_kcount": "2", "input_video_mtok": "3"}))
    assert found.price is not None
    assert found.left_out == ("input_video_mtok", "storage_searches_kcount")
    assert offer(listed({"input_document_kpages": "1"})) == Offer(None, ("input_document_kpages",))
    assert offer(listed({})) == offer() == Offer(None, ())


def test_context_tiers_become_variants() -> None:
    tiers = listed({"input_mtok": ("1", [[200_000, "2"]]), "output_mtok": ("8", [[200_000, "9"], [500_000, "10"]])})
    assert body(tiers) == {
        "input_mtok": "1",
        "output_mtok": "8",
        "variants": [
            {"when": {"context_over": 500000}, "input_mtok": "2", "output_mtok": "10"},
            {"when": {"context_over": 200000}, "input_mtok": "2", "output_mtok": "9"},
        ],
    }


def test_service_tiers_become_variants() -> None:
    whole = listed({"input_mtok": ("2", [[100, "4"]]), "output_mtok": "8", "per_nothing": "1"})
    variants = [
        listed({"input_mtok": ("1", [[100, "2"]])}, when={"processing": "batch"}),
        listed({"output_mtok": "16"}, when={"service_tier": "fast"}),
        listed({"output_mtok": "17"}, when={"service_tier": "priority"}),  # which is the same tier
        listed({"output_mtok": "99"}, when={"service_tier": "default"}),
        listed({"output_mtok": "99"}, since="2031-01-01", when={"service_tier": "flex"}),
        listed({"output_mtok": "99"}, when={"route": "eu"}),
    ]
    assert offer(whole, variants=variants).left_out == ("per_nothing", "when route=eu")
    assert body(whole, variants=variants) == {
        "input_mtok": "2",
        "output_mtok": "8",
        "variants": [
            {"when": {"service_tier": "batch", "context_over": 100}, "input_mtok": "2", "output_mtok": "8"},
            {"when": {"service_tier": "batch"}, "input_mtok": "1", "output_mtok": "8"},
            {"when": {"service_tier": "priority", "context_over": 100}, "input_mtok": "4", "output_mtok": "16"},
            {"when": {"service_tier": "priority"}, "input_mtok": "2", "output_mtok": "16"},
            {"when": {"context_over": 100}, "input_mtok": "4", "output_mtok": "8"},
        ],
    }


def test_a_tier_that_costs_the_same_is_no_variant() -> None:
    variants = [listed({"input_mtok": "1"}, when={"processing": "batch"})]
    assert body(listed({"input_mtok": "1"}), variants=variants) == {"input_mtok": "1"}


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ([None], "0"),
        ([None, "2030-06-15"], "1"),
        ([None, "2030-06-16"], "0"),
        ([None, "2030-01-01", "2030-06-01", "2030-07-01"], "2"),
        (["2030-07-01", "2030-08-01"], "0"),  # nothing has begun: the first
    ],
)
def test_the_price_of_today_counts(dates: list[str | None], expected: str) -> None:
    assert body(*(listed({"per_call": str(i), "input_mtok": str(i)}, since) for i, since in enumerate(dates)))[
        "input_mtok"
    ] == (expected)


def test_of_hours_the_dearest_counts() -> None:
    night = listed({"input_mtok": "1", "output_mtok": "2"})
    day = listed({"input_mtok": "2", "output_mtok": "4"}, hours=True)
    assert (
        body(night, day)
        == body(day | {"hours": False}, night | {"hours": True})
        == write_price(read_price({"input_mtok": "2", "output_mtok": "4"}))
    )
    # hours of a price that is over are over
    assert body(night, day, listed({"input_mtok": "1", "output_mtok": "1"}, "2030-01-01"))["output_mtok"] == "1"


# -- what came with the release ----------------------------------------------------------------------------------------


def test_everything_bundled_becomes_a_price_of_ours() -> None:
    today = datetime.now(UTC).date()
    priced = 0
    for entry in search(bundled(), ""):
        found = read_offer(entry.model, today)
        if found.price is not None:
            priced += 1
            assert read_price(write_price(found.price)) == found.price, entry.ref
            assert 0 <= found.price.cost(Usage(1000, 1000)) <= found.price.worst_cost(1000, 1000), entry.ref
    assert priced > 1000


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("demo", None),
        ("org/m-0123456789ab", None),
        ("advanced-voice", None),
        ("sora_video2", None),
    ],
)
def test_names_that_the_bundled_list_knows(name: str, ref: str | None) -> None:
    entry = find_model(bundled(), name, [])
    assert (None if entry is None else entry.ref) == ref


def test_our_own_providers_sell_nothing() -> None:
    for name in ("demo", "ollama", "vllm", "openai_compatible", "openai_videos", "unified"):
        assert find_origin(bundled(), Origin(name, "http://127.0.0.1:1/v1", "gpt-4o")) is None


def test_a_gateway_never_loads_the_library() -> None:
    script = "import sys, app.main, app.cli; sys.exit(any(name.startswith('genai_prices') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
