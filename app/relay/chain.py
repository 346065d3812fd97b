"""The models that may answer instead of the one asked for: `models: [...]` of a request, as OpenRouter has it."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from app.errors import invalid_request
from app.formats.base import Request

FIELD = "models"
MAX_MODELS = 10
MAX_NAME = 200

_names = msgspec.json.Decoder(list[str] | None).decode
_encode = msgspec.json.Encoder().encode


def take_chain(request: Request) -> tuple[Request, tuple[str, ...]]:
    """The request without its field `models`, which is the gateway's to obey, and the names that stood there.

    Raises GatewayError 400 naming the field.
    """
    given = request.fields.get(FIELD)
    if given is None:
        return request, ()
    message = f"`{FIELD}` must be a list of at most {MAX_MODELS} model names."
    try:
        names = _names(given) or []
    except msgspec.DecodeError as error:
        raise invalid_request(message, FIELD) from error
    if len(names) > MAX_MODELS or any(not 0 < len(name) <= MAX_NAME for name in names):
        raise invalid_request(message, FIELD)
    fields = {name: value for name, value in request.fields.items() if name != FIELD}
    return replace(request, fields=fields, body=_encode(fields)), tuple(names)
