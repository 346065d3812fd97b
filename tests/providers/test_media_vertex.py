"""What of Vertex's adapter isn't a case of the conformance suite: the trade of a key for a token, and where a channel is."""

from __future__ import annotations

import base64
import contextlib
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from app.core.media import Attachment, Job, Scope
from app.errors import GatewayError, UpstreamError
from app.providers.media import Call, Done, Reply, Site
from app.providers.vertex import PROVIDERS, VertexMedia, veo
from app.providers.vertex.account import ServiceAccount

(VERTEX,) = PROVIDERS
MEDIA = VertexMedia()
SOURCE = ServiceAccount()
NOW = 1_900_000_000.75


def write_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ACCOUNT = {
    "type": "service_account",
    "project_id": "our-project",
    "private_key_id": "abc123",
    "private_key": write_pem(KEY),
    "client_email": "gateway@our-project.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}


def decode(part: str) -> bytes:
    assert "=" not in part
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def exchange(**changes: Any) -> Call:
    return SOURCE.exchange(orjson.dumps({**ACCOUNT, **changes}).decode(), NOW)


def test_a_key_is_traded_as_a_signed_assertion() -> None:
    call = exchange()
    assert (call.method, call.path, call.json, call.form) == ("POST", "https://oauth2.googleapis.com/token", None, None)
    assert call.urlencoded is not None
    assert call.urlencoded["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    head, claims, signature = call.urlencoded["assertion"].split(".")
    assert orjson.loads(decode(head)) == {"alg": "RS256", "typ": "JWT", "kid": "abc123"}
    assert orjson.loads(decode(claims)) == {
        "iss": ACCOUNT["client_email"],
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": ACCOUNT["token_uri"],
        "iat": 1_900_000_000,
        "exp": 1_900_003_600,
    }
    signed = f"{head}.{claims}".encode()
    KEY.public_key().verify(decode(signature), signed, padding.PKCS1v15(), hashes.SHA256())


def test_the_assertion_is_not_shown() -> None:
    call = exchange()
    assert call.urlencoded is not None
    assert call.urlencoded["assertion"] not in repr(call)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "AIza-no-json",
        "[]",
        "null",
        "{}",
        orjson.dumps({**ACCOUNT, "type": "authorized_user"}).decode(),
        *(orjson.dumps({**ACCOUNT, name: ""}).decode() for name in ("client_email", "private_key", "token_uri")),
        orjson.dumps({**ACCOUNT, "token_uri": "file:///etc/passwd"}).decode(),
        orjson.dumps({**ACCOUNT, "token_uri": 7}).decode(),
        orjson.dumps(
            {**ACCOUNT, "private_key": "-----BEGIN PRIVATE KEY-----\nsecretword\n-----END PRIVATE KEY-----"}
        ).decode(),
        orjson.dumps({**ACCOUNT, "private_key": write_pem(ec.generate_private_key(ec.SECP256R1()))}).decode(),
    ],
)
def test_what_is_no_key_is_refused_without_a_word_of_it(secret: str) -> None:
    with pytest.raises(ValueError, match=r"key|token_uri") as caught:
        SOURCE.exchange(secret, NOW)
    assert "secretword" not in f"{caught.value!r}{caught.value.__context__!r}"


@given(secret=st.text(max_size=60))
def test_any_text_is_no_key(secret: str) -> None:
    with pytest.raises(ValueError, match="service account"):
        SOURCE.exchange(secret, NOW)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"access_token": "ya29.a", "expires_in": 3599, "token_type": "Bearer"}, ("ya29.a", 3599.0)),
        ({"access_token": "ya29.a", "expires_in": 1.5}, ("ya29.a", 1.5)),
        ({"access_token": "ya29.a", "expires_in": 10**9}, ("ya29.a", 3600.0)),
    ],
)
def test_a_token_is_read(said: dict[str, Any], expected: tuple[str, float]) -> None:
    assert SOURCE.read(Reply(200, {}, orjson.dumps(said))) == expected


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, {}, "upstream_bad_response"),
        (200, {"access_token": "ya29.a"}, "upstream_bad_response"),
        (200, {"access_token": "", "expires_in": 1}, "upstream_bad_response"),
        (200, {"access_token": "a\r\nb", "expires_in": 1}, "upstream_bad_response"),
        (200, {"access_token": "ya29.a", "expires_in": 0}, "upstream_bad_response"),
        (200, {"access_token": "ya29.a", "expires_in": True}, "upstream_bad_response"),
        (400, {"error": "invalid_grant", "error_description": "Invalid JWT."}, "upstream_refused_credentials"),
        (401, {"error": "invalid_client"}, "upstream_refused_credentials"),
        (429, {}, "upstream_error"),
        (503, {}, "upstream_error"),
    ],
)
def test_no_token_is_the_channels_fault(status: int, body: dict[str, Any], code: str) -> None:
    """A client has no part in it: whatever the status, another channel may do."""
    with pytest.raises(UpstreamError) as caught:
        SOURCE.read(Reply(status, {}, orjson.dumps(body)))
    assert (caught.value.code, caught.value.retryable) == (code, True)
    assert "JWT" not in caught.value.message


