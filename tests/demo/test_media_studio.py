"""Jobs of the demo: their scripted lives, what breaks on the way, the counters that tell of it, and their files."""

import asyncio
import tracemalloc

import httpx2 as httpx
import pytest

from app.demo.media.files import FILLER
from app.demo.media.options import MediaOptions, read_media_options
from app.demo.media.studio import MAX_JOBS, Order, Studio
from tests.demo.process import DemoProcess, read_peak_kib

VIDEO = "/v2/videos/generations"


def ask(model: str, **fields: object) -> dict[str, object]:
    return {"model": model, "prompt": "a cat", "duration": "1", "size": "64x64", **fields}


async def submit(client: httpx.AsyncClient, model: str, **headers: str) -> httpx.Response:
    return await client.post(VIDEO, json=ask(model), headers=headers)


async def make(client: httpx.AsyncClient, model: str) -> str:
    response = await submit(client, model)
    assert response.status_code == 200, response.text
    return str(response.json()["task_id"])


async def poll(client: httpx.AsyncClient, task: str) -> httpx.Response:
    return await client.get(f"{VIDEO}/{task}")


async def finished(client: httpx.AsyncClient, model: str) -> str:
    """The address of a finished job's file."""
    response = await poll(client, await make(client, model))
    return str(response.json()["data"]["output"])


