"""Errors in Google's shape, and its words for a field that doesn't fit."""

import orjson

from app.demo.answering import Fault, retry_headers
from app.demo.faults import JSON
from app.demo.media.desk import Trouble
from app.demo.media.google import write_error
from app.demo.options import Options
from app.demo.shapes import Misfit, to_snake

# https://ai.google.dev/gemini-api/docs/troubleshooting
MESSAGES = {
    400: "The demo upstream refuses this request.",
    403: "Your API key doesn't have the required permissions.",
    404: "models/demo is not found for API version v1beta, or is not supported for generateContent.",
    429: "You exceeded your current quota, please check your plan and billing details.",
    500: "An internal error has occurred. Please retry or report.",
    503: "The model is overloaded. Please try again later.",
    504: "Deadline expired before operation could complete.",
}
TYPES = {
    "string": "TYPE_STRING",
    "integer": "TYPE_INT32",
    "number": "TYPE_FLOAT",
    "boolean": "TYPE_BOOL",
    "object": "TYPE_MESSAGE",
}


def write_fault(options: Options, note: str) -> Fault:
    """The error that the options ask for; `note` ends its message."""
    trouble = make_trouble(options, 500, note)
    status = 200 if options.error_200 else trouble.status
    headers = (JSON, *(() if options.error_200 else retry_headers(options, status)))
    return Fault(trouble.message, status, headers, write_error(trouble).body)


def make_trouble(options: Options, default: int, note: str = "") -> Trouble:
    """The error of the status and the code that the options name."""
    status = options.status if (options.status or 0) >= 400 else default
    status = status or default
    return Trouble(status, MESSAGES.get(status, f"Error {status}.") + note, options.code)


def refuse_misfit(misfit: Misfit) -> Trouble:
    """What is wrong with a request, in the words that Google's front end has for it."""
    path = _write_path(misfit.path)
    match misfit.problem:
        case "extra":
            where = f" at '{_write_path(misfit.path[:-1])}'" if len(misfit.path) > 1 else ""
            text = f'Invalid JSON payload received. Unknown name "{misfit.path[-1]}"{where}: Cannot find field.'
        case "missing":
            text = f"* GenerateContentRequest.{path}: {misfit.path[-1]} is not specified"
        case "range":
            text = f"* GenerateContentRequest.{path}: must be {' '.join(misfit.wanted)}"  # its words are unverified
        case "type" if isinstance(misfit.value, list):
            text = f"Invalid JSON payload received. Proto field '{path}' is not repeating, cannot start list."
        case _:
            kind = TYPES.get(misfit.wanted[0], "type.googleapis.com/google.ai.generativelanguage")
            text = f"Invalid value at '{path}' ({kind}), {orjson.dumps(misfit.value).decode()}"
    return Trouble(400, text)


def _write_path(path: tuple[str | int, ...]) -> str:
    steps = [f"[{step}]" if isinstance(step, int) else f".{to_snake(step)}" for step in path]
    return "".join(steps).removeprefix(".")
