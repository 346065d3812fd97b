"""The demo's `/v1/responses`, as OpenAI answers it: made, streamed, looked at again, cancelled, deleted, counted."""

from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.answering import Answering, answer
from app.demo.answers import Writer
from app.demo.exchange import Exchange
from app.demo.faults import JSON, FaultScripts
from app.demo.openai_errors import Refusal, check_key, refuse, refuse_options, write_fault
from app.demo.options import Options, OptionsError, read_request_options, split_model
from app.demo.responses_answer import Item, lengthen, new_id, write_items, write_response
from app.demo.responses_request import Question, count_prompt, read_question
from app.demo.responses_store import Items, ResponseStore, Stored, begin
from app.demo.responses_stream import ResponseStream
from app.demo.routes import Route
from app.demo.saying import Said, Wanted, say

# `/openai/v1` is where Azure has it.
BASES = ("", "/v1", "/openai/v1")
MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class Made:
    """A response and what it takes to stream it."""

    options: Options
    response: dict[str, Any]
    items: list[Item]
    long: bool


class OpenAIResponses:
    """Answers OpenAI's Responses API, as strictly as it does; every model name is served."""

    def __init__(self, writer: Writer, scripts: FaultScripts) -> None:
        self._writer = writer
        self._scripts = scripts
        self._store = ResponseStore()

    def routes(self) -> list[Route]:
        """Those of every base."""
        return [
            route
            for base in BASES
            for route in (
                Route("POST", f"{base}/responses", self.create),
                Route("POST", f"{base}/responses/input_tokens", self.count_tokens),
                Route("GET", f"{base}/responses/{{response_id}}", self.retrieve),
                Route("DELETE", f"{base}/responses/{{response_id}}", self.delete),
                Route("POST", f"{base}/responses/{{response_id}}/cancel", self.cancel),
                Route("GET", f"{base}/responses/{{response_id}}/input_items", self.list_input_items),
            )
        ]

    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/responses`."""
        raw = await exchange.read_body()
        exchange.add_header(b"x-request-id", f"req_demo_{exchange.entry.id}")
        try:
            credential, texts = check_key(exchange.headers)
            question = read_question(raw, self._store, credential)
            name, options = self._read_options(question, texts)
        except Refusal as refusal:
            await refuse(exchange, refusal)
            return
        made = self._make(question, name, options, credential)
        response = made.response
        background = bool(question.body.get("background"))
        streams = bool(question.body.get("stream"))
        if question.body.get("store") is not False and not options.fails:
            wait = options.polls if background and not streams else 0
            items = [_identify(item) for item in question.items]
            self._store.put(Stored(response, credential, items, question.history, wait))

        def write(extra: str) -> bytes:
            if background:
                return orjson.dumps(begin(response, "queued"))
            return orjson.dumps({**response, "output": lengthen(response["output"], extra)})

        stream = ResponseStream(exchange, options, response, made.items, long=made.long) if streams else None
        await answer(exchange, Answering(options, credential, stream, write, write_fault))

    async def count_tokens(self, exchange: Exchange) -> None:
        """`POST /v1/responses/input_tokens`."""
        raw = await exchange.read_body()
        try:
            credential, texts = check_key(exchange.headers)
            question = read_question(raw, self._store, credential, counted=True)
            _, options = self._read_options(question, texts)
        except Refusal as refusal:
            await refuse(exchange, refusal)
            return
        total = count_prompt(question, self._writer.count)
        body = orjson.dumps({"object": "response.input_tokens", "input_tokens": total})
        await answer(exchange, Answering(options, credential, None, lambda _: body, write_fault))

    async def retrieve(self, exchange: Exchange, response_id: str) -> None:
        """`GET /v1/responses/{id}`: as it is now; with `?stream=true` its events once more, `starting_after` one of them."""
        stored = await self._find(exchange, response_id)
        if stored is None:
            return
        query = exchange.query()
        if query.get("stream") != "true":
            await exchange.respond(200, (JSON,), orjson.dumps(stored.look()))
            return
        items = [Item(item, self._rewrite(item)) for item in stored.response["output"]]
        after = int(query.get("starting_after", "-1"))
        await ResponseStream(exchange, Options(), stored.response, items, long=True, after=after).run()

    async def delete(self, exchange: Exchange, response_id: str) -> None:
        """`DELETE /v1/responses/{id}`."""
        if await self._find(exchange, response_id) is not None:
            self._store.remove(response_id)
            body = {"id": response_id, "object": "response", "deleted": True}
            await exchange.respond(200, (JSON,), orjson.dumps(body))

    async def cancel(self, exchange: Exchange, response_id: str) -> None:
        """`POST /v1/responses/{id}/cancel`: what is done stays as it is."""
        stored = await self._find(exchange, response_id)
        if stored is None:
            return
        if not stored.response["background"]:
            await refuse(exchange, Refusal(400, "Cannot cancel a synchronous response."))
            return
        stored.cancel()
        await exchange.respond(200, (JSON,), orjson.dumps(stored.response))

    async def list_input_items(self, exchange: Exchange, response_id: str) -> None:
        """`GET /v1/responses/{id}/input_items`: the newest first unless `order=asc`; `limit` and `after` page."""
        stored = await self._find(exchange, response_id)
        if stored is None:
            return
        query = exchange.query()
        items: Items = stored.items if query.get("order") == "asc" else stored.items[::-1]
        ids = [item["id"] for item in items]
        start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
        page = items[start : start + min(int(query.get("limit", "20")), MOST_LISTED)]
        body = {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + len(page) < len(items),
        }
        await exchange.respond(200, (JSON,), orjson.dumps(body))

    async def _find(self, exchange: Exchange, response_id: str) -> Stored | None:
        """The response that is asked for; None when that was refused already."""
        await exchange.read_body()
        exchange.add_header(b"x-request-id", f"req_demo_{exchange.entry.id}")
        try:
            credential, _ = check_key(exchange.headers)
            stored = self._store.find(response_id, credential)
            if stored is None:
                raise Refusal(404, f"Response with id '{response_id}' not found.")
        except Refusal as refusal:
            await refuse(exchange, refusal)
            return None
        return stored

    def _read_options(self, question: Question, texts: str) -> tuple[str, Options]:
        model = question.body["model"]
        name, model_texts = split_model(model)
        try:
            return name, read_request_options(model_texts, texts, self._scripts.take(model, name))
        except OptionsError as error:
            raise refuse_options(error) from error

    def _make(self, question: Question, name: str, options: Options, credential: str) -> Made:
        said = self._say(question, options, credential)
        items = write_items(said, question, options)
        prompt = count_prompt(question, self._writer.count)
        return Made(options, write_response(name, question, options, said, items, prompt), items, said.long)

    def _say(self, question: Question, options: Options, credential: str) -> Said:
        wanted = Wanted(
            options=options,
            credential=credential,
            turn=orjson.dumps(question.history),
            user_text=question.user_text,
            tools=question.tools,
            forced=question.forced,
            most_calls=1 if question.body.get("parallel_tool_calls") is False else None,
            answered=question.answered,
            limit=question.body.get("max_output_tokens"),
            thinks=question.thinks,
            schema=question.schema,
        )
        return say(self._writer, wanted)

    def _rewrite(self, item: dict[str, Any]) -> Any:
        """What streamed into an item, once more."""
        match item:
            case {"type": "message", "content": [{"text": text} | {"refusal": text}]}:
                return self._writer.write(text)
            case {"type": "function_call", "arguments": text} | {"type": "reasoning", "summary": [{"text": text}]}:
                return self._writer.write(text)
            case _:
                return None


def _identify(item: dict[str, Any]) -> dict[str, Any]:
    """An input item as it is listed: with an id, and texts as parts."""
    start = {"function_call": "fc", "function_call_output": "fc", "reasoning": "rs"}.get(
        item.get("type", "message"), "msg"
    )
    named = {"type": "message", **item, "id": item.get("id") or new_id(start)}
    if isinstance(named.get("content"), str):
        kind = "output_text" if named.get("role") == "assistant" else "input_text"
        named["content"] = [{"type": kind, "text": named["content"]}]
    return named
