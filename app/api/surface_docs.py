"""The surfaces beside chat, and the objects that upstreams keep, as OpenAPI shows them: documentation only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.api.relay_docs import OPENAI_ERROR, describe_operation
from app.providers.base import OPENAI_OBJECTS

_STRING = {"type": "string"}
_TEXTS = {"anyOf": [_STRING, {"type": "array", "items": {}}]}
_STREAM = {"type": "boolean", "default": False}
_FILE = {"type": "string", "format": "binary"}
_JSON, _FORM = "application/json", "multipart/form-data"


def _surface(
    id: str,
    summary: str,
    description: str,
    properties: Mapping[str, Any],
    example: Mapping[str, Any],
    *,
    needs: tuple[str, ...],
    **more: Any,
) -> dict[str, Any]:
    return describe_operation(
        id,
        summary,
        description,
        required=("model", *needs),
        properties={"model": _STRING, **properties},
        example={"model": "demo", **example},
        error=OPENAI_ERROR,
        answer=more.pop("answer", "As OpenAI answers."),
        tag="surfaces",
        **{"streams": False, **more},
    )


_RANKED = {"query": "cats", "documents": ["dogs", "cats"]}
_RANKS = {"query": _STRING, "documents": {"type": "array", "items": {}}, "top_n": {"type": "integer"}}
_PAINTED = {"prompt": _STRING, "n": {"type": "integer"}, "size": _STRING, "quality": _STRING, "stream": _STREAM}
_HEARD = {"file": _FILE, "response_format": _STRING, "stream": _STREAM}

_SURFACES: Mapping[str, dict[str, Any]] = {
    "/v1/completions": _surface(
        "create_completion",
        "Create a completion",
        "OpenAI's Completions, for models of before chat and for servers that offer it.",
        {"prompt": _TEXTS, "max_tokens": {"type": "integer"}, "n": {"type": "integer"}, "stream": _STREAM},
        {"prompt": "A cat says"},
        needs=(),
        streams=True,
    ),
    "/v1/embeddings": _surface(
        "create_embedding",
        "Create embeddings",
        "OpenAI's Embeddings: a text, texts or tokens. Converted where the upstream is Gemini or Cohere.",
        {"input": _TEXTS, "dimensions": {"type": "integer"}, "encoding_format": {"enum": ["float", "base64"]}},
        {"input": "A cat"},
        needs=("input",),
    ),
    "/v1/moderations": _surface(
        "create_moderation",
        "Classify texts and pictures",
        "OpenAI's Moderations. Without a model `omni-moderation-latest` is meant, which may be an alias.",
        {"input": _TEXTS},
        {"input": "A cat"},
        needs=("input",),
    ),
    "/v1/rerank": _surface(
        "rerank",
        "Rank documents",
        "In the shape of Jina and vLLM, whatever the upstream speaks.",
        _RANKS,
        _RANKED,
        needs=("query", "documents"),
        answer="`results`, the best first, and `usage`.",
    ),
    "/v2/rerank": _surface(
        "rerank_cohere",
        "Rank documents, as Cohere does",
        "In the shape of Cohere's v2, whatever the upstream speaks.",
        _RANKS,
        _RANKED,
        needs=("query", "documents"),
        answer="`results`, the best first, and `meta.billed_units`.",
    ),
    "/v1/images/generations": _surface(
        "create_image",
        "Create images",
        "OpenAI's Images. Models of other vendors answer too, as a task of the media API whose id stands in "
        "`x-relaygate-task-id`.",
        _PAINTED,
        {"prompt": "A cat"},
        needs=("prompt",),
        streams=True,
    ),
    "/v1/images/edits": _surface(
        "edit_image",
        "Edit images",
        "OpenAI's Image Edits, as a form with files or as JSON.",
        {**_PAINTED, "image": _FILE, "mask": _FILE},
        {"prompt": "A cat", "image": "(a file)"},
        needs=("prompt", "image"),
        streams=True,
        asks=(_FORM, _JSON),
    ),
    "/v1/images/variations": _surface(
        "create_image_variation",
        "Vary an image",
        "OpenAI's Image Variations, for upstreams that still offer them.",
        {"image": _FILE, "n": {"type": "integer"}, "size": _STRING},
        {"image": "(a file)"},
        needs=("image",),
        asks=(_FORM,),
    ),
    "/v1/audio/speech": _surface(
        "create_speech",
        "Speak a text",
        "OpenAI's Speech: the sound comes while it is made, as a file or with `stream_format: sse` as events.",
        {"input": _STRING, "voice": {}, "response_format": _STRING, "stream_format": {"enum": ["sse", "audio"]}},
        {"input": "Hello", "voice": "alloy"},
        needs=("input",),
        streams=True,
        answers="audio/mpeg",
        answer="The sound.",
    ),
    "/v1/audio/transcriptions": _surface(
        "create_transcription",
        "Write down a recording",
        "OpenAI's Transcriptions, in every `response_format`. Recordings of RELAYGATE_MAX_UPLOAD_MB at most.",
        _HEARD,
        {"file": "(a file)"},
        needs=("file",),
        streams=True,
        asks=(_FORM,),
    ),
    "/v1/audio/translations": _surface(
        "create_translation",
        "Write down a recording in English",
        "OpenAI's Translations.",
        _HEARD,
        {"file": "(a file)"},
        needs=("file",),
        asks=(_FORM,),
    ),
}

_ID = {"name": "id", "in": "path", "required": True, "schema": _STRING}
_REFUSED = {"description": "See docs/errors.md for every code.", "content": {_JSON: {"example": OPENAI_ERROR}}}
_WORDS: Mapping[str, tuple[str, str]] = {
    "files": ("file", "Uploads a file, as a form. One with purpose `batch` is read line by line first."),
    "uploads": ("upload", "Begins an upload in parts; completed, it becomes a file."),
    "batches": ("batch", "Starts a batch. What its requests may cost at most is held until it is over."),
    "vector_stores": ("vector store", "Makes a vector store."),
    "conversations": ("conversation", "Makes a conversation that responses can go on with."),
    "containers": ("container", "Makes a container for code."),
}


def _act(id: str, summary: str, description: str, *, of_one: bool, asks: str | None = None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": ["objects"],
        "summary": summary,
        "description": f"{description} Visible to the account alone that made it, and kept by the channel that did.",
        "operationId": id,
        "responses": {
            "200": {"description": "As OpenAI answers.", "content": {_JSON: {}}},
            **dict.fromkeys(("400", "401", "403", "404", "429", "502", "503", "504"), _REFUSED),
        },
    }
    if of_one:
        operation["parameters"] = [_ID]
    if asks is not None:
        schema = {"type": "object", "additionalProperties": True}
        operation["requestBody"] = {"required": True, "content": {asks: {"schema": schema}}}
    return operation


def _objects() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for family in OPENAI_OBJECTS:
        word, makes = _WORDS[family]
        plural = family.replace("_", " ")
        asks = _FORM if family == "files" else _JSON
        found[f"/v1/{family}"] = {
            "get": _act(f"list_{family}", f"List {plural}", "Page by page (`limit`, `after`, `order`).", of_one=False),
            "post": _act(f"create_{family}", f"Create a {word}", makes, of_one=False, asks=asks),
        }
        found[f"/v1/{family}/{{id}}"] = {
            "get": _act(f"get_{family}", f"Get a {word}", "As its upstream has it now.", of_one=True),
            "delete": _act(f"delete_{family}", f"Delete a {word}", "Its upstream forgets it.", of_one=True),
        }
    return found


SURFACE_PATHS: Mapping[str, dict[str, Any]] = {**_SURFACES, **_objects()}
"""By path, as OpenAPI has them."""
