"""The usage page with millions of entries: generates them, asks the real gateway, prints times and query plans."""

import asyncio
import contextlib
import os
import random
import re
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx2 as httpx

from app.db.embedded import EmbeddedPostgres
from bench.processes import BenchError, Child, choose_cores, memory_mb, started, tail

ENTRIES = 10_000_000
EXPORTED = 1_000_000
KEYS = 10_000
KEYS_AN_ACCOUNT = 5
MONTHS = 4
ASKED = 200  # keys
LIMIT_MS = 50.0
WRITERS = 2

# In the order of time, as requests make them, a tenth of a second's jitter included. Keys are drawn with a slant: the busiest
# has about twenty times what the middle one has. Ids carry the version and variant bits of RFC 9562.
_FILL = """
INSERT INTO {name}
SELECT (key_id - 1) / {keys_an_account} + 1, id, key_id, gen_random_uuid(), moment, 'model-' || (n % 12),
    1 + n % 4, 'openai_chat', CASE WHEN n % 50 = 0 THEN 'released' ELSE 'settled' END, 5000000,
    CASE WHEN n % 50 = 0 THEN 0 ELSE 1000 + n % 100000 END, 0,
    jsonb_build_object('input_tokens', 100 + n % 3000, 'output_tokens', n % 900),
    1 + n % 12, 1000000, 1000000, CASE WHEN n % 3 = 0 THEN NULL ELSE 800 + n % 50000 END,
    n % 40 = 0, n % 2 = 0, 500 + n % 4000, 100 + n % 500, 1, CASE WHEN n % 50 = 0 THEN 'upstream_timeout' END
FROM (
    SELECT n, moment, 1 + floor({keys} * random() ^ 1.5)::int AS key_id,
        (left(first_id(moment)::text, 14) || '7' || substr(md5(n::text || '{name}'), 1, 3) || '-8'
            || substr(md5(n::text), 1, 3) || '-' || substr(md5(n::text || 'x'), 1, 12))::uuid AS id
    FROM (
        SELECT n, $1::timestamptz + ($2::timestamptz - $1::timestamptz) * (n::float8 / $3) AS moment
        FROM generate_series(0, $3 - 1) AS n
    ) AS times
) AS rows
"""

_CUSTOMERS = """
INSERT INTO accounts (name) SELECT 'bench ' || n FROM generate_series(1, {accounts}) AS n;
INSERT INTO keys (account_id, name, digest, hint)
SELECT (n - 1) / {keys_an_account} + 1, 'bench ' || n, sha256(('sk-bench-' || n)::bytea), 'sk-…' || n
FROM generate_series(1, {keys}) AS n;
INSERT INTO account_balances (account_id, granted, balance) SELECT id, 10^12, 10^12 FROM accounts;
INSERT INTO key_balances (account_id, key_id) SELECT account_id, id FROM keys;
INSERT INTO prices (model, body)
SELECT 'model-' || n - 1, '{{"input_mtok": "0.15", "output_mtok": "0.6", "per_call": "0"}}' FROM generate_series(1, 12) AS n;
"""

# The two counters of every account and key, from the rows: the audit has to find nothing.
_COUNT = """
UPDATE account_balances b SET charged = s.charged, granted = b.granted + s.charged
FROM (SELECT account_id, sum(charged)::bigint AS charged FROM entries GROUP BY 1) s WHERE s.account_id = b.account_id;
UPDATE key_balances b SET charged = s.charged
FROM (SELECT account_id, key_id, sum(charged)::bigint AS charged FROM entries GROUP BY 1, 2) s
WHERE s.account_id = b.account_id AND s.key_id = b.key_id;
INSERT INTO grants (account_id, amount) SELECT account_id, granted FROM account_balances;
"""


