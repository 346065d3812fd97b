"""The embedded PostgreSQL, tried on real servers and with real processes that die at bad moments."""

import asyncio
import contextlib
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest

from app.db.embedded import EmbeddedPostgres
from app.db.host import EmbeddedPostgresError

_REPOSITORY = Path(__file__).parents[2]
_NOBODY = 65534
_IS_ROOT = os.geteuid() == 0
_as_root = pytest.mark.skipif(not _IS_ROOT, reason="needs root, to act as several users")

# A process that uses the server until it is told to stop. It may first become an ordinary user, for good: it does so
# by itself because the interpreter may lie in a folder that such a user cannot execute from.
_USER = """
import os, sys
from pathlib import Path
from app.db.embedded import EmbeddedPostgres
if len(sys.argv) > 2:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.start(), flush=True)
sys.stdin.readline()
server.stop()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not pytest's tmp_path: another run's start closes pytest's folder to the server's user again.
    top = Path(tempfile.mkdtemp(prefix="rg-"))
    try:
        yield top / "data"
    finally:
        for left in top.rglob("postmaster.pid"):
            _kill(int(left.read_text().split()[0]), serving=left.parent)
        shutil.rmtree(top)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[str, Path]]:
    """A server for the tests that only look: its DSN and its data directory."""
    top = Path(tempfile.mkdtemp(prefix="rg-"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PGPORT", "PGHOST", "PGDATA", "PGOPTIONS", "RELAYGATE_SECRET_KEY"):
            patch.setenv(name, "1")
        try:
            with EmbeddedPostgres(top / "data") as dsn:
                yield dsn, top / "data"
        finally:
            shutil.rmtree(top)


def _postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def _kill(pid: int, *, serving: Path) -> None:
    """Kill -9 the postmaster of one cluster, and nothing else that may have its pid."""
    command = Path(f"/proc/{pid}/cmdline")
    if command.exists() and os.fsencode(serving) in command.read_bytes().split(b"\0"):
        watch = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        _await_exit(watch)


def _await_exit(watch: int) -> None:
    try:
        assert select.select([watch], [], [], 10)[0], "the process goes on"
    finally:
        os.close(watch)


@contextlib.contextmanager
def _exits(pid: int) -> Iterator[None]:
    """Holds if the process lives at the start of the block and is gone soon after its end."""
    watch = os.pidfd_open(pid)
    assert not select.select([watch], [], [], 0)[0]
    yield
    _await_exit(watch)


@contextlib.contextmanager
def _user(data_dir: Path, uid: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Another process that uses the server, killed at the end of the block at the latest."""
    command = [sys.executable, "-c", _USER, str(data_dir), *([str(uid)] if uid is not None else [])]
    with subprocess.Popen(
        command, cwd=_REPOSITORY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _dsn_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _finish(process: "subprocess.Popen[str]") -> None:
    process.communicate("stop\n", timeout=20)
    assert process.returncode == 0


def _ask(dsn: str, *statements: str) -> object:
    """Run statements on a connection of their own; the value of the last."""

    async def ask() -> object:
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(ask())


def _note(dsn: str) -> None:
    _ask(dsn, "CREATE TABLE note (text TEXT)", "INSERT INTO note VALUES ('kept') RETURNING text")


def _socket_dir(dsn: str) -> Path:
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


def _await(condition: Callable[[], bool]) -> None:
    """Poll for what the file system alone tells, and tells without an event."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_restart_keeps_the_data(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    dsn = server.start()
    assert server.start() == dsn
    _note(dsn)
    with _exits(_postmaster(data_dir)):
        server.stop()
    server.stop()
    with server as again:
        assert again == dsn
        assert _ask(again, "SELECT text FROM note") == "kept"


def test_the_server_is_set_up_for_money_and_for_nobody_else(shared: tuple[str, Path]) -> None:
    dsn, data_dir = shared
    expected = {
        "listen_addresses": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "max_connections": "200",
        "wal_level": "minimal",
        "jit": "off",
        "password_encryption": "scram-sha-256",
        "unix_socket_permissions": "0700",
    }
    assert {name: _ask(dsn, f"SHOW {name}") for name in expected} == expected
    assert _ask(dsn, "SELECT string_agg(DISTINCT auth_method, ' ') FROM pg_hba_file_rules") == "scram-sha-256"
    assert _ask(dsn, "SELECT upper('é ж ') || current_database()") == "É Ж relaygate"
    assert stat.S_IMODE(_socket_dir(dsn).stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "postgres-password").stat().st_mode) == 0o600


def test_the_environment_neither_misleads_nor_leaks(shared: tuple[str, Path]) -> None:
    dsn, data_dir = shared
    assert os.environ["PGPORT"] == "1"
    assert _ask(dsn, "SELECT 1") == 1
    assert b"RELAYGATE" not in Path(f"/proc/{_postmaster(data_dir)}/environ").read_bytes()


@pytest.mark.parametrize("stranger", ["relaygate:wrong@", "relaygate@", "postgres:wrong@"])
def test_nobody_logs_in_without_the_password(shared: tuple[str, Path], stranger: str) -> None:
    dsn = urlunsplit(urlsplit(shared[0])._replace(netloc=stranger)) + "&passfile=/nowhere"
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError), match="password"):
        _ask(dsn, "SELECT 1")


@_as_root
def test_other_local_users_reach_nothing(shared: tuple[str, Path]) -> None:
    dsn, data_dir = shared
    script = """
import os, socket, sys
uid, path, *files = sys.argv[1:]
os.setgroups([]); os.setgid(int(uid)); os.setuid(int(uid))
for door in (socket.socket(socket.AF_UNIX).connect, *[lambda _, file=file: open(file) for file in files]):
    try:
        door(path)
        print("open", end=" ")
    except PermissionError:
        print("closed", end=" ")
"""
    doors = [_socket_dir(dsn) / ".s.PGSQL.5432", data_dir / "postgres-password", data_dir / "postgres" / "PG_VERSION"]
    seen = {
        uid: subprocess.check_output([sys.executable, "-c", script, str(uid), *map(str, doors)]).split()
        for uid in (0, _NOBODY)
    }
    assert seen == {0: [b"open"] * 3, _NOBODY: [b"closed"] * 3}


def test_the_last_process_stops_the_server(data_dir: Path) -> None:
    first = EmbeddedPostgres(data_dir)
    dsn = first.start()
    with _user(data_dir) as second:
        assert _dsn_of(second) == dsn
        with _exits(_postmaster(data_dir)):
            first.stop()
            assert _ask(dsn, "SELECT 1") == 1
            _finish(second)


def test_processes_that_start_together_share_one_server(data_dir: Path) -> None:
    with _user(data_dir) as one, _user(data_dir) as other, _user(data_dir) as third:
        assert _dsn_of(one) == _dsn_of(other) == _dsn_of(third) != ""
        with _exits(_postmaster(data_dir)):
            for process in (one, other, third):
                _finish(process)


def test_a_killed_process_counts_no_more(data_dir: Path) -> None:
    with _user(data_dir) as process:
        _note(_dsn_of(process))
    assert process.returncode == -signal.SIGKILL
    left = _postmaster(data_dir)
    server = EmbeddedPostgres(data_dir)
    assert _ask(server.start(), "SELECT text FROM note") == "kept"
    assert _postmaster(data_dir) == left
    with _exits(left):
        server.stop()


def test_a_killed_server_recovers(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    _note(server.start())
    _kill(_postmaster(data_dir), serving=data_dir / "postgres")
    with EmbeddedPostgres(data_dir) as dsn:  # the first still counts as a user: it would stop this one
        assert _ask(dsn, "SELECT text FROM note") == "kept"
        pid = _postmaster(data_dir)
    with _exits(pid):
        server.stop()


@pytest.mark.long
def test_a_left_over_pid_file_is_no_obstacle(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    dsn = server.start()
    _note(dsn)
    left = (data_dir / "postgres" / "postmaster.pid", _socket_dir(dsn) / ".s.PGSQL.5432.lock")
    owner = (data_dir / "postgres").stat().st_uid
    with subprocess.Popen(["sleep", "60"], user=owner if _IS_ROOT else None) as bystander:
        try:
            for content in ("{bystander}\n{rest}", "", "rubbish\n"):
                _kill(_postmaster(data_dir), serving=data_dir / "postgres")
                server.stop()
                for path in left:
                    rest = path.read_text().partition("\n")[2]
                    path.write_text(content.format(bystander=bystander.pid, rest=rest))
                assert _ask(server.start(), "SELECT text FROM note") == "kept"
            with _exits(_postmaster(data_dir)):
                server.stop()
            assert bystander.poll() is None
        finally:
            bystander.kill()


@pytest.mark.long
def test_a_start_killed_halfway_leaves_nothing_to_believe_in(data_dir: Path) -> None:
    with _user(data_dir) as process:
        _await(lambda: any(data_dir.glob("postgres.init-*/cluster/PG_VERSION")))
        process.kill()
    assert not (data_dir / "postgres").exists()
    with EmbeddedPostgres(data_dir) as dsn:
        _note(dsn)
    with EmbeddedPostgres(data_dir) as dsn:
        assert _ask(dsn, "SELECT text FROM note") == "kept"
    assert not list(data_dir.glob("postgres.init-*"))


@pytest.mark.long
@_as_root
def test_an_ordinary_user_runs_the_server_as_itself(data_dir: Path) -> None:
    data_dir.parent.chmod(0o711)
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, _NOBODY, _NOBODY)
    with _user(data_dir, _NOBODY) as process:
        dsn = _dsn_of(process)
        pid = _postmaster(data_dir)
        assert Path(f"/proc/{pid}").stat().st_uid == _NOBODY
        with EmbeddedPostgres(data_dir) as joined:  # root joins, as the folder's owner
            assert joined == dsn
            assert _ask(dsn, "SELECT 1") == 1
            _finish(process)
            assert _ask(dsn, "SELECT 1") == 1
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


@_as_root
def test_root_opens_folders_for_search_only(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    closed = data_dir.parent
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    with EmbeddedPostgres(data_dir):
        assert Path(f"/proc/{_postmaster(data_dir)}").stat().st_uid not in (0, _NOBODY)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701
    assert [str(closed) in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.long
@pytest.mark.parametrize("name", ["deep" * 40, "it's, a name"])
def test_an_impossible_socket_path_is_replaced(data_dir: Path, name: str) -> None:
    folder = data_dir / name
    server = EmbeddedPostgres(folder)
    dsn = server.start()
    socket_dir = _socket_dir(dsn)
    try:
        assert stat.S_IMODE(socket_dir.lstat().st_mode) == 0o700
        assert data_dir not in socket_dir.parents
        assert _ask(dsn, "SELECT 1") == 1
        with EmbeddedPostgres(folder) as joined:
            assert joined == dsn
        server.stop()
        socket_dir.rmdir()
        socket_dir.symlink_to(data_dir)
        with pytest.raises(EmbeddedPostgresError, match=socket_dir.name):
            server.start()
        socket_dir.unlink()
        if _IS_ROOT:
            socket_dir.mkdir()
            os.chown(socket_dir, _NOBODY, _NOBODY)
            with pytest.raises(EmbeddedPostgresError, match=f"{socket_dir.name} belongs to another user"):
                server.start()
    finally:
        server.stop()
        if socket_dir.is_symlink():
            socket_dir.unlink()
        elif socket_dir.exists():
            shutil.rmtree(socket_dir)


@_as_root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux")
def test_a_second_container_on_the_volume_joins_the_server(data_dir: Path) -> None:
    script = f"import sys; sys.argv = ['', {str(data_dir)!r}]\n{_USER}"
    with EmbeddedPostgres(data_dir) as dsn:
        pid = _postmaster(data_dir)
        isolate = ["unshare", "--pid", "--ipc", "--mount-proc", "--fork", "--kill-child"]
        done = subprocess.run(
            [*isolate, sys.executable, "-c", script], cwd=_REPOSITORY, input="stop\n", text=True, capture_output=True
        )
        assert (done.stdout.strip(), done.stderr) == (dsn, "")
        assert _postmaster(data_dir) == pid
        assert _ask(dsn, "SELECT 1") == 1


def test_errors_say_what_to_do(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    with server:
        pass
    settings = data_dir / "postgres" / "postgresql.conf"
    good = settings.read_text()
    settings.write_text(good + "no_such_setting = 1\n")
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        server.start()
    settings.write_text(good)
    password = data_dir / "postgres-password"
    kept = password.read_text()
    password.write_text("another")
    with pytest.raises(EmbeddedPostgresError, match=r"refuses our login.*password authentication failed"):
        server.start()
    assert not (data_dir / "postgres" / "postmaster.pid").exists(), "a server that nobody uses was left behind"
    password.unlink()
    with pytest.raises(EmbeddedPostgresError, match="restore it"):
        server.start()
    password.write_text(kept)
    with server as dsn:
        assert _ask(dsn, "SELECT 1") == 1
    (data_dir / "postgres" / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL 15.*RELAYGATE_DATABASE_URL"):
        server.start()
    (data_dir / "postgres" / "PG_VERSION").unlink()
    with pytest.raises(EmbeddedPostgresError, match="no PostgreSQL cluster"):
        server.start()


def test_a_platform_without_the_wheel_is_told_the_alternative(data_dir: Path) -> None:
    script = f"import sys; sys.argv = ['', {str(data_dir)!r}]; sys.path = [{str(_REPOSITORY)!r}, *sys.path]\n{_USER}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], text=True, capture_output=True)
    assert done.returncode == 1
    assert "EmbeddedPostgresError: There is no embedded PostgreSQL for this platform" in done.stderr
    assert "RELAYGATE_DATABASE_URL" in done.stderr
