"""How requests beside chat are taken in: the key, the fields, the options, and refusals in OpenAI's shape."""

import functools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import orjson

from app.demo.answers import Writer
from app.demo.exchange import Exchange
from app.demo.faults import JSON, FaultScripts
from app.demo.openai_errors import Refusal, check_key, refuse, refuse_misfit, refuse_options
from app.demo.options import Options, OptionsError, read_request_options, split_model
from app.demo.routes import PatternHandler, Route
from app.demo.shapes import Misfit, Record

# `/openai/v1` is where Azure has it.
BASES = ("", "/v1", "/openai/v1")

S = TypeVar("S")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose fields were found good; `model` is the name without its options."""

    fields: dict[str, Any]
    model: str
    options: Options
    credential: str


class Intake:
    """Reads requests; every model name is served."""

    def __init__(self, writer: Writer, scripts: FaultScripts) -> None:
        self.writer = writer
        self._scripts = scripts

    async def read(self, exchange: Exchange, shape: Record, model: str = "") -> Asked:
        """A request in JSON; `model` is for one that names none. Raises Refusal."""
        raw = await exchange.read_body()
        exchange.add_header(b"x-request-id", f"req_demo_{exchange.entry.id}")
        check_key(exchange.headers)
        return self.ask(exchange, read_fields(raw, shape), model)

    def ask(self, exchange: Exchange, fields: dict[str, Any], model: str = "") -> Asked:
        """A request whose fields are known already; raises Refusal."""
        credential, _ = check_key(exchange.headers)
        named = fields.get("model") or model
        if not named:
            raise Refusal(400, "you must provide a model parameter", param="model")
        return self.choose(exchange, named, fields, credential)

    def choose(
        self, exchange: Exchange, named: str, fields: dict[str, Any] | None = None, credential: str = ""
    ) -> Asked:
        """A request with the options that its model, its headers and the scripts have for it; raises Refusal."""
        name, texts = split_model(named)
        try:
            options = read_request_options(texts, exchange.header(b"x-demo"), self._scripts.take(named, name))
        except OptionsError as error:
            raise refuse_options(error) from error
        return Asked(fields or {}, name, options, credential)


def read_fields(raw: bytes, shape: Record) -> dict[str, Any]:
    """The fields of a JSON object, an empty one for no body at all; raises Refusal."""
    try:
        value = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(value, dict):
        raise Refusal(400, "The body of your request isn't a JSON object.")
    return fit(value, shape)


def fit(value: dict[str, Any], shape: Record) -> dict[str, Any]:
    """The fields as the shape has them; raises Refusal."""
    try:
        fields: dict[str, Any] = shape.read(value, ())
    except Misfit as misfit:
        raise refuse_misfit(misfit) from misfit
    return fields


def refusing(
    handler: Callable[Concatenate[S, Exchange, P], Awaitable[None]],
) -> Callable[Concatenate[S, Exchange, P], Awaitable[None]]:
    """Has a handler answer with the Refusal that it raises."""

    @functools.wraps(handler)
    async def guarded(self: S, exchange: Exchange, /, *values: P.args, **named: P.kwargs) -> None:
        try:
            await handler(self, exchange, *values, **named)
        except Refusal as refusal:
            await refuse(exchange, refusal)

    return guarded


def below_bases(routes: Iterable[tuple[str, str, PatternHandler]]) -> list[Route]:
    """Those routes below every base."""
    listed = list(routes)
    return [Route(method, base + path, handler) for base in BASES for method, path, handler in listed]


async def show(exchange: Exchange, body: object) -> None:
    """Answers with JSON, without options."""
    await exchange.respond(200, (JSON,), orjson.dumps(body))
