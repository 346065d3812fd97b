"""The steps that every media API of the demo shares: taking an order, answering a poll, handing out a file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.asgi import Headers
from app.demo.exchange import Exchange
from app.demo.faults import HTML, HTML_PAGE, JSON, FaultScripts
from app.demo.media.files import ENDINGS, Darkroom, File, read_range
from app.demo.media.options import MediaOptions, read_job_options
from app.demo.media.studio import Job, Look, Order, Studio
from app.demo.openai_errors import write_error as write_openai_error
from app.demo.options import OptionsError, split_model
from app.demo.routes import Route

PIECE = 256 << 10
IDEMPOTENCY_KEY = b"idempotency-key"
FILE_HEADERS: Headers = ((b"accept-ranges", b"bytes"), (b"cache-control", b"no-store"))


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; with `pieces` it is those instead of the body, each written on its own."""

    status: int
    headers: Headers
    body: bytes
    pieces: tuple[bytes, ...] = ()


class Trouble(Exception):
    """A request that is answered with an error: HTTP status, message, and the vendor's code where it has one."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


ErrorWriter = Callable[[Trouble], Reply]


def write_json(body: Mapping[str, Any] | list[Any], status: int = 200, headers: Headers = ()) -> Reply:
    """An answer in JSON."""
    return Reply(status, (JSON, *headers), orjson.dumps(body))


def write_trouble(trouble: Trouble) -> Reply:
    """An error in OpenAI's shape, for the APIs that have it."""
    kind = "server_error" if trouble.status >= 500 else "invalid_request_error"
    return Reply(trouble.status, (JSON,), write_openai_error(kind, trouble.message, trouble.code, trouble.param))


def read_bearer(exchange: Exchange) -> str:
    """The key after `Bearer`, or whatever scheme `Authorization` names, or of `x-goog-api-key`; raises Trouble 401 without
    one, and for a key that has `bad` in it.
    """
    credential = exchange.header(b"authorization").partition(" ")[2] or exchange.header(b"x-goog-api-key")
    if not credential:
        raise Trouble(401, "You didn't provide an API key.", "invalid_api_key")
    if "bad" in credential:
        raise Trouble(401, "Incorrect API key provided.", "invalid_api_key")
    return credential


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object; raises Trouble 400."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Trouble(400, f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(value, dict):
        raise Trouble(400, "The body of your request isn't a JSON object.")
    return value


class Desk:
    """Plays the jobs' scripts towards clients, so that a media API need only read its requests and write its answers."""

    def __init__(self, studio: Studio, scripts: FaultScripts) -> None:
        self.studio = studio
        self._scripts = scripts
        self._darkroom = Darkroom()

    def routes(self) -> list[Route]:
        """The public files, under the addresses that `file_url` writes."""
        path = "/_demo/files/{job_id}/{name}"
        return [Route("GET", path, self.serve_public), Route("HEAD", path, self.serve_public)]

    async def submit(
        self,
        exchange: Exchange,
        order: Order,
        answer: Callable[[Job], Reply],
        errors: ErrorWriter = write_trouble,
        *,
        key: str | None = None,
        job_id: str | None = None,
    ) -> None:
        """Takes an order as its options say: makes a job and answers with what `answer` makes of it, or refuses it.

        Call it once the body is read. `key` is the credential, for the option of that name; `job_id` the id of a new job.
        """
        repeats = exchange.header(IDEMPOTENCY_KEY) or None
        self.studio.note_submission(repeats)
        try:
            options = self._read_options(exchange, order.model)
            if options.slow_ms:
                await exchange.pause(options.slow_ms / 1000)
            if options.drop:
                await exchange.drop()
                return
            if (refusal := _refuse_as_told(options, key, errors)) is not None:
                await _send(exchange, refusal)
                return
        except Trouble as trouble:
            await _send(exchange, errors(trouble))
            return
        job = self.studio.make(order, options, job_id=job_id, key=repeats)
        if options.stall == "submit":
            await exchange.stall()
        if options.lost:
            await exchange.drop()
            return
        try:
            reply = answer(job)
        except Trouble as trouble:
            reply = errors(trouble)
        await (_send_pieces(exchange, reply, options) if reply.pieces else _send(exchange, reply))

    async def poll(
        self,
        exchange: Exchange,
        job_id: str,
        answer: Callable[[Job, Look], Reply],
        errors: ErrorWriter = write_trouble,
    ) -> None:
        """Answers one poll as the job's options say, with what `answer` makes of the job; 404 for one that isn't there."""
        job = self.studio.find(job_id)
        if job is None:
            await _send(exchange, errors(Trouble(404, f"There is no task {job_id}.", "not_found")))
            return
        options = job.options
        with self.studio.polling(job) as number:
            if options.slow_ms:
                await exchange.pause(options.slow_ms / 1000)
            if options.fails_poll(number):
                await self._fail_poll(exchange, options, errors)
                return
            try:
                reply = answer(job, self.studio.look(job))
            except Trouble as trouble:
                reply = errors(trouble)
            await _send(exchange, reply)

    async def send_file(
        self,
        exchange: Exchange,
        job: Job,
        number: int = 1,
        errors: ErrorWriter = write_trouble,
    ) -> None:
        """Sends a result, the whole of it or the range that was asked for, as the job's options say."""
        if self.studio.look(job).state != "done" or not 1 <= number <= job.count:
            await _send(exchange, errors(Trouble(404, "There is no such file.", "not_found")))
            return
        options = job.options
        faulty = options.fails_file(self.studio.count_download(job, number))
        if faulty and options.file_cut is None:
            status = options.file_status or 503
            await _send(exchange, errors(Trouble(status, f"The file can't be had ({status}).")))
            return
        file = self._darkroom.develop(job, number)
        await _stream(exchange, file, options, options.file_cut if faulty else None, errors)

    async def serve_public(self, exchange: Exchange, job_id: str, name: str) -> None:
        """`GET /_demo/files/{job_id}/{number}.{ending}`: a result that anybody may fetch."""
        await exchange.read_body()
        job, number = self.studio.find(job_id), name.partition(".")[0]
        if job is None or not number.isdecimal():
            await _send(exchange, write_trouble(Trouble(404, "There is no such file.", "not_found")))
            return
        await self.send_file(exchange, job, int(number))

    def file(self, job: Job, number: int = 1) -> File:
        """A result, for the formats that answer with the bytes themselves."""
        return self._darkroom.develop(job, number)

    async def refuse(self, exchange: Exchange, trouble: Trouble, errors: ErrorWriter = write_trouble) -> None:
        """Answers with an error."""
        await _send(exchange, errors(trouble))

    async def reply(self, exchange: Exchange, reply: Reply) -> None:
        """Answers."""
        await _send(exchange, reply)

    def _read_options(self, exchange: Exchange, model: str) -> MediaOptions:
        name, texts = split_model(model)
        try:
            return read_job_options(texts, exchange.header(b"x-demo"), self._scripts.take(model, name))
        except OptionsError as error:
            raise Trouble(400, f"Demo options: {error}", "demo_options", "model") from error

    async def _fail_poll(self, exchange: Exchange, options: MediaOptions, errors: ErrorWriter) -> None:
        match options.poll_body:
            case "html":
                status = options.poll_status or 200
                await _send(exchange, Reply(status, (HTML,), HTML_PAGE % (status, status)))
            case "drop":
                await exchange.drop()
            case "stall":
                await exchange.stall()
            case None:
                status = options.poll_status or 503
                reply = errors(Trouble(status, f"Upstream error {status}.", options.code))
                await _send(exchange, Reply(reply.status, (*reply.headers, *_retry_after(options, status)), reply.body))


