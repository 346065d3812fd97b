"""`python -m bench.realtime`: what the gateway adds to a frame of Realtime, and whether a crowd is charged exactly.

Every session sends 100 ms of audio ten times a second; the demo upstream sends each piece back at once, so a piece
crosses the gateway twice. Every few seconds a session takes a turn, which is charged. Before, the same crowd talks to the
upstream directly.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from bench.gateway import FullGateway, start_full
from bench.processes import choose_cores, cpu_seconds, memory_mb
from bench.targets import UPSTREAM_KEY, Target, start_upstream

OPTIONS = (
    "mirror=1&tokens=1&input_text=100&input_audio=400&cached_text=20&cached_audio=300&output_text=10&output_audio=50"
)
UPSTREAM_MODEL = f"demo-realtime?{OPTIONS}"
MODEL = "bench-realtime"
PRICE = {
    "input_mtok": "4",
    "output_mtok": "16",
    "cache_read_mtok": "0.4",
    "input_audio_mtok": "32",
    "output_audio_mtok": "64",
}
TURN = Decimal(80 * 4 + 100 * 32 + 10 * 16 + 50 * 64) / 1_000_000 + Decimal(320) * Decimal("0.4") / 1_000_000
"""Dollars: text 100 - 20 cached, audio 400 - 300 cached, the cached ones, and what is said."""

PIECE = "A" * 6400  # 100 ms of pcm16 at 24 kHz, in base64
PIECES_A_SECOND = 10
PIECES_A_TURN = 50
AIM_MS = 5.0


@dataclass(slots=True)
class Crowd:
    """What the sessions of one target have seen. `trips`: milliseconds of a piece, there and back."""

    trips: list[float] = field(default_factory=list)
    turns: int = 0
    faults: list[str] = field(default_factory=list)


async def run_crowd(target: Target, model: str, sessions: int, seconds: float) -> Crowd:
    """So many sessions for so long, their pieces evenly spread."""
    crowd = Crowd()
    url = f"{target.base_url.replace('http', 'ws', 1)}/v1/realtime"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        beginning = time.perf_counter() + 2.0
        talks = (
            _talk(
                session, url, target.authorization, model, beginning + n / sessions / PIECES_A_SECOND, seconds, n, crowd
            )
            for n in range(sessions)
        )
        await asyncio.gather(*talks)
    return crowd


async def _talk(
    session: aiohttp.ClientSession,
    url: str,
    authorization: str,
    model: str,
    beginning: float,
    seconds: float,
    number: int,
    crowd: Crowd,
) -> None:
    headers = {"authorization": authorization}
    async with session.ws_connect(url, params={"model": model}, headers=headers, max_msg_size=0) as socket:
        event = await socket.receive_json(loads=orjson.loads)
        if event["type"] != "session.created":
            crowd.faults.append(str(event)[:300])
            return
        sent: dict[int, float] = {}
        listening = asyncio.create_task(_listen(socket, sent, crowd))
        asked = 0
        for count in range(int(seconds * PIECES_A_SECOND)):
            await asyncio.sleep(max(0.0, beginning + count / PIECES_A_SECOND - time.perf_counter()))
            mark = f"{count:08d}"
            sent[count] = time.perf_counter()
            await socket.send_str(f'{{"type":"input_audio_buffer.append","audio":"{mark}{PIECE}"}}')
            if (count + number) % PIECES_A_TURN == PIECES_A_TURN - 1:
                asked += 1
                await socket.send_str('{"type":"response.create"}')
        await asyncio.sleep(2.0)  # for the last pieces, and the last turn's end
        if sent:
            crowd.faults.append(f"{len(sent)} pieces never came back")
        await socket.close()
        crowd.turns += await listening


async def _listen(socket: Any, sent: dict[int, float], crowd: Crowd) -> int:
    turns = 0
    async for message in socket:
        now = time.perf_counter()
        event = orjson.loads(message.data)
        match event["type"]:
            case "response.output_audio.delta":
                crowd.trips.append((now - sent.pop(int(event["delta"][:8]))) * 1000)
            case "response.done":
                turns += 1
            case "error":
                crowd.faults.append(str(event)[:300])
    return turns


def set_up(full: FullGateway, upstream: Target) -> int:
    """The model, over a channel of its own; answers the id of the account that pays."""
    body = {"kind": "realtime", "price": PRICE, "max_output_tokens": 4096}
    full.admin.put(f"/admin/v1/models/{MODEL}", json=body).raise_for_status()
    channel = {
        "name": "bench-realtime",
        "provider": "openai",
        "base_url": f"{upstream.base_url}/v1",
        "api_key": UPSTREAM_KEY,
        "models": [{"model": MODEL, "upstream_model": UPSTREAM_MODEL}],
    }
    full.admin.post("/admin/v1/channels", json=channel).raise_for_status()
    account: int = full.admin.get("/admin/v1/accounts").json()["data"][0]["id"]
    return account


def main() -> None:
    """Reads the command line, runs both crowds, prints the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m bench.realtime", description="Realtime sessions in a crowd.")
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    cores = choose_cores()
    with tempfile.TemporaryDirectory(prefix="relaygate-bench-") as name, start_upstream(cores, Path(name)) as upstream:
        direct = uvloop.run(run_crowd(upstream, UPSTREAM_MODEL, args.sessions, min(args.seconds, 20.0)))
        _print("direct", direct)
        with start_full(upstream, cores, Path(name)) as full:
            account = set_up(full, upstream)
            time.sleep(1.0)
            spent, before = cpu_seconds([full.target.worker]), memory_mb(full.target.worker)
            crowd = uvloop.run(run_crowd(full.target, MODEL, args.sessions, args.seconds))
            spent = cpu_seconds([full.target.worker]) - spent
            _print("gateway", crowd)
            print(
                f"worker: {spent / args.seconds:.2f} of a core, {before:.0f} -> {memory_mb(full.target.worker):.0f} MB"
            )
            time.sleep(1.0)
            _judge(direct, crowd, full, account)


def _print(name: str, crowd: Crowd) -> None:
    cuts = statistics.quantiles(crowd.trips, n=100)
    print(
        f"{name}: {len(crowd.trips)} pieces there and back, p50 {cuts[49]:.2f} ms, p90 {cuts[89]:.2f} ms, "
        f"p99 {cuts[98]:.2f} ms; {crowd.turns} turns; {len(crowd.faults)} faults {crowd.faults[:3]}"
    )


def _judge(direct: Crowd, crowd: Crowd, full: FullGateway, account: int) -> None:
    added = statistics.median(crowd.trips) - statistics.median(direct.trips)
    verdict = "ok" if added <= AIM_MS else "MISSED"
    print(
        f"added to a piece there and back, p50: {added:.2f} ms (aim {AIM_MS:g}: {verdict}); each way {added / 2:.2f} ms"
    )
    found = full.admin.get(f"/admin/v1/accounts/{account}").json()
    expected = TURN * crowd.turns
    charged = Decimal(str(found["charged"]))
    exact = (
        "exact"
        if charged == expected and found["held"] == "0"
        else f"MISSED: {expected} expected, held {found['held']}"
    )
    print(f"charged: {charged} dollars for {crowd.turns} turns: {exact}; audit ok: {full.audit()[0]}")


if __name__ == "__main__":
    main()
