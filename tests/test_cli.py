"""The `relaygate` command: every call in a process of its own, most of them forked off one that has loaded the code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx2
import pytest

from tests.catalog.lists import published
from tests.catalog.publisher import run_publisher
from tests.demo.process import DemoProcess
from tests.gateway import SECRET_KEY, Gateway, free_port
from tests.zygote import Zygote, zygote

SECRET = "upstream-secret-0123456789"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def refused(self) -> str:
        """The one line that says what was wrong."""
        assert self.code == 1, self
        assert self.err.startswith("relaygate: "), self
        assert self.err.count("\n") == 1, self
        assert self.out == "", self
        return self.err.removeprefix("relaygate: ").strip()


@dataclass(frozen=True)
class Shell:
    """Where commands run: a folder without a checkout, and the settings of one gateway."""

    folder: Path
    settings: dict[str, str]
    zygote: Zygote

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAYGATE_")}
        return {**inherited, "COLUMNS": "200", **self.settings}

    def run(self, *arguments: str, **settings: str) -> Done:
        done = Done(*self.zygote.run(arguments, {**self.environment, **settings}, self.folder))
        assert "Traceback" not in done.err, done.err
        return done

    def type(self, *arguments: str, **settings: str) -> Done:
        """As people do it: Python starts for this command alone."""
        command = [sys.executable, "-m", "app", *arguments]
        environment = {**self.environment, **settings}
        done = subprocess.run(
            command,
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def succeed(self, *arguments: str, **settings: str) -> str:
        done = self.run(*arguments, **settings)
        assert done.code == 0, done
        return done.out

    def refusals(self, *commands: Sequence[str]) -> list[str]:
        """What each says that was wrong."""
        return [self.run(*command).refused() for command in commands]

    def rows(self, *arguments: str) -> list[dict[str, str]]:
        """A printed table, by column."""
        head, *lines = self.succeed(*arguments).splitlines()
        names = head.split()
        return [dict(zip(names, line.split(), strict=True)) for line in lines]


@pytest.fixture(scope="module")
def loaded() -> Iterator[Zygote]:
    with zygote() as started:
        yield started


@pytest.fixture(scope="module")
def shell(work_dir: Path, new_database: Callable[[], str], loaded: Zygote) -> Shell:
    """An empty database that nobody serves."""
    folder = work_dir / "cli"
    folder.mkdir()
    return Shell(folder, {"RELAYGATE_DATABASE_URL": new_database(), "RELAYGATE_SECRET_KEY": SECRET_KEY}, loaded)


@pytest.fixture(scope="module")
def served(gateway: Gateway, work_dir: Path, loaded: Zygote) -> Shell:
    """The database of a gateway that runs."""
    settings = {"RELAYGATE_DATABASE_URL": gateway.database_url, "RELAYGATE_SECRET_KEY": SECRET_KEY}
    return Shell(work_dir, settings, loaded)


@pytest.mark.long
def test_migrate_makes_the_schema_and_then_nothing(shell: Shell) -> None:
    first = shell.succeed("migrate")
    assert re.fullmatch(r"The schema is at \d{4}\n", first)
    assert shell.succeed("migrate") == first


def test_commands_migrate_an_empty_database(shell: Shell, new_database: Callable[[], str]) -> None:
    assert shell.succeed("accounts", "create", "first", RELAYGATE_DATABASE_URL=new_database()) == "Account 1 (first)\n"


def test_version(shell: Shell) -> None:
    assert re.fullmatch(r"relaygate \d+\.\d+\.\d+\n", shell.type("version").out)


def test_help_names_every_command(shell: Shell) -> None:
    text = shell.type("--help").out
    for name in (
        "serve",
        "migrate",
        "audit",
        "demo",
        "accounts",
        "grants",
        "keys",
        "channels",
        "models",
        "prices",
        "admin-token",
    ):
        assert name in text


def test_accounts_and_grants(shell: Shell) -> None:
    made = shell.succeed(
        "accounts", "create", "team", "--grant", "5", "--email", "a@example.com", "--price-ratio", "0.5"
    )
    id = re.fullmatch(r"Account (\d+) \(team\)\n", made)
    assert id is not None
    added = shell.succeed("grants", "add", id[1], "-0.25", "--note", "less", "--idempotency-key", "k")
    assert added.endswith(f" of -0.25 to account {id[1]} (team); balance 4.75\n"), "a minus sign is no option"
    conflict, nobody, correction = shell.refusals(
        ["grants", "add", id[1], "2", "--idempotency-key", "k"],
        ["grants", "add", "999999", "1"],
        ["accounts", "create", "x", "--grant", "-1"],
    )
    assert "another amount" in conflict
    assert nobody == "There is no account 999999."
    assert correction.startswith("The correction exceeds")
    rows = {row["name"]: row for row in shell.rows("accounts", "list")}
    assert rows["team"] == {
        "id": id[1],
        "name": "team",
        "enabled": "yes",
        "ratio": "0.5",
        "granted": "4.75",
        "balance": "4.75",
        "held": "0",
        "charged": "0",
    }
    assert "x" not in rows, "an account without its grant isn't made"


def test_keys(shell: Shell) -> None:
    shell.succeed("accounts", "create", "keyring")
    rules = ("--quota", "2", "--expires-in-days", "3", "--model", "demo", "--model", "org/x")
    done = shell.run("keys", "create", "--account", "keyring", "--name", "ci", *rules)
    assert done.code == 0
    assert re.fullmatch(r"sk-[-_A-Za-z0-9]{43}\n", done.out), "stdout holds the key and nothing else"
    key = done.out.strip()
    assert key not in done.err
    (row,) = shell.rows("keys", "list", "--account", "keyring")
    expires = row.pop("expires")
    assert row == {
        "id": row["id"],
        "account": row["account"],
        "name": "ci",
        "key": f"sk-…{key[-4:]}",
        "enabled": "yes",
        "models": "demo,org/x",
        "quota": "2",
        "balance": "2",
        "charged": "0",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", expires)
    rotated = shell.succeed("keys", "rotate", row["id"]).strip()
    assert rotated != key
    assert shell.rows("keys", "list", "--account", row["account"])[0]["key"] == f"sk-…{rotated[-4:]}"
    assert shell.succeed("keys", "revoke", row["id"]) == f"Key {row['id']} is revoked\n"
    again, nobody, quota = shell.refusals(
        ["keys", "revoke", row["id"]],
        ["keys", "create", "--account", "nobody"],
        ["keys", "create", "--account", "keyring", "--quota", "-1"],
    )
    assert again == f"There is no key {row['id']}."
    assert nobody == "There is no account named 'nobody'."
    assert quota.startswith("quota: ")


def test_channels(shell: Shell, demo: DemoProcess) -> None:
    where = ("--provider", "openai", "--base-url", f"{demo.url}/v1", "--priority", "5")
    add = ("channels", "add", "upstream", *where, "--model", "gpt=demo", "--model", "broken=demo?status=400&echo_key=1")
    assert "RELAYGATE_CHANNEL_API_KEY" in shell.run(*add).refused(), "nobody is there to be asked"
    added = shell.succeed(*add, RELAYGATE_CHANNEL_API_KEY=SECRET)
    (id,) = re.findall(r"^Channel (\d+) \(upstream\); try it: relaygate channels test \d+$", added, re.MULTILINE)
    caps = ("--weight", "3", "--class", "home", "--rpm", "60", "--concurrency", "4", "--lacks", "vision")
    shell.succeed("channels", "add", "local", "--provider", "ollama", "--model", "llama", *caps)
    listed = shell.succeed("channels", "list")
    assert re.search(rf"^{id} +upstream +openai +{demo.url}/v1 +yes +5 +broken=\S+,gpt=demo$", listed, re.MULTILINE)
    assert re.search(r"^\d+ +local +ollama +http://127\.0\.0\.1:11434/v1 +yes +0 +llama$", listed, re.MULTILINE)
    tried = shell.succeed("channels", "test", id, "--model", "gpt")
    assert re.fullmatch(r"gpt: ok \(\d+ ms, \d+ tokens in, \d+ out\)\n", tried)
    failed = shell.run("channels", "test", id)
    assert failed.refused().startswith("broken: ")
    assert "status 400" in failed.err
    again, bad_cap, bad_key = shell.refusals(
        [*add, "--api-key", SECRET],
        ["channels", "add", "x", "--provider", "ollama", "--model", "m", "--tpm", "0"],
        ["channels", "add", "x", "--provider", "openai", "--model", "m", "--api-key", f"{SECRET}\n"],
    )
    assert again == "There is a channel named 'upstream' already."
    assert bad_cap.startswith("options.tpm: ")
    assert bad_key.startswith("api_key: ")
    for text in (added, listed, failed.err, bad_key):
        assert SECRET not in text
    other_key = shell.run("channels", "test", id, RELAYGATE_SECRET_KEY="another-secret-key-0123456789")
    assert "RELAYGATE_SECRET_KEY has changed" in other_key.refused()


def test_models(shell: Shell) -> None:
    rules = (
        "--input-mtok",
        "0.15",
        "--output-mtok",
        "0.6",
        "--max-output-tokens",
        "100",
        "--alias",
        "a",
        "--alias",
        "b",
    )
    assert shell.succeed("models", "set", "org/m", *rules) == "Model org/m\n"
    assert shell.succeed("models", "set", "gratis", "--free") == "Model gratis\n"
    assert "no price yet" in shell.succeed("models", "set", "later")
    listed = shell.succeed("models", "list")
    assert re.search(r"^org/m +input_mtok=0\.15 output_mtok=0\.6 +- +- +100 +a,b +-$", listed, re.MULTILINE)
    assert re.search(r"^gratis +free +- +- +- +- +-$", listed, re.MULTILINE)
    assert re.search(r"^later +- +- +- +- +- +-$", listed, re.MULTILINE)
    shell.succeed("models", "set", "first", "--free", "--fallback", "org/m", "--max-attempts", "2", "--lacks", "tools")
    price, name, fallback = shell.refusals(
        ["models", "set", "x", "--input-mtok", "cheap"],
        ["models", "set", " "],
        ["models", "set", "x", "--fallback", "misspelt"],
    )
    assert price.startswith("price.input_mtok: ")
    assert name.startswith("name: ")
    assert fallback.startswith("options.fallbacks: ")


@pytest.mark.long
def test_prices(shell: Shell) -> None:
    with run_publisher() as publisher:
        publisher.publish(published(1))
        update = {"RELAYGATE_PRICE_UPDATE_URL": publisher.url}
        assert re.search(
            r"^openai/gpt-4o-mini +input_mtok=0\.15 ", shell.succeed("prices", "search", "gpt-4o-mini"), re.M
        )
        assert "From genai-prices" in shell.succeed("prices", "search", "gpt-4o-mini", "--limit", "1")
        assert f"from {publisher.url}, fetched 2" in shell.succeed("prices", "update", **update)
        taken = shell.succeed("models", "set", "model0")
        assert taken == "Model model0; its price is the catalogue's: vendor0/model0\n"
        assert re.search(
            r"^model0 +input_mtok=1 output_mtok=8 \+1 variants +vendor0/model0 ", shell.succeed("models", "list"), re.M
        )
        assert shell.succeed("prices", "apply") == "Everything is as the catalogue says.\n"
        publisher.publish(published(2))
        shell.succeed("prices", "update", **update)
        for arguments, last in ((["--dry-run"], "Nothing was changed."), ([], None)):
            head, row, *rest = shell.succeed("prices", "apply", *arguments).splitlines()
            assert head.split() == ["model", "cost", "at", "ref", "before", "after"]
            assert re.match(r"model0 +- +vendor0/model0 +input_mtok=1 .* +input_mtok=2 ", row)
            assert rest == ([] if last is None else [last])
        assert shell.succeed("prices", "apply") == "Everything is as the catalogue says.\n"
        publisher.publish([], status=500)
        assert "status 500" in shell.run("prices", "update", **update).refused()


def test_audit_tells_drift_by_its_exit_code(shell: Shell, new_database: Callable[[], str]) -> None:
    url = new_database()
    shell.succeed("accounts", "create", "team", "--grant", "5", RELAYGATE_DATABASE_URL=url)
    sound = shell.succeed("audit", RELAYGATE_DATABASE_URL=url)
    assert sound.startswith("The books balance.\naccounts 1, keys 0, entries 0, open holds 0\n")
    found = json.loads(shell.succeed("audit", "--json", RELAYGATE_DATABASE_URL=url))
    assert (found["ok"], found["drift_nano"], found["drifts"]) == (True, 0, [])

    async def tamper() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("UPDATE account_balances SET granted = granted + 3, balance = balance + 3")
        await connection.close()

    asyncio.run(tamper())
    broken = shell.run("audit", RELAYGATE_DATABASE_URL=url)
    assert broken.code == 1
    assert broken.out.startswith("DRIFT: the books differ by 3 nano-dollars.\n")
    assert "account 1: granted 5.000000003, balance 5.000000003" in broken.out
    broken = shell.run("audit", "--json", RELAYGATE_DATABASE_URL=url)
    assert (broken.code, json.loads(broken.out)["drift_nano"]) == (1, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"RELAYGATE_PORT": "many"}, "RELAYGATE_PORT: "),
        ({"RELAYGATE_DATABASE_URL": "mysql://localhost/x"}, "the database URL must start with postgresql://"),
        ({"RELAYGATE_DATABASE_URL": "postgresql://u:hunter2-password@127.0.0.1:9/x"}, "The database can't be reached"),
        ({"RELAYGATE_SECRET_KEY": "short"}, "RELAYGATE_SECRET_KEY needs at least 16 characters"),
    ],
)
def test_wrong_settings_are_one_clear_line(shell: Shell, settings: dict[str, str], message: str) -> None:
    line = shell.run("accounts", "list", **settings).refused()
    assert message in line
    assert "hunter2" not in line


def test_what_the_command_line_makes_a_running_gateway_serves(
    served: Shell, gateway: Gateway, demo: DemoProcess
) -> None:
    served.succeed(
        "channels",
        "add",
        "cli-demo",
        "--provider",
        "demo",
        "--base-url",
        f"{demo.url}/v1",
        "--model",
        "cli=demo",
        "--api-key",
        SECRET,
    )
    served.succeed("models", "set", "cli", "--input-mtok", "1", "--output-mtok", "2")
    served.succeed("accounts", "create", "cli-team", "--grant", "1")
    key = served.succeed("keys", "create", "--account", "cli-team").strip()
    body = {"model": "cli", "messages": [{"role": "user", "content": "Hello"}]}
    with httpx2.Client(base_url=gateway.base_url, headers={"authorization": f"Bearer {key}"}) as client:
        assert client.post("/chat/completions", json=body).status_code == 200
        (row,) = served.rows("keys", "list", "--account", "cli-team")
        served.succeed("keys", "revoke", row["id"])
        deadline = time.monotonic() + 1
        while client.post("/chat/completions", json=body).status_code != 401:
            assert time.monotonic() < deadline


def test_an_admin_token_opens_the_admin_api(served: Shell, gateway: Gateway) -> None:
    token = served.succeed("admin-token", "--name", "second").strip()
    assert re.fullmatch(r"rga-[-_A-Za-z0-9]{43}", token)
    url = f"{gateway.url}/admin/v1/accounts"
    assert httpx2.get(url, headers={"authorization": f"Bearer {token}"}).status_code == 200
    assert httpx2.get(url, headers={"authorization": f"Bearer {token[:-1]}"}).status_code == 401


def test_demo_runs_the_demo_upstream(shell: Shell) -> None:
    command = [sys.executable, "-m", "app", "demo", "--port", "0"]
    with subprocess.Popen(
        command, env=shell.environment, cwd=shell.folder, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 20)[0]
            url = process.stdout.readline().rpartition(" ")[2].strip()
            body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
            headers = {"authorization": "Bearer x"}
            assert httpx2.post(f"{url}/v1/chat/completions", json=body, headers=headers).status_code == 200
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.long
def test_shares_the_embedded_database_with_a_running_gateway(work_dir: Path, loaded: Zygote) -> None:
    """Before, beside and after `relaygate serve`, on nothing but a data directory."""
    folder = work_dir / "own"
    folder.mkdir()
    port = free_port()
    shell = Shell(folder, {"RELAYGATE_DATA_DIR": str(folder / "data"), "RELAYGATE_PORT": str(port)}, loaded)
    shell.succeed("accounts", "create", "before")
    token = shell.succeed("admin-token").strip()
    command = [sys.executable, "-m", "app", "serve"]
    with subprocess.Popen(command, env=shell.environment, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            while not process.stdout.readline().startswith("Relaygate serves on "):
                assert process.poll() is None
            shell.succeed("accounts", "create", "beside")
            answer = httpx2.get(
                f"http://127.0.0.1:{port}/admin/v1/accounts", headers={"authorization": f"Bearer {token}"}
            )
            assert [account["name"] for account in answer.json()["data"]] == ["before", "beside"]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0
    assert [row["name"] for row in shell.rows("accounts", "list")] == ["before", "beside"]
    assert not (folder / "data" / "postgres" / "postmaster.pid").exists(), "the last one stops the database"
