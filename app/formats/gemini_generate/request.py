"""Reading and patching a generateContent request without materialising its contents. Model and method are in its path.

Source of the fields: Google's API reference, "Generating content" and "Counting tokens", and google-genai's `models.py`.
"""

from __future__ import annotations

import msgspec

from app.errors import GatewayError, Kind, invalid_request
from app.formats.base import Request
from app.formats.body import MAX_OUTPUT_CAP, is_set, read_fields, read_required
from app.formats.gemini_generate.thoughts import without_foreign_thoughts

VERSIONS = ("/v1beta/", "/v1/")
COLLECTIONS = ("models/", "tunedModels/", "publishers/google/models/")
MODEL_PATHS = tuple(version + collection for version in VERSIONS for collection in COLLECTIONS)
"""SDKs put `models/` before a name without a slash in it; a name that begins with another collection goes as it is."""

METHODS = {"generateContent": False, "streamGenerateContent": True}
COUNT = "countTokens"

CONFIGS = ("generationConfig", "generation_config")
CAPS = ("maxOutputTokens", "max_output_tokens")
CHOICES = ("candidateCount", "candidate_count")
MAX_CHOICES = 128

_encode = msgspec.json.Encoder().encode
_integer = msgspec.json.Decoder(int | None, strict=False)
"""Numbers may stand in strings, as in any JSON of protocol buffers."""

_NO_CONTENTS = msgspec.Raw(b"[]")


def read_path(path: str) -> tuple[str, str]:
    """Model and method of a path, which has no percent escapes any more: `/v1beta/models/{model}:{method}`."""
    name, _, method = path.rpartition(":")
    for version in VERSIONS:
        name = name.removeprefix(version)
    for collection in ("models/", "publishers/google/", "models/"):  # some clients add what is there already
        name = name.removeprefix(collection)
    if not name:
        raise invalid_request("You must name a model.", "model", code="missing_required_parameter")
    return name, method


def counts(path: str) -> bool:
    return path.rpartition(":")[2] == COUNT


def read_request(body: bytes, path: str, query: bytes) -> Request:
    """Checks exactly the fields that the gateway acts on; the rest is between the client and the upstream.

    Raises GatewayError 404 for a method that there isn't.
    """
    model, method = read_path(path)
    stream = METHODS.get(method)
    if stream is None:
        raise GatewayError(Kind.NOT_FOUND, "not_found", f"Models have no method '{method}' here.")
    fields = read_fields(body)
    contents = read_required(fields, "contents", b"[{", "an array")
    cap, choices = _read_configs(fields)
    return Request(
        model=model,
        stream=stream,
        wants_usage=True,
        output_cap=cap,
        choices=choices,
        fields=fields,
        body=body,
        conversation=contents,
        framing="array" if stream and not _wants_events(query) else "sse",
    )


def read_count(body: bytes, path: str) -> Request:
    """A request for a count of input tokens: of `contents`, or of a whole `generateContentRequest`."""
    fields = read_fields(body)
    whole = next(
        (fields[name] for name in ("generateContentRequest", "generate_content_request") if name in fields), None
    )
    if whole is None:
        conversation = read_required(fields, "contents", b"[{", "an array")
    else:
        conversation = read_required({"generateContentRequest": whole}, "generateContentRequest", b"{", "an object")
    return Request(
        model=read_path(path)[0],
        stream=False,
        wants_usage=True,
        output_cap=None,
        choices=1,
        fields=fields,
        body=body,
        conversation=conversation,
    )


def write_count(tokens: int) -> bytes:
    return _encode({"totalTokens": tokens})


def write_request(request: Request, *, output_cap: int | None) -> bytes:
    """The request for an upstream: the very bytes that came, but for an output cap that is lowered.

    Another vendor's thoughts, which the gateway itself has sealed, are left out.
    """
    changed: dict[str, msgspec.Raw] = {}
    contents = request.fields.get("contents", _NO_CONTENTS)
    own = without_foreign_thoughts(contents)
    if own is not contents:
        changed["contents"] = own
    if output_cap is not None:
        changed |= _lower_cap(request.fields, output_cap)
    return _encode({**request.fields, **changed}) if changed else request.body


def _wants_events(query: bytes) -> bool:
    """`alt` chooses how a stream is framed; without it Google sends a JSON array, piece by piece."""
    return any(pair in (b"alt=sse", b"$alt=sse", b"%24alt=sse") for pair in query.split(b"&"))


def _read_configs(fields: dict[str, msgspec.Raw]) -> tuple[int | None, int]:
    """The output cap and the number of candidates; of both spellings the larger, which may have to be paid."""
    configs = _find_configs(fields).values()
    caps = [_read_number(config, name, MAX_OUTPUT_CAP) for config in configs for name in CAPS]
    choices = [_read_number(config, name, MAX_CHOICES) for config in configs for name in CHOICES]
    return max((cap for cap in caps if cap is not None), default=None), max((1, *(n for n in choices if n is not None)))


def _find_configs(fields: dict[str, msgspec.Raw]) -> dict[str, dict[str, msgspec.Raw]]:
    """The fields of the configuration, by the name it goes by."""
    found = {}
    for name in CONFIGS:
        raw = fields.get(name)
        if raw is None or not is_set(raw):
            continue
        if bytes(raw)[:1] != b"{":
            raise invalid_request(f"'{CONFIGS[0]}' must be an object.", CONFIGS[0], code="invalid_type")
        found[name] = read_fields(bytes(raw))
    return found


def _read_number(config: dict[str, msgspec.Raw], name: str, most: int) -> int | None:
    raw = config.get(name)
    if raw is None:
        return None
    path = f"{CONFIGS[0]}.{name}"
    try:
        value = _integer.decode(raw)
    except msgspec.MsgspecError as error:
        raise invalid_request(f"'{path}' must be an integer.", path, code="invalid_type") from error
    if value is not None and not 1 <= value <= most:
        raise invalid_request(f"'{path}' must be between 1 and {most}.", path, code="invalid_value")
    return None if value is None else int(value)


def _lower_cap(fields: dict[str, msgspec.Raw], output_cap: int) -> dict[str, msgspec.Raw]:
    """The configuration with the cap, put where the client has put its own."""
    found = _find_configs(fields) or {CONFIGS[0]: {}}
    named = [(config, name) for config in found.values() for name in CAPS if is_set(config.get(name))]
    for config, name in named or [(next(iter(found.values())), CAPS[0])]:
        asked = _read_number(config, name, MAX_OUTPUT_CAP)
        config[name] = msgspec.Raw(b"%d" % (output_cap if asked is None else min(asked, output_cap)))
    return {name: msgspec.Raw(_encode(config)) for name, config in found.items()}
