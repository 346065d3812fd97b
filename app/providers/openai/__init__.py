"""OpenAI itself, and Azure, which serves the same API under each resource's own host: chat, images and speech."""

from __future__ import annotations

from app.providers.base import CHAT, COUNTED, OPENAI_OBJECTS, OPENAI_SURFACES, RESPONSES, Provider
from app.providers.openai.media import OpenAIMedia

PROVIDERS = (
    # Reasoning models refuse max_tokens.
    Provider(
        "openai",
        "https://api.openai.com/v1",
        {**CHAT, **RESPONSES},
        count_paths=COUNTED,
        cap_field="max_completion_tokens",
        surfaces=OPENAI_SURFACES,
        objects=OPENAI_OBJECTS,
        media=OpenAIMedia("openai"),
    ),
    # Its v1 API has OpenAI's paths; `model` is the deployment's name. For images and speech that is what its clients do,
    # and unverified: openai-python's own Azure client knows the older paths alone.
    Provider(
        "azure",
        None,
        {**CHAT, **RESPONSES},
        auth_header="api-key",
        auth_prefix="",
        cap_field="max_completion_tokens",
        surfaces=OPENAI_SURFACES,
        objects=OPENAI_OBJECTS,
        media=OpenAIMedia("azure"),
    ),
)
