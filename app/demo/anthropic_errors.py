"""Errors in Anthropic's shape, the headers that its API asks for, and its words for a field that doesn't fit."""

from dataclasses import dataclass

import orjson

from app.demo.answering import Fault, retry_headers
from app.demo.exchange import Exchange
from app.demo.faults import JSON
from app.demo.options import Options
from app.demo.shapes import Misfit

# https://platform.claude.com/docs/en/api/errors
KINDS = {
    400: ("invalid_request_error", "The demo upstream refuses this request."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "model: demo"),
    409: ("conflict_error", "The resource was changed meanwhile."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request timed out."),
    529: ("overloaded_error", "Overloaded"),
}
VERSIONS = ("2023-01-01", "2023-06-01", "2026-10-21")
TYPE_NAMES = {"object": "dictionary", "array": "list"}


class Refusal(Exception):
    """A request that is refused: HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, by the headers: the key, the API version, the betas."""

    credential: str
    version: str
    betas: tuple[str, ...]

    @property
    def modern(self) -> bool:
        """Whether the API version is one of those since 2026, which refuse more."""
        return self.version >= "2026"


def read_caller(exchange: Exchange) -> Caller:
    """Reads key, version and betas; raises Refusal for a missing or a `bad` key, and for an unknown version."""
    scheme, _, token = exchange.header(b"authorization").partition(" ")
    credential = token if scheme.lower() == "bearer" else ""
    credential = credential or exchange.header(b"x-api-key")
    if not credential:
        raise Refusal(401, "x-api-key header is required")
    if "bad" in credential:
        raise Refusal(401, "invalid x-api-key")
    version = exchange.header(b"anthropic-version")
    if not version:
        raise Refusal(400, "anthropic-version: header is required")
    if version not in VERSIONS:
        raise Refusal(400, f'anthropic-version: "{version}" is not a valid version')
    betas = [beta.strip() for beta in exchange.header(b"anthropic-beta").split(",")]
    return Caller(credential, version, tuple(beta for beta in betas if beta))


def write_error(kind: str, message: str, request_id: str, code: str | None = None) -> bytes:
    """The error object as Anthropic's SDKs read it."""
    error: dict[str, object] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id})


def fault_fields(options: Options, default: int) -> tuple[str, str, str | None]:
    """Type, message and detailed code of the error that the options ask for; a `code` that names a type is the type."""
    status = options.status if (options.status or 0) >= 400 else default
    kind, message = KINDS.get(status or default, KINDS[400 if (status or default) < 500 else 500])
    names = {name for name, _ in KINDS.values()}
    if options.code in names:
        return options.code or kind, message, None
    return kind, message, options.code


def write_fault(options: Options, note: str, request_id: str) -> Fault:
    """The error that the options ask for; `note` ends its message."""
    kind, message, code = fault_fields(options, 500)
    status = 200 if options.error_200 else options.status or 500
    headers = (JSON, *(() if options.error_200 else retry_headers(options, status)))
    return Fault(message + note, status, headers, write_error(kind, message + note, request_id, code))


async def refuse(exchange: Exchange, refusal: Refusal, request_id: str) -> None:
    """Answers with a refusal."""
    kind, _ = KINDS.get(refusal.status, KINDS[400])
    await exchange.respond(refusal.status, (JSON,), write_error(kind, refusal.message, request_id))


def word_misfit(misfit: Misfit) -> str:
    """What is wrong with a request, in the words that Anthropic's validator (pydantic's) has for it."""
    path = ".".join(str(step) for step in misfit.path)
    match misfit.problem:
        case "missing":
            text = "Field required"
        case "extra":
            text = "Extra inputs are not permitted"
        case "type":
            text = f"Input should be a valid {TYPE_NAMES.get(misfit.wanted[0], misfit.wanted[0])}"
        case "choice":
            *some, last = (repr(choice) for choice in misfit.wanted)
            text = f"Input should be {', '.join(some)} or {last}" if some else f"Input should be {last}"
        case "tag":
            tag, listed = misfit.path[-1], ", ".join(repr(choice) for choice in misfit.wanted)
            path = ".".join(str(step) for step in misfit.path[:-1])
            text = f"Input tag '{misfit.value}' found using '{tag}' does not match any of the expected tags: {listed}"
        case "range":
            sign, bound = misfit.wanted
            text = f"Input should be {'greater' if sign == '>=' else 'less'} than or equal to {bound}"
        case "pattern":
            text = f"String should match pattern '{misfit.wanted[0]}'"
    return f"{path}: {text}"
