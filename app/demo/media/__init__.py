'''The demo's media APIs: fakes of vendors' image, video and audio endpoints over one studio of scripted jobs.

| file | holds |
|---|---|
| `studio.py` | the jobs: `Order` (what was asked), `Job`, `Look` (how far it is), and their counters |
| `options.py` | the options that script a job: `demo-video?polls=3&fail=no+luck` |
| `desk.py` | the steps that all fakes share: `submit`, `poll`, `send_file`; `Trouble` is an error to be answered |
| `files.py`, `makers/` | the results: real PNG, WAV and MP4 files, made from the prompt |
| `requests.py` | fields as JSON or as a form (`app.demo.forms`), checked as OpenAI does |
| `frames.py` | `frame`: width and height from a vendor's words |
| `fakes.py` | the list of fakes |

A fake is a module with one class: it reads requests into orders and writes jobs as its vendor does. It neither waits, nor
counts, nor breaks anything: the desk does, as the job's options say. Add the class to `FAKES` in `fakes.py`.

    class Kino:
        """Answers Kino's video API."""

        def __init__(self, desk: Desk) -> None:
            self._desk = desk

        def routes(self) -> list[Route]:
            """`{name}` in a path is text without a slash, `{name*}` any; handlers get them in order."""
            return [
                Route("POST", "/kino/videos", self.create),
                Route("GET", "/kino/videos/{job_id}", self.retrieve),
            ]

        async def create(self, exchange: Exchange) -> None:
            body = await exchange.read_body()  # always, and first: it is what puts the request in the journal
            try:
                key, wanted = read_bearer(exchange), read_object(body)
                if not wanted.get("prompt"):
                    raise Trouble(400, "prompt is required")
            except Trouble as trouble:
                await self._desk.refuse(exchange, trouble, write_error)
                return
            width, height = frame("videos", size=wanted.get("size"))
            order = Order("videos", wanted["model"], wanted["prompt"], width, height, seconds=8)
            await self._desk.submit(exchange, order, lambda job: write_json({"id": job.id}), write_error, key=key)

        async def retrieve(self, exchange: Exchange, job_id: str) -> None:
            await exchange.read_body()
            await self._desk.poll(exchange, job_id, lambda job, look: write_job(exchange, job, look), write_error)

    def write_error(trouble: Trouble) -> Reply:
        return write_json({"detail": trouble.message}, trouble.status)

    def write_job(exchange: Exchange, job: Job, look: Look) -> Reply:
        body = {"state": STATES[look.state], "percent": look.progress}
        if look.state == "done":
            body["urls"] = [file_url(exchange, job, number) for number in range(1, job.count + 1)]
        return write_json(body)

- `Order.model` is the name as received, options and all; `job.model` the name alone. Both count for scripts.
- An id of the vendor's form: `submit(..., job_id=...)`, made with `secrets`, since two runs of the demo must not share ids.
- An API that answers with the result itself calls `submit` too, and its `answer` reads the bytes with
  `desk.file(job, number).read(0, size)`. Raise Trouble in there for `job.options.fail`.
- A result that needs the key: a route of yours that checks it, then `desk.send_file(exchange, job, number)`.
- `desk.studio.find(id)`, `.look(job)`, `.finish(job, "cancelled")` and `.latest(n)` serve cancelling, deleting, listing.
- Jobs report `job.seconds` as their length and `job.count` results; `job.options.tokens` where the vendor reports tokens.
- `job.options.has("word")` asks for a word of `quirk=`: shapes that only your vendor has. Say in your docstring what they do.
- `Order.details` carries what your answers need again; no bytes in it.
'''
