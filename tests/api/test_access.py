"""Who gets in, and what is read of a request before that is known."""

from __future__ import annotations

import base64
import re
import socket

import httpx2
import pytest

from tests.api.scan import assert_refused
from tests.gateway import ADMIN_TOKEN, Customer, Gateway, Operator

METHODS = {"get", "post", "put", "patch", "delete"}


def _operations(gateway: Gateway) -> list[tuple[str, str]]:
    paths = httpx2.get(f"{gateway.url}/openapi.json").json()["paths"]
    found = [(m, path) for path, item in paths.items() if path.startswith("/admin/") for m in METHODS & item.keys()]
    assert len(found) >= 26
    return [(method, re.sub(r"\{\w+\}", "1", path)) for method, path in found]


@pytest.fixture(scope="module")
def customer(operator: Operator) -> Customer:
    return operator.customer()


@pytest.mark.parametrize(
    "credential",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", f"Basic {ADMIN_TOKEN}")],
        [("authorization", f"Bearer {ADMIN_TOKEN[:-1]}")],
        [("authorization", f"Bearer {ADMIN_TOKEN}x")],
        [("authorization", f"Bearer {ADMIN_TOKEN}"), ("authorization", f"Bearer {ADMIN_TOKEN}")],
        [("x-api-key", ADMIN_TOKEN)],
        [("authorization", "Bearer " + "a" * 4000)],
        [("authorization", "Bearer ' OR 1=1 --")],
    ],
)
def test_every_operation_refuses_strangers(gateway: Gateway, credential: list[tuple[str, str]]) -> None:
    with httpx2.Client() as client:
        for method, path in _operations(gateway):
            response = client.request(method, gateway.url + path, headers=credential, content=b"{not json")
            assert response.status_code == 401, (method, path, response.text)
            assert response.json()["error"]["code"] == "invalid_api_key"
            assert response.headers["www-authenticate"] == "Bearer"


def test_a_users_key_is_no_admin_token(gateway: Gateway, customer: Customer) -> None:
    with httpx2.Client(base_url=gateway.url, headers=customer.headers) as client:
        for method, path in _operations(gateway):
            assert client.request(method, path).status_code == 401, (method, path)


def test_a_host_header_decides_nothing(gateway: Gateway) -> None:
    for host in ("localhost/v1/models?", "localhost#", "a@b", "localhost/healthz"):
        assert httpx2.get(f"{gateway.url}/admin/v1/accounts", headers={"host": host}).status_code == 401


def test_a_strangers_body_is_not_waited_for(gateway: Gateway) -> None:
    head = b"POST /admin/v1/accounts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_large_body_is_refused(admin: httpx2.Client) -> None:
    body = b'{"name": "' + b"a" * 1_100_000 + b'"}'
    headers = {"content-type": "application/json"}
    for content in (body, (body[i : i + 65536] for i in range(0, len(body), 65536))):
        response = admin.post("/accounts", content=content, headers=headers)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize("body", [b"{", b"[" * 50_000, b"\xff\xfe", b'{"name": "\xff"}', b"1" * 10_000])
def test_a_body_that_is_no_json_is_refused(admin: httpx2.Client, body: bytes) -> None:
    response = admin.post("/accounts", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert set(response.json()) == {"error"}


def test_a_body_that_is_no_object_is_refused(admin: httpx2.Client) -> None:
    for body in ("[]", '"name"', "null", "3", ""):
        response = admin.post("/accounts", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 422, body


def test_unknown_endpoints_are_404_in_the_same_shape(admin: httpx2.Client) -> None:
    for path in ("/console", "/nothing"):
        response = admin.get(path)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "not_found"
    assert admin.put("/accounts").status_code == 405


@pytest.mark.parametrize("path", ["/accounts", "/keys", "/channels", "/models", "/usage"])
class TestLists:
    """What every list has in common."""

    @pytest.mark.parametrize("limit", ["0", "201", "-1", "x", ""])
    def test_limit_has_bounds(self, admin: httpx2.Client, path: str, limit: str) -> None:
        assert_refused(admin.get(path, params={"limit": limit}), "limit")

    @pytest.mark.parametrize("cursor", ["", "!", "AA", "x" * 5000, "é", "-w"])
    def test_a_bad_cursor_is_refused(self, admin: httpx2.Client, path: str, cursor: str) -> None:
        assert_refused(admin.get(path, params={"cursor": cursor}), "cursor", 400)

    def test_unknown_parameters_are_refused(self, admin: httpx2.Client, path: str) -> None:
        assert_refused(admin.get(path, params={"offset": "1"}), "offset")


@pytest.mark.parametrize("path", ["/accounts", "/keys", "/channels", "/usage"])
@pytest.mark.parametrize("position", ["{}", "-1", "9" * 20, "1.5", "٣"])
def test_a_cursor_of_another_list_is_refused(admin: httpx2.Client, path: str, position: str) -> None:
    cursor = base64.urlsafe_b64encode(position.encode()).decode()
    assert_refused(admin.get(path, params={"cursor": cursor}), "cursor", 400)


@pytest.mark.parametrize("path", ["/accounts", "/keys", "/channels"])
@pytest.mark.parametrize("id", ["0", "-1", "9223372036854775808", "x", "1.5"])
def test_an_id_out_of_range_is_refused(admin: httpx2.Client, path: str, id: str) -> None:
    for response in (admin.get(f"{path}/{id}"), admin.delete(f"{path}/{id}"), admin.patch(f"{path}/{id}", json={})):
        assert_refused(response, f"{path[1:-1]}_id")


@pytest.mark.parametrize("path", ["/accounts", "/keys", "/channels"])
def test_what_isnt_there_is_404(admin: httpx2.Client, path: str) -> None:
    id = 9_223_372_036_854_775_807
    for response in (
        admin.get(f"{path}/{id}"),
        admin.delete(f"{path}/{id}"),
        admin.patch(f"{path}/{id}", json={}),
        admin.patch(f"{path}/{id}", json={"enabled": False}),
    ):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == f"{path[1:-1]}_not_found"