async def test_polls_move_it(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    task = await make(client, "demo-video?polls=4")
    bodies = [(await poll(client, task)).json() for _ in range(5)]

    assert [(body["status"], body["progress"]) for body in bodies] == [
        ("QUEUED", "0%"),
        ("IN_PROGRESS", "33%"),
        ("IN_PROGRESS", "66%"),
        ("SUCCESS", "100%"),
        ("SUCCESS", "100%"),
    ]
    assert bodies[3] == bodies[4]


def test_time_moves_it() -> None:
    times = [0.0, 0.0, 1.9, 2.0, 7.5, 9.99, 10.0]
    studio = Studio(iter(times).__next__)
    job = studio.make(Order("videos", "m", "p", 64, 64), MediaOptions(seconds=10))
    looks = [studio.look(job) for _ in range(7)]  # the last one asks for no time: it is as it was

    assert [(look.state, look.progress) for look in looks] == [
        ("queued", 0),
        ("queued", 0),
        ("running", 20),
        ("running", 75),
        ("running", 99),
        ("done", 100),
        ("done", 100),
    ]


def test_old_jobs_are_forgotten() -> None:
    studio, order, options = Studio(), Order("videos", "m", "p", 64, 64), MediaOptions(idempotent=True)
    first = studio.make(order, options, key="first")
    for _ in range(MAX_JOBS):
        studio.make(order, options)

    assert studio.find(first.id) is None
    assert studio.make(order, options, key="first") is not first


async def test_it_ends_when_a_test_says_so(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    task = await make(client, "demo-video?never=1")
    assert (await poll(client, task)).json()["status"] == "IN_PROGRESS"
    demo.control("POST", f"jobs/{task}", {"state": "failed", "reason": "enough"})
    body = (await poll(client, task)).json()

    assert (body["status"], body["fail_reason"], body["progress"], body["data"]) == ("FAILURE", "enough", "100%", None)
    assert demo.control("GET", f"jobs/{task}")["state"] == "failed"


async def test_faults_are_queued(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    demo.script("demo-video", {"status": 429, "retry_after": "7"}, {"fail": "no luck", "never": 0, "polls": 1})
    refused = await submit(client, "demo-video?never=1")
    failed = (await poll(client, await make(client, "demo-video?never=1"))).json()
    running = (await poll(client, await make(client, "demo-video?never=1"))).json()

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert (failed["status"], failed["fail_reason"]) == ("FAILURE", "no luck")
    assert running["status"] == "IN_PROGRESS"


@pytest.mark.parametrize(
    "fault",
    [
        {"polls": 0},
        {"poll_status": 200},
        {"file_status": 200},
        {"stall": "poll"},
        {"seconds": 1, "chunks": 1},
        {"outputs": -1},
    ],
)
async def test_bad_faults_are_refused(client: httpx.AsyncClient, fault: dict[str, object]) -> None:
    response = await client.post("/_demo/faults", json={"model": "m", "faults": [fault]})

    assert response.status_code == 400


def test_every_option_has_its_line() -> None:
    documented = MediaOptions.__doc__ or ""

    assert [name for name in MediaOptions.__struct_fields__ if f"`{name}=" not in documented] == []
    assert read_media_options({"seconds": "1.5", "lost": "1"}) == MediaOptions(seconds=1.5, lost=True)


@pytest.mark.parametrize(
    ("options", "status", "message", "made"),
    [
        ("status=503", 503, "Error 503, as the demo was told.", 0),
        ("refuse=no+cats", 400, "no cats", 0),
        ("refuse=too+many&status=429&code=busy", 429, "too many", 0),
        ("key=sk-other", 401, "Incorrect API key provided.", 0),
        ("key=sk-test", 200, None, 1),
        ("polls=x", 400, "Demo options: Expected `int | null`, got `str` - at `$.polls`", 0),
        ("nonsense=1", 400, "Demo options: Object contains unknown field `nonsense`", 0),
    ],
)
async def test_submissions_refused(
    demo: DemoProcess, client: httpx.AsyncClient, options: str, status: int, message: str | None, made: int
) -> None:
    response = await submit(client, f"demo-video?{options}")

    assert response.status_code == status
    assert response.json().get("error", {}).get("message") == message
    stats = demo.control("GET", "studio")
    assert (stats["submissions"], stats["accepted"]) == (1, made)


async def test_html_instead_of_an_answer(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    page = await submit(client, "demo-video?body=html")
    task = await make(client, "demo-video?poll_body=html&poll_faults=1")
    polled = await poll(client, task)

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (polled.status_code, polled.text[:15]) == (200, "<!DOCTYPE html>")
    assert (await poll(client, task)).status_code == 200
    assert demo.control("GET", "studio")["accepted"] == 1


@pytest.mark.parametrize(("option", "made"), [("drop=1", 0), ("lost=1", 1)])
async def test_lost_answers(demo: DemoProcess, client: httpx.AsyncClient, option: str, made: int) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await submit(client, f"demo-video?{option}", **{"idempotency-key": "k1"})

    stats = demo.control("GET", "studio")
    assert (stats["submissions"], stats["accepted"], stats["by_key"]) == (1, made, {"k1": 1})


async def test_a_stalled_submission_is_accepted(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await client.post(VIDEO, json=ask("demo-video?stall=submit"), timeout=0.2)

    assert demo.control("GET", "studio")["accepted"] == 1


@pytest.mark.parametrize(("option", "jobs"), [("idempotent=1&", 1), ("", 3)])
async def test_idempotency_keys(demo: DemoProcess, client: httpx.AsyncClient, option: str, jobs: int) -> None:
    model = f"demo-video?{option}never=1"
    answers = [await submit(client, model, **{"idempotency-key": "k1"}) for _ in range(3)]

    assert len({answer.json()["task_id"] for answer in answers}) == jobs
    stats = demo.control("GET", "studio")
    assert (stats["by_key"], stats["accepted"]) == ({"k1": 3}, jobs)


async def test_failing_polls(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    some = await make(client, "demo-video?poll_faults=2&polls=3")
    always = await make(client, "demo-video?poll_status=429")
    first = [(await poll(client, some)).status_code for _ in range(3)]
    second = [await poll(client, always) for _ in range(3)]

    assert first == [503, 503, 200]
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in second} == {(429, "1")}
    assert (await poll(client, some)).json()["status"] == "SUCCESS"


async def test_dropped_polls(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    task = await make(client, "demo-video?poll_body=drop&poll_faults=1&polls=1")
    with pytest.raises(httpx.RemoteProtocolError):
        await poll(client, task)

    assert (await poll(client, task)).json()["status"] == "SUCCESS"


async def test_overlapping_polls_are_told(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    slow, calm = await make(client, "demo-video?slow_ms=150&polls=9"), await make(client, "demo-video?polls=9")
    await asyncio.gather(*(poll(client, slow) for _ in range(3)))
    for _ in range(4):
        await poll(client, calm)

    jobs = {job["id"]: job for job in demo.control("GET", "jobs")["jobs"]}
    assert (jobs[slow]["polls"], jobs[slow]["most_open_polls"], jobs[slow]["open_polls"]) == (3, 3, 0)
    assert (jobs[calm]["polls"], jobs[calm]["most_open_polls"], jobs[calm]["open_polls"]) == (4, 1, 0)
    stats = demo.control("GET", "studio")
    assert (stats["polls"], stats["most_open_polls"]) == (7, 3)


async def test_a_poll_whose_client_left_is_over(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    task = await make(client, "demo-video?poll_body=stall")
    with pytest.raises(httpx.ReadTimeout):
        await client.get(f"{VIDEO}/{task}", timeout=0.1)

    demo.settled()
    job = demo.control("GET", f"jobs/{task}")
    assert (job["polls"], job["open_polls"]) == (1, 0)


async def test_forgetting_jobs(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    task = await make(client, "demo-video")
    demo.control("DELETE", "jobs")

    assert (await poll(client, task)).status_code == 404
    assert demo.control("GET", "jobs")["jobs"] == []
    assert demo.control("GET", "studio")["submissions"] == 0
    assert (await client.get(f"/_demo/jobs/{task}")).status_code == 404


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        ("bytes=0-9", 206, (0, 10)),
        ("bytes=10-", 206, (10, 5_000)),
        ("bytes=-10", 206, (4_990, 5_000)),
        ("bytes=-9999", 206, (0, 5_000)),
        ("bytes=4999-99999", 206, (4_999, 5_000)),
        ("bytes=0-0,5-6", 200, (0, 5_000)),
        ("bytes=9-3", 200, (0, 5_000)),
        ("lines=1-2", 200, (0, 5_000)),
        ("bytes=5000-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
async def test_ranges(
    demo: DemoProcess, client: httpx.AsyncClient, header: str, status: int, expected: tuple[int, int] | None
) -> None:
    url = await finished(client, "demo-video?polls=1&big=5000")
    whole = (await client.get(url)).content
    part = await client.get(url, headers={"range": header})

    assert (len(whole), part.status_code) == (5_000, status)
    if expected is None:
        assert part.headers["content-range"] == "bytes */5000"
        return
    assert part.content == whole[slice(*expected)]
    if status == 206:
        assert part.headers["content-range"] == f"bytes {expected[0]}-{expected[1] - 1}/5000"


async def test_public_files_need_no_key(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    url = await finished(client, "demo-video?polls=1")
    file = await client.get(url, headers={"authorization": ""})
    head = await client.head(url)

    assert url.startswith(demo.url)
    assert url.endswith("/1.mp4")
    assert (file.headers["content-type"], file.content[4:12]) == ("video/mp4", b"ftypisom")
    assert (head.headers["content-length"], head.content) == (str(len(file.content)), b"")
    assert (await client.get(url.replace("/1.mp4", "/2.mp4"))).status_code == 404
    assert (await client.get(url.replace("/1.mp4", "/x.mp4"))).status_code == 404


async def test_a_file_waits_for_its_job(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    task = await make(client, "demo-video?never=1")

    assert (await client.get(f"/_demo/files/{task}/1.mp4")).status_code == 404


async def test_a_huge_file_is_never_held(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    size = 256 << 20
    url = await finished(client, f"demo-video?polls=1&big={size}")
    tail = (await client.get(url, headers={"range": f"bytes={size - 1000}-"})).content
    before, held, last = read_peak_kib(demo.pid), 0, b""
    async with client.stream("GET", url) as response:
        assert response.headers["content-length"] == str(size)
        async for piece in response.aiter_raw():
            held += len(piece)
            last = (last + piece)[-1000:]

    start = (size - 1000) % len(FILLER)
    assert (held, last, tail) == (size, tail, (FILLER * 2)[start : start + 1000])
    assert read_peak_kib(demo.pid) - before < 32 << 10


async def test_files_have_no_end_in_sight(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    url = await finished(client, f"demo-video?polls=1&big={1 << 40}")
    middle = await client.get(url, headers={"range": f"bytes={1 << 39}-{(1 << 39) + 511}"})

    assert middle.content == bytes(range(256)) * 2


async def test_broken_downloads(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    failing = await finished(client, "demo-video?polls=1&file_faults=2")
    cut = await finished(client, "demo-video?polls=1&big=1000000&file_cut=1000&file_faults=1")
    statuses = [(await client.get(failing)).status_code for _ in range(3)]
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(cut)

    assert statuses == [503, 503, 200]
    assert len((await client.get(cut)).content) == 1_000_000
    assert [job["downloads"] for job in demo.control("GET", "jobs")["jobs"]] == [{"1": 3}, {"1": 2}]


def test_many_polls_cost_nothing() -> None:
    """Not a time, but that nothing grows."""
    studio = Studio()
    job = studio.make(Order("videos", "m", "p", 64, 64), MediaOptions(polls=10_000))
    tracemalloc.start()
    for _ in range(10_000):
        with studio.polling(job):
            look = studio.look(job)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (look.state, job.polls) == ("done", 10_000)
    assert grown < 4_096
