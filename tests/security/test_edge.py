"""Host confusion, credential redirect and consumption: what stands in headers and bodies and mustn't decide anything."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

from app.main import create_app
from app.settings import Settings
from tests.demo.process import DemoProcess
from tests.dependency_audit import FLOORS, LOCK, below_floor, locked_versions
from tests.gateway import SECRET_KEY, Customer, Gateway, Operator

HOSTS = [
    "localhost/v1/models?", "localhost#", "a@b", "localhost/healthz", "localhost?x=/healthz", "[::1", "", "a b", "healthz/..",
    "localhost:99999", "\u00e9",
]  # fmt: skip


def _raw(gateway: Gateway, method: str, path: str, host: str) -> int:
    """The status of a request whose Host header is exactly this; 0 where the connection was closed without one."""
    address = urlsplit(gateway.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host.encode("utf-8").decode("latin-1"))
        connection.endheaders()
        return connection.getresponse().status
    except http.client.RemoteDisconnected:
        return 0
    finally:
        connection.close()


@pytest.mark.parametrize("host", HOSTS)
def test_host_confusion(gateway: Gateway, host: str) -> None:
    for path in ("/admin/v1/accounts", "/v1/account", "/metrics"):
        assert _raw(gateway, "GET", path, host) in (400, 401), path


def test_host_confusion_floor_of_starlette() -> None:
    versions = locked_versions(LOCK.read_text())
    assert "starlette" in FLOORS
    assert below_floor(versions) == []
    assert below_floor({**versions, "starlette": "1.0.0"}) == ["starlette 1.0.0 is below 1.0.1 (CVE-2026-48710)"]


REDIRECTS = ["api_base", "base_url", "api_key", "custom_host", "api_version", "organization", "extra_headers"]


@pytest.mark.parametrize("field", REDIRECTS)
def test_credential_redirect_in_a_body(gateway: Gateway, operator: Operator, demo: DemoProcess, field: str) -> None:
    """The call goes where the channel says, under the channel's key, whatever a body names."""
    mark = uuid4().hex[:10]
    model, customer = operator.model(f"demo-{mark}"), operator.customer()
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], field: "http://127.0.0.1:9/steal"}
    answer = httpx2.post(f"{gateway.base_url}/chat/completions", json=body, headers=customer.headers)
    assert answer.status_code in (200, 400), answer.text
    assert len(_assert_sent_with_the_channels_key(demo, mark)) == (answer.status_code == 200)


@pytest.mark.parametrize(
    "header",
    ["x-api-base", "api-base", "x-base-url", "x-portkey-custom-host", "x-forwarded-host", "openai-organization"],
)
def test_credential_redirect_in_a_header(gateway: Gateway, operator: Operator, demo: DemoProcess, header: str) -> None:
    mark = uuid4().hex[:10]
    model, customer = operator.model(f"demo-{mark}"), operator.customer()
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {**customer.headers, header: "http://127.0.0.1:9/steal"}
    assert httpx2.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers).status_code == 200
    sent = _assert_sent_with_the_channels_key(demo, mark)
    assert header not in sent[0]


def _assert_sent_with_the_channels_key(demo: DemoProcess, mark: str) -> list[dict[str, str]]:
    found = httpx2.get(f"{demo.url}/_demo/requests").json()["requests"]
    received = [item for item in found if mark in item["raw_body"]]
    headers = [dict(item["headers"]) for item in received]
    assert all(item["authorization"] == "Bearer upstream-secret-0123456789" for item in headers)
    return headers


@pytest.mark.parametrize(
    "fields",
    [{"n": 10**6}, {"n": 10**30}, {"max_tokens": 10**15}, {"max_tokens": 10**40}, {"n": -1}, {"max_tokens": 1e400}],
    ids=[
        "huge n",
        "n beyond integers",
        "huge max_tokens",
        "max_tokens beyond integers",
        "negative n",
        "infinite max_tokens",
    ],
)
def test_consumption_by_numbers(gateway: Gateway, operator: Operator, fields: dict[str, float]) -> None:
    """Either refused, or held for in full: never more than the account has."""
    model, customer = operator.model("demo"), operator.customer("0.01")
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
    content = httpx2.Request("POST", "http://x", json={**body, **dict.fromkeys(fields, 0)}).content.decode()
    for name, value in fields.items():
        content = content.replace(f'"{name}":0', f'"{name}":{"1e400" if value == float("inf") else int(value)}')
    headers = {**customer.headers, "content-type": "application/json"}
    answer = httpx2.post(f"{gateway.base_url}/chat/completions", content=content, headers=headers)
    assert answer.status_code in (200, 400, 422, 429), answer.text
    account = operator.account(customer)
    assert float(account["charged"]) <= 0.01


@pytest.mark.parametrize("pattern", ["%%%%%%%%%%%%%%%%%%%%", "_" * 200, "' OR 1=1 --", "\\"])
def test_consumption_by_search(gateway: Gateway, customer: Customer, pattern: str) -> None:
    """A list is looked up by equality: a pattern finds nothing."""
    answer = httpx2.get(f"{gateway.base_url}/account/usage", params={"model": pattern}, headers=customer.headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"] == []


@pytest.fixture(scope="module")
def customer(operator: Operator) -> Customer:
    return operator.customer()


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_first_boot_has_no_cors(gateway: Gateway, origin: str) -> None:
    for path in ("/v1/models", "/admin/v1/accounts", "/v1/chat/completions", "/healthz"):
        headers = {"origin": origin, "access-control-request-method": "POST"}
        answer = httpx2.options(gateway.url + path, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("path", ["/v1/models", "/admin/v1/accounts", "/healthz", "/docs", "/openapi.json", "/nothing"])
def test_security_headers(gateway: Gateway, path: str) -> None:
    headers = httpx2.get(gateway.url + path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in headers  # plain http: a browser must not be told otherwise
    assert "server" not in headers


@pytest.mark.parametrize(
    ("public_url", "told"), [("https://api.example.com", True), ("http://10.0.0.1:8600", False), (None, False)]
)
async def test_security_headers_tell_of_tls_where_there_is_some(public_url: str | None, told: bool) -> None:
    settings = Settings(
        _env_file=None,
        database_url="postgresql://nobody@127.0.0.1:1/none",
        secret_key=SECRET_KEY,
        public_url=public_url,
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(create_app(settings))) as client:
        headers = (await client.get("http://gateway/docs")).headers
    assert ("strict-transport-security" in headers) is told
    # The documentation's page may load its one pinned script, and nothing else.
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src https://cdn.jsdelivr.net/")
