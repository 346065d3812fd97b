"""Jina: rerank, and embeddings in OpenAI's shape."""

from __future__ import annotations

from app.providers.base import NO_PATHS, Provider, Spot

PROVIDERS = (
    Provider(
        "jina",
        "https://api.jina.ai/v1",
        NO_PATHS,
        surfaces={"rerank": Spot("/rerank", "jina"), "embeddings": Spot("/embeddings")},
    ),
)