@dataclass(frozen=True, slots=True)
class Page:
    """One thing that a holder or an operator looks at."""

    name: str
    path: str
    limit_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one page over many requests."""

    name: str
    p50: float
    p95: float
    max: float
    limit_ms: float | None

    @property
    def ok(self) -> bool:
        return self.limit_ms is None or self.p95 < self.limit_ms


def bench_entries(count: int) -> int:
    """Everything, in a database of its own that is gone afterwards; 1 when a page is slower than it may be."""
    with tempfile.TemporaryDirectory(prefix="relaygate-entries-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        (folder / "data").mkdir()
        with EmbeddedPostgres(folder / "data") as url, _gateway(url, folder) as (child, base_url, token):
            print(f"{count:,} entries of {KEYS:,} keys over {MONTHS} months", flush=True)
            asyncio.run(_generate(url, count))
            timings = _measure(base_url, token)
            _export(child, base_url, token, min(count, EXPORTED))
            asyncio.run(_print_plans(url))
    slow = [timing for timing in timings if not timing.ok]
    for timing in slow:
        print(f"TOO SLOW: {timing.name}, p95 {timing.p95:.1f} ms, not {timing.limit_ms:.0f}")
    return 1 if slow else 0


@contextlib.contextmanager
def _gateway(url: str, folder: Path) -> Iterator[tuple[Child, str, str]]:
    token = f"rga-{secrets.token_urlsafe(32)}"
    port = secrets.randbelow(20_000) + 20_000
    env = {name: value for name, value in os.environ.items() if not name.startswith("RELAYGATE_")} | {
        "RELAYGATE_DATABASE_URL": url,
        "RELAYGATE_DATA_DIR": str(folder),
        "RELAYGATE_SECRET_KEY": secrets.token_urlsafe(32),
        "RELAYGATE_ADMIN_TOKEN": token,
        "RELAYGATE_PORT": str(port),
    }
    base_url = f"http://127.0.0.1:{port}"
    with started("gateway", ["-m", "app", "serve"], choose_cores().gateway, folder, env) as child:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{base_url}/readyz", trust_env=False).status_code == 200:
                    break
            if time.monotonic() > deadline or child.process.poll() is not None:
                raise BenchError(f"the gateway did not become ready:\n{tail(child)}")
            time.sleep(0.05)
        yield child, base_url, token


# -- rows ------------------------------------------------------------------------------------------------------------


async def _generate(url: str, count: int) -> None:
    started_at = time.monotonic()
    connection = await asyncpg.connect(url)
    sizes = {"accounts": KEYS // KEYS_AN_ACCOUNT, "keys": KEYS, "keys_an_account": KEYS_AN_ACCOUNT}
    await connection.execute(_CUSTOMERS.format(**sizes))
    now = await connection.fetchval("SELECT now()")
    months = [_month(now, -back) for back in range(MONTHS - 1, -1, -1)]
    ends = [*months[1:], now]
    total = (now - months[0]).total_seconds()
    jobs: asyncio.Queue[tuple[datetime, datetime, int]] = asyncio.Queue()
    for start, end in zip(months, ends, strict=True):
        jobs.put_nowait((start, end, max(1, round(count * (end - start).total_seconds() / total))))
    await asyncio.gather(*[_fill(url, jobs) for _ in range(WRITERS)])
    print(f"  rows and indexes after {time.monotonic() - started_at:.0f} s", flush=True)
    await connection.execute(_COUNT)
    await connection.execute("VACUUM ANALYZE")
    size = await connection.fetchval(
        "SELECT pg_size_pretty(sum(pg_total_relation_size(inhrelid))) FROM pg_inherits WHERE inhparent = 'entries'::regclass"
    )
    print(f"  counted and analysed after {time.monotonic() - started_at:.0f} s; {size} with indexes", flush=True)
    await connection.close()


async def _fill(url: str, jobs: "asyncio.Queue[tuple[datetime, datetime, int]]") -> None:
    """Months one after the other, each built without indexes, which then are made in one go, and attached."""
    connection = await asyncpg.connect(url, server_settings={"maintenance_work_mem": "512MB"})
    while not jobs.empty():
        start, end, count = jobs.get_nowait()
        name = f"entries_{start:%Y_%m}"
        bounds = await connection.fetchrow("SELECT first_id($1) AS low, first_id($2) AS high", start, _month(start, 1))
        async with connection.transaction():
            await connection.execute(f"DROP TABLE IF EXISTS {name}")
            await connection.execute(f"CREATE TABLE {name} (LIKE entries INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
            query = _FILL.format(name=name, keys=KEYS, keys_an_account=KEYS_AN_ACCOUNT)
            await connection.execute(query, start, end, count, timeout=600)
            await connection.execute(
                f"ALTER TABLE entries ATTACH PARTITION {name} FOR VALUES FROM ('{bounds['low']}') TO ('{bounds['high']}')",
                timeout=600,
            )
    await connection.close()


def _month(moment: datetime, plus: int) -> datetime:
    years, month = divmod(moment.year * 12 + moment.month - 1 + plus, 12)
    return datetime(years, month + 1, 1, tzinfo=UTC)


# -- pages -----------------------------------------------------------------------------------------------------------


def _holder_pages() -> list[Page]:
    now = datetime.now(UTC)
    last_month = f"since={_month(now, -1):%Y-%m-%dT00:00:00Z}&until={_month(now, 0):%Y-%m-%dT00:00:00Z}"
    return [
        Page("newest 50 of a key", "/v1/account/entries?limit=50", LIMIT_MS),
        Page("a month by day", f"/v1/account/usage?by=day&{last_month}", LIMIT_MS),
        Page("a month by model", f"/v1/account/usage?by=model&{last_month}", LIMIT_MS),
        Page("the last 31 days by day and model", "/v1/account/usage?by=day,model", LIMIT_MS),
        Page("balance and limits", "/v1/account", LIMIT_MS),
    ]


def _admin_pages() -> list[Page]:
    day = f"since={datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    return [
        Page("operator: newest 50 of all", "/admin/v1/usage?limit=50"),
        Page("operator: newest 50 of a model", "/admin/v1/usage?limit=50&model=model-3"),
        Page("operator: newest 50 of an account", "/admin/v1/usage?limit=50&account_id={account}"),
        Page("operator: a day of all by model", f"/admin/v1/usage/summary?by=model&{day}"),
    ]


def _measure(base_url: str, token: str) -> list[Timing]:
    keys = random.Random(1).sample(range(1, KEYS + 1), ASKED)
    timings: list[Timing] = []
    print(f"\n{'page':48}{'p50':>8}{'p95':>8}{'max':>8}  ms over {ASKED} random keys")
    with httpx.Client(base_url=base_url, timeout=60, trust_env=False) as client:

        def ask(key: int, page: Page) -> float:
            bearer = token if page.path.startswith("/admin") else f"sk-bench-{key}"
            path = page.path.format(account=(key - 1) // KEYS_AN_ACCOUNT + 1)
            started_at = time.perf_counter()
            answer = client.get(path, headers={"authorization": f"Bearer {bearer}"})
            took = (time.perf_counter() - started_at) * 1000
            if answer.status_code != 200:
                raise BenchError(f"{page.path}: {answer.status_code} {answer.text[:300]}")
            return took

        for page in _holder_pages():
            for state in ("first", "again"):
                timings.append(_time(f"{page.name} ({state})", page.limit_ms, partial(ask, page=page), keys))
        for page in _holder_pages()[:4]:
            timings.append(_time(f"{page.name} (busiest key)", None, partial(ask, page=page), [1] * 20))
        for page in _admin_pages():
            timings.append(_time(page.name, page.limit_ms, partial(ask, page=page), keys[:10]))
    return timings


def _time(name: str, limit_ms: float | None, ask: Callable[[int], float], keys: Sequence[int]) -> Timing:
    taken = sorted(ask(key) for key in keys)
    timing = Timing(name, statistics.median(taken), taken[int(len(taken) * 0.95)], taken[-1], limit_ms)
    print(f"{name:48}{timing.p50:8.1f}{timing.p95:8.1f}{timing.max:8.1f}", flush=True)
    return timing


def _export(child: Child, base_url: str, token: str, lines: int) -> None:
    """Reads that many lines of the CSV of everything; more would only take longer."""
    before = peak = memory_mb(child.pid)
    count = size = 0
    started_at = time.perf_counter()
    headers = {"authorization": f"Bearer {token}"}
    with httpx.stream("GET", f"{base_url}/admin/v1/usage.csv", headers=headers, timeout=60, trust_env=False) as answer:
        for part in answer.iter_bytes():
            count += part.count(b"\r\n")
            size += len(part)
            peak = max(peak, memory_mb(child.pid))
            if count >= lines:
                break
    took = time.perf_counter() - started_at
    print(f"\nexport: {count:,} lines, {size / 1e6:.0f} MB in {took:.1f} s; gateway {before:.0f} → {peak:.0f} MB")


# -- plans -----------------------------------------------------------------------------------------------------------


async def _print_plans(url: str) -> None:
    """The plans of the holder's two queries for a middling key, as `app.ledger.entries` asks them."""
    connection = await asyncpg.connect(url, server_settings={"jit": "off"})
    key = KEYS // 2
    where = f"account_id = {(key - 1) // KEYS_AN_ACCOUNT + 1} AND key_id = {key}"
    now = datetime.now(UTC)
    low, high = [await connection.fetchval("SELECT first_id($1)", _month(now, back)) for back in (-1, 0)]
    queries = {
        "newest 50 of a key": f"SELECT * FROM entries WHERE {where} ORDER BY id DESC LIMIT 51",
        "a month of a key by day": "SELECT CAST(timezone('UTC', created_at) AS date), count(*), sum(charged) FROM entries "
        f"WHERE {where} AND id >= '{low}' AND id < '{high}' GROUP BY 1",
    }
    for name, query in queries.items():
        await connection.execute(f"SET enable_sort = {'off' if 'LIMIT' in query else 'on'}")
        rows: list[Any] = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {query}")
        print(f"\nplan: {name}")
        for row in rows:
            line = re.sub(r"'[0-9a-f]{8}-[0-9a-f-]+'::uuid", "…", row[0])
            print(f"  {line}")
    await connection.close()
