"""Price lists for tests: the bundled one, small ones of a test's own, and files as genai-prices publishes them."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

from app.catalog.pricelist import PriceList, read_list


@cache
def bundled() -> PriceList:
    """What came with the installed genai-prices."""
    done = subprocess.run([sys.executable, "-m", "app.catalog.extract"], capture_output=True, check=True)
    return read_list(done.stdout)


def listed(amounts: dict[str, Any], since: str | None = None, hours: bool = False, **more: Any) -> dict[str, Any]:
    """Amounts as a list holds them; a pair is a base and its tiers."""
    whole = {
        name: {"base": amount} if isinstance(amount, str) else {"base": amount[0], "tiers": amount[1]}
        for name, amount in amounts.items()
    }
    return {"since": since, "hours": hours, "amounts": whole, **more}


def model(id: str, *prices: dict[str, Any], match: Any = None, variants: Any = ()) -> dict[str, Any]:
    return {
        "id": id,
        "name": id.title(),
        "match": match or {"equals": id},
        "context_window": None,
        "prices": list(prices),
        "variants": list(variants),
    }


def provider(id: str, *models: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": id,
        "name": id.title(),
        "api_pattern": rf"https://api\.{id}\.test",
        "model_match": None,
        "fallback": [],
        "pricing_url": None,
        "models": list(models),
        **fields,
    }


def price_list(*providers: dict[str, Any]) -> PriceList:
    return read_list(json.dumps({"library": "0", "update_url": "http://x", "providers": list(providers)}))


def published(input_mtok: float, **fields: Any) -> list[dict[str, Any]]:
    """A file of 5 providers with 20 models each, in the form of genai-prices' `data.json`; `vendor0/model0` has `fields`."""
    providers: list[dict[str, Any]] = []
    for place in range(5):
        models = [
            {
                "id": f"model{number}",
                "match": {"or": [{"equals": f"model{number}"}, {"starts_with": f"model{number}-20"}]},
                "prices": {
                    "input_mtok": input_mtok,
                    "output_mtok": {"base": 8, "tiers": [{"start": 200000, "price": 9}]},
                },
            }
            for number in range(20)
        ]
        providers.append(
            {
                "id": f"vendor{place}",
                "name": f"Vendor {place}",
                "api_pattern": rf"https?://api\.vendor{place}\.test",
                "model_match": {"starts_with": "model"} if place == 0 else None,
                "models": models,
            }
        )
    providers[0]["models"][0] |= fields
    return providers