def file_url(exchange: Exchange, job: Job, number: int = 1) -> str:
    """The address under which anybody may fetch a result, on the host that this request named."""
    host = exchange.header(b"host") or "127.0.0.1"
    return f"http://{host}/_demo/files/{job.id}/{number}.{ENDINGS[job.order.scope]}"


def _refuse_as_told(options: MediaOptions, key: str | None, errors: ErrorWriter) -> Reply | None:
    if options.key is not None and options.key != key:
        return errors(Trouble(401, "Incorrect API key provided.", "invalid_api_key"))
    if options.body == "html":
        status = options.status or 200
        return Reply(status, (HTML,), HTML_PAGE % (status, status))
    if options.refuse is None and options.status is None:
        return None
    status = options.status or 400
    message = options.refuse or f"Error {status}, as the demo was told."
    reply = errors(Trouble(status, message, options.code))
    return Reply(reply.status, (*reply.headers, *_retry_after(options, status)), reply.body)


async def _send(exchange: Exchange, reply: Reply) -> None:
    await exchange.respond(reply.status, reply.headers, reply.body)


async def _send_pieces(exchange: Exchange, reply: Reply, options: MediaOptions) -> None:
    await exchange.start(reply.status, reply.headers)
    left = options.file_cut
    for number, piece in enumerate(reply.pieces):
        await exchange.pause(options.file_ms / 1000 if number else 0)
        await exchange.write(piece[:left])
        exchange.entry.chunks_sent += 1
        if left is not None:
            left -= len(piece)
            if left <= 0:
                return
    await exchange.finish()


def _retry_after(options: MediaOptions, status: int) -> Headers:
    wait = options.retry_after or ("1" if status == 429 else None)
    return () if wait is None else ((b"retry-after", wait.encode("latin-1")),)


async def _stream(exchange: Exchange, file: File, options: MediaOptions, cut: int | None, errors: ErrorWriter) -> None:
    wanted = read_range(exchange.header(b"range"), file.size)
    start, stop = wanted or (0, file.size)
    headers: Headers = ((b"content-type", file.content_type.encode()), *FILE_HEADERS)
    if wanted is not None and start >= stop:
        reply = errors(Trouble(416, "The range lies outside of the file."))
        await _send(exchange, Reply(416, (*reply.headers, (b"content-range", b"bytes */%d" % file.size)), reply.body))
        return
    if wanted is not None:
        headers = (*headers, (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, file.size)))
    await exchange.start(200 if wanted is None else 206, (*headers, (b"content-length", b"%d" % (stop - start))))
    if exchange.entry.method == "HEAD":
        await exchange.finish()
        return
    end = stop if cut is None else min(stop, start + cut)
    for at in range(start, end, PIECE):
        await exchange.write(file.read(at, min(at + PIECE, end)))
        await exchange.pause(options.file_ms / 1000)
    if end == stop:
        await exchange.finish()
