"""Errors in OpenAI's shape, and the key check that needs them."""

import orjson

from app.demo.answering import Fault, retry_headers
from app.demo.asgi import Headers
from app.demo.exchange import Exchange
from app.demo.faults import JSON
from app.demo.options import Options, OptionsError
from app.demo.shapes import Misfit

INVALID = "invalid_request_error"
# type, code and message by status, as https://platform.openai.com/docs/guides/error-codes shows them.
KNOWN = {
    400: (INVALID, None, "The demo upstream refuses this request."),
    401: (INVALID, "invalid_api_key", "Incorrect API key provided."),
    403: (INVALID, "unsupported_country_region_territory", "Country, region, or territory not supported."),
    404: (INVALID, "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", "server_error", "The server had an error while processing your request."),
    503: ("server_error", "overloaded", "The engine is currently overloaded, please try again later."),
}
QUOTA = "insufficient_quota"


class Refusal(Exception):
    """A request that the format refuses: HTTP status and the fields of the `error` object, or a `plain` text for one."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, plain: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = orjson.dumps({"error": message}) if plain else write_error(INVALID, message, code, param)


def write_error(kind: str, message: str, code: str | None, param: str | None = None) -> bytes:
    """The error object as OpenAI's SDKs read it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def check_key(headers: Headers) -> tuple[str, str]:
    """The received credential and the `x-demo` options; raises Refusal for a missing or a `bad` key."""
    credential, options = "", ""
    for name, value in headers:
        if name == b"authorization":
            credential = value.decode("latin-1") if value[:7].lower() == b"bearer " else credential
        elif name == b"api-key":
            credential = credential or value.decode("latin-1")
        elif name == b"x-demo":
            options = value.decode("latin-1")
    if not credential:
        raise Refusal(401, "You didn't provide an API key.", code="invalid_api_key")
    if "bad" in credential:
        raise Refusal(401, f"Incorrect API key provided: {credential}.", code="invalid_api_key")
    return credential, options


def refuse_options(error: OptionsError) -> Refusal:
    """A mistyped option must not pass for an answer."""
    return Refusal(400, f"Demo options: {error}", code="demo_options", param="model")


def refuse_misfit(misfit: Misfit) -> Refusal:
    """What is wrong with a request, in the words that OpenAI's newer endpoints have for it."""
    param = write_path(misfit.path)
    match misfit.problem:
        case "missing":
            return Refusal(
                400, f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
            )
        case "extra":
            return Refusal(400, f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)
        case "choice" | "tag":
            listed = ", ".join(f"'{choice}'" for choice in misfit.wanted)
            text = f"Invalid value: '{misfit.value}'. Supported values are: {listed}."
            return Refusal(400, text, code="invalid_value", param=param)
        case "range":
            sign, bound = misfit.wanted
            word = "below minimum" if sign == ">=" else "above maximum"
            given = f"Expected a value {sign} {bound}, but got {misfit.value} instead."
            text = f"Invalid '{param}': integer {word} value. {given}"
            code = "integer_below_min_value" if sign == ">=" else "integer_above_max_value"
            return Refusal(400, text, code=code, param=param)
        case "pattern":
            text = f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern "
            return Refusal(400, f"{text}'{misfit.wanted[0]}'.", code="invalid_value", param=param)
        case "type":
            text = f"Invalid type for '{param}': expected {misfit.wanted[0]}."
            return Refusal(400, text, code="invalid_type", param=param)


def write_path(path: tuple[str | int, ...]) -> str:
    """`input[0].content[1].text`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def fault_fields(options: Options) -> tuple[str, str | None, str]:
    """Type, code and message of the error that `status` and `code` ask for."""
    status = options.status or 500
    default = (
        ("server_error", None, f"Upstream error {status}.") if status >= 500 else (INVALID, None, f"Error {status}.")
    )
    kind, code, message = KNOWN.get(status, default)
    if options.code is not None:
        code = options.code
    if code == QUOTA:
        return QUOTA, code, "You exceeded your current quota, please check your plan and billing details."
    return kind, code, message


def write_fault(options: Options, note: str) -> Fault:
    """The error that the options ask for; `note` ends its message."""
    kind, code, message = fault_fields(options)
    message += note
    status = options.status or (502 if options.error_200 else 500)
    if options.error_200:
        return Fault(message, 200, (JSON,), write_numbered_error(status, message, kind))
    if options.dialect == "openrouter":
        body = write_numbered_error(status, message, kind)
    elif options.dialect == "ollama":
        body = orjson.dumps({"error": message})
    else:
        body = write_error(kind, message, code)
    return Fault(message, status, (JSON, *retry_headers(options, status)), body)


def write_numbered_error(status: int, message: str, kind: str) -> bytes:
    """An error as OpenRouter has it, with a number for a code."""
    fault = {"code": status, "message": message, "metadata": {"error_type": kind}}
    return orjson.dumps({"error": fault})


async def refuse(exchange: Exchange, refusal: Refusal) -> None:
    """Answers with a refusal."""
    await exchange.respond(refusal.status, (JSON,), refusal.body)