@given(status=st.sampled_from([200, 400, 500]), body=st.binary(max_size=200))
def test_any_bytes_are_a_token_or_an_upstream_error(status: int, body: bytes) -> None:
    with contextlib.suppress(UpstreamError):
        token, seconds = SOURCE.read(Reply(status, {}, body))
        assert token
        assert seconds > 0


def job(**fields: Any) -> Job:
    return Job(Scope.VIDEOS, "veo3.1", "a cat", **fields)


@pytest.mark.parametrize(
    ("base_url", "options", "place"),
    [
        ("https://us-central1-aiplatform.googleapis.com", {"project": "p"}, "projects/p/locations/us-central1"),
        ("https://aiplatform.googleapis.com", {"project": "p"}, "projects/p/locations/global"),
        ("https://proxy.example/v", {"project": "p", "location": "europe-west4"}, "projects/p/locations/europe-west4"),
        (
            "https://aiplatform.googleapis.com",
            {"project": "x.com:p", "location": "us"},
            "projects/x.com:p/locations/us",
        ),
    ],
)
def test_project_and_location_stand_in_the_path(base_url: str, options: dict[str, str], place: str) -> None:
    call = MEDIA.submit(job(), "veo-3.1-generate-001", "key", Site(base_url, options))
    assert call.path == f"/v1beta1/{place}/publishers/google/models/veo-3.1-generate-001:predictLongRunning"


@pytest.mark.parametrize(
    ("base_url", "options"),
    [
        ("https://aiplatform.googleapis.com", {}),
        ("https://aiplatform.googleapis.com", {"project": ""}),
        ("https://proxy.example", {"project": "p"}),
        ("", {"project": "p"}),
    ],
)
def test_a_channel_that_is_nowhere_leaves_it_to_another(base_url: str, options: dict[str, str]) -> None:
    with pytest.raises(UpstreamError) as caught:
        MEDIA.submit(job(), "veo-3.1-generate-001", "key", Site(base_url, options))
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("model", "seconds", "images", "allowed"),
    [
        ("veo-3.1-generate-001", 4, 0, True),
        ("veo-3.1-generate-001", 5, 0, False),
        ("veo-3.1-generate-001", 10, 0, False),
        ("veo-3.1-generate-001", 4, 3, False),
        ("veo-3.1-generate-001", 8, 3, True),
        ("veo-2.0-generate-001", 5, 0, True),
        ("veo-2.0-generate-001", 4, 0, False),
        ("veo-9-generate-001", 5, 0, True),
    ],
)
def test_lengths_are_the_models(model: str, seconds: int, images: int, allowed: bool) -> None:
    wanted = job(seconds=seconds, images=(Attachment(content_type="image/png", data=b"png"),) * images)
    if allowed:
        MEDIA.check(wanted, model)
        return
    with pytest.raises(GatewayError) as caught:
        MEDIA.check(wanted, model)
    assert caught.value.param == "duration"


def test_a_model_without_sound_is_not_asked_for_it() -> None:
    body = veo.submit(job(), "veo-2.0-generate-001", "projects/p/locations/l").json
    assert "generateAudio" not in body["parameters"]
    assert veo.units(job(), "veo-2.0-generate-001").traits["audio"] == "false"


def test_what_has_no_bytes_is_refused_by_name() -> None:
    linked = job(images=(Attachment(url="https://client.example/cat.png"),))
    with pytest.raises(GatewayError) as caught:
        veo.submit(linked, "veo-3.1-generate-001", "projects/p/locations/l")
    assert caught.value.param == "images[0]"


def test_a_file_in_a_bucket_is_called_where_it_is() -> None:
    """Not at the channel's host: the gateway won't call it with the channel's token."""
    outcome = veo.read_operation({"response": {"videos": [{"gcsUri": "gs://our-bucket/a b/sample_0.mp4"}]}}, {})
    assert isinstance(outcome, Done)
    (output,) = outcome.outputs
    assert output.call is not None
    assert output.call.path == "https://storage.googleapis.com/storage/v1/b/our-bucket/o/a%20b%2Fsample_0.mp4?alt=media"
    assert urlsplit(output.call.path).netloc == "storage.googleapis.com"


def test_it_signs_with_the_token() -> None:
    assert isinstance(VERTEX.token, ServiceAccount)
    assert VERTEX.sign("ya29.a") == {"authorization": "Bearer ya29.a"}
    assert VERTEX.base_url is None
