"""Upstream vendors, one folder a family, discovered: each folder offers `PROVIDERS`, frozen data plus few functions."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from app.providers.base import Provider


def discover() -> Mapping[str, Provider]:
    """Every provider of every folder here, by name."""
    found: dict[str, Provider] = {}
    for folder in pkgutil.iter_modules(__path__):
        if folder.ispkg:
            module = importlib.import_module(f"{__name__}.{folder.name}")
            for provider in module.PROVIDERS:
                assert provider.name not in found, f"two providers are named {provider.name}"
                found[provider.name] = provider
    return found
