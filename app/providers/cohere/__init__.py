"""Cohere: rerank and embeddings in its own shapes, chat over its endpoint for OpenAI's clients.

The base URL is the API's root, without a version, as Cohere's own SDK takes it.
"""

from __future__ import annotations

from app.providers.base import Provider, Spot

PROVIDERS = (
    Provider(
        "cohere",
        "https://api.cohere.com",
        {"openai_chat": "/compatibility/v1/chat/completions"},
        surfaces={"rerank": Spot("/v2/rerank", "cohere"), "embeddings": Spot("/v2/embed", "cohere")},
    ),
)
