"""Google's Vertex AI in the demo: Veo's operations, and the tokens of service accounts that they want.

`GET /_demo/google/account` hands out the JSON key file of a service account, which is a channel's secret. Its `token_uri` is
the demo's own: assertions are verified with the account's public key, and tokens expire (`?expires_in=S` makes them short).
Strict as the vendor: a field that isn't known is a 400 that names it. The words of `quirk=` here: `filtered` (what fails is
withheld by the filters, with the reason of `fail`), `gcs` (results are named by a bucket instead of carried). With fewer
`outputs=` than were asked for the rest counts as filtered. `fail_code` is a number of `google.rpc.Code`.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo-video-generation
https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

import binascii
import secrets
import time
from base64 import b64encode, urlsafe_b64decode
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

import msgspec
import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.demo.exchange import Exchange
from app.demo.media.desk import Desk, Reply, Trouble, write_json
from app.demo.media.frames import frame
from app.demo.media.google import MAX_INLINE, Strict, check_base64, read_as, write_error
from app.demo.media.studio import Job, Look, Order
from app.demo.routes import Route

TOKEN_PATH = "/google/token"  # noqa: S105  (a path)
ACCOUNT_PATH = "/_demo/google/account"
EMAIL = "demo@demo-project.iam.gserviceaccount.com"
PROJECT = "demo-project"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME = 3600
RESPONSE = "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse"


class Media(Strict, rename="camel"):
    mime_type: Literal["image/png", "image/jpeg", "video/mp4", "video/mov", "video/mpeg", "video/avi", "video/wmv"]
    bytes_base64_encoded: str | None = None
    gcs_uri: str | None = None


class Reference(Strict, rename="camel"):
    image: Media
    reference_type: Literal["ASSET", "STYLE"]


class Instance(Strict, rename="camel"):
    prompt: str
    image: Media | None = None
    last_frame: Media | None = None
    video: Media | None = None
    reference_images: Annotated[list[Reference], msgspec.Meta(max_length=3)] = msgspec.field(default_factory=list)


class Parameters(Strict, rename="camel"):
    sample_count: Annotated[int, msgspec.Meta(ge=1, le=4)] = 1
    duration_seconds: Annotated[int, msgspec.Meta(ge=4, le=8)] = 8
    aspect_ratio: Literal["16:9", "9:16"] = "16:9"
    resolution: Literal["720p", "1080p", "4k"] = "720p"
    enhance_prompt: bool | None = None
    generate_audio: bool | None = None
    negative_prompt: str | None = None
    person_generation: Literal["allow_adult", "dont_allow", "allow_all"] | None = None
    compression_quality: Literal["optimized", "lossless"] | None = None
    resize_mode: Literal["pad", "crop"] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] | None = None
    storage_uri: str | None = None


class Prediction(Strict):
    """The body of `:predictLongRunning`."""

    instances: Annotated[list[Instance], msgspec.Meta(min_length=1, max_length=1)]
    parameters: Parameters = msgspec.field(default_factory=Parameters)


class Fetch(Strict, rename="camel"):
    """The body of `:fetchPredictOperation`."""

    operation_name: str


class Vertex:
    """Answers Vertex AI's calls of Veo."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._tokens = Tokens()

    def routes(self) -> list[Route]:
        """Those of both versions, and the tokens'."""
        model = "projects/{project}/locations/{location}/publishers/google/models/{model*}"
        routes = [
            Route("POST", TOKEN_PATH, self.give_token),
            Route("GET", ACCOUNT_PATH, self.give_account),
        ]
        for version in ("v1", "v1beta1"):
            routes.append(Route("POST", f"/{version}/{model}:predictLongRunning", self.create))
            routes.append(Route("POST", f"/{version}/{model}:fetchPredictOperation", self.retrieve))
        return routes

    async def give_account(self, exchange: Exchange) -> None:
        """`GET /_demo/google/account?expires_in=S`."""
        await exchange.read_body()
        await self._desk.reply(exchange, write_json(self._tokens.write_account(_token_uri(exchange))))

    async def give_token(self, exchange: Exchange) -> None:
        """`POST /google/token`: a token for a signed assertion."""
        body = await exchange.read_body()
        try:
            if exchange.header(b"content-type").partition(";")[0] != "application/x-www-form-urlencoded":
                raise Refused("invalid_request", "The body must be a form.")
            form = parse_qs(body.decode("latin-1"))
            if form.get("grant_type") != [GRANT]:
                raise Refused("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type')}")
            self._tokens.verify(form.get("assertion", [""])[0], _token_uri(exchange))
        except Refused as refused:
            await self._desk.reply(
                exchange, write_json({"error": refused.error, "error_description": str(refused)}, 400)
            )
            return
        await self._desk.reply(exchange, write_json(self._tokens.issue(_lifetime(exchange))))

    async def create(self, exchange: Exchange, project: str, location: str, model: str) -> None:
        """`POST …/models/{model}:predictLongRunning`."""
        body = await exchange.read_body()
        try:
            token = self._tokens.check(exchange)
            wanted = read_as(Prediction, body)
            _check_instance(wanted.instances[0])
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        wish = wanted.parameters
        width, height = frame("videos", aspect_ratio=wish.aspect_ratio)
        plain = model.partition("?")[0]
        resource = f"projects/{project}/locations/{location}/publishers/google/models/{plain}"
        order = Order(
            "videos",
            model,
            wanted.instances[0].prompt,
            width,
            height,
            float(wish.duration_seconds),
            wish.sample_count,
            {"resource": resource},
        )
        await self._desk.submit(
            exchange, order, lambda job: write_json({"name": _name_of(job)}), write_error, key=token
        )

    async def retrieve(self, exchange: Exchange, project: str, location: str, model: str) -> None:
        """`POST …/models/{model}:fetchPredictOperation`."""
        body = await exchange.read_body()
        resource = f"projects/{project}/locations/{location}/publishers/google/models/{model}"
        try:
            self._tokens.check(exchange)
            name = read_as(Fetch, body).operation_name
            place, _, job_id = name.partition("/operations/")
            if place != resource or not job_id:
                raise Trouble(400, "The operation name doesn't belong to this model.")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        await self._desk.poll(exchange, job_id, self._write_operation, write_error)

    def _write_operation(self, job: Job, look: Look) -> Reply:
        body: dict[str, Any] = {"name": _name_of(job)}
        if look.final:
            body["done"] = True
            withheld = job.options.has("filtered")
            if look.state == "done" or (look.state == "failed" and withheld):
                body["response"] = self._write_response(job, look)
            else:
                code = look.code if look.code is not None and look.code.isdecimal() else "3"
                cancelled = {"code": 1, "message": "The operation was cancelled."}
                failed = {"code": int(code), "message": look.reason}
                body["error"] = cancelled if look.state == "cancelled" else failed
        return write_json(body)

    def _write_response(self, job: Job, look: Look) -> dict[str, Any]:
        made = 0 if look.state == "failed" else job.count
        missing = max(0, job.order.count - made)
        response: dict[str, Any] = {"@type": RESPONSE, "raiMediaFilteredCount": missing}
        if made:
            response["videos"] = [self._write_video(job, number) for number in range(1, made + 1)]
        if missing and (look.reason or made):
            response["raiMediaFilteredReasons"] = [look.reason or "A video was withheld by the demo."]
        return response

    def _write_video(self, job: Job, number: int) -> dict[str, Any]:
        if job.options.has("gcs"):
            return {"gcsUri": f"gs://demo-bucket/{job.id}/sample_{number - 1}.mp4", "mimeType": "video/mp4"}
        file = self._desk.file(job, number)
        data = b64encode(file.read(0, min(file.size, MAX_INLINE))).decode("ascii")
        return {"bytesBase64Encoded": data, "mimeType": "video/mp4"}


class Refused(Exception):
    """A token that isn't given, with the error's name (RFC 6749, 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


class Tokens:
    """The demo's one service account, and the tokens that it has got."""

    def __init__(self) -> None:
        self._good_until: dict[str, float] = {}

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        # Made when it is first wanted: it takes a tenth of a second, and most demos never want it.
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def write_account(self, token_uri: str) -> dict[str, str]:
        """The JSON key file."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "demo-key",
            "private_key": pem,
            "client_email": EMAIL,
            "token_uri": token_uri,
        }

    def verify(self, assertion: str, audience: str) -> None:
        """Raises Refused for an assertion that this account didn't sign for this address, now."""
        head, _, signature = assertion.rpartition(".")
        try:
            header, claims = (orjson.loads(_decode(part)) for part in head.split("."))
            if not isinstance(claims, dict) or header != {"alg": "RS256", "typ": "JWT", "kid": "demo-key"}:
                raise Refused("invalid_grant", "Invalid JWT: it isn't of this key.")
            proof = _decode(signature)
            self._key.public_key().verify(proof, head.encode("ascii"), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature as error:
            raise Refused("invalid_grant", "Invalid JWT Signature.") from error
        except (ValueError, binascii.Error) as error:
            raise Refused("invalid_grant", "Invalid JWT: it can't be read.") from error
        now = time.time()
        said = {"iss": EMAIL, "scope": SCOPE, "aud": audience, "iat": claims.get("iat"), "exp": claims.get("exp")}
        if claims != said:
            raise Refused("invalid_grant", "Invalid JWT: the claims aren't right.")
        issued, ends = claims["iat"], claims["exp"]
        if not (
            isinstance(issued, int) and isinstance(ends, int) and issued <= now + 60 and now < ends <= issued + LIFETIME
        ):
            raise Refused("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes).")

    def issue(self, seconds: int) -> dict[str, Any]:
        """A new token."""
        now = time.monotonic()
        self._good_until = {token: end for token, end in self._good_until.items() if end > now}
        token = f"ya29.{secrets.token_urlsafe(24)}"
        self._good_until[token] = now + seconds
        return {"access_token": token, "expires_in": seconds, "token_type": "Bearer"}

    def check(self, exchange: Exchange) -> str:
        """The token of a call; raises Trouble 401 for one that wasn't given, or has expired."""
        scheme, _, token = exchange.header(b"authorization").partition(" ")
        if scheme != "Bearer" or self._good_until.get(token, 0.0) <= time.monotonic():
            message = "Request had invalid authentication credentials. Expected OAuth 2 access token."
            raise Trouble(401, message, "ACCESS_TOKEN_EXPIRED" if token in self._good_until else "CREDENTIALS_MISSING")
        return token


def _check_instance(instance: Instance) -> None:
    references = [reference.image for reference in instance.reference_images]
    single = [instance.image, instance.last_frame, instance.video]
    for media in (*references, *(item for item in single if item is not None)):
        if (media.bytes_base64_encoded is None) == (media.gcs_uri is None):
            raise Trouble(400, "Either bytesBase64Encoded or gcsUri is required.")
        check_base64(media.bytes_base64_encoded or "")
    if instance.last_frame is not None and instance.image is None:
        raise Trouble(400, "lastFrame requires image.")
    if references and any(item is not None for item in single):
        raise Trouble(400, "referenceImages can't be combined with image, lastFrame or video.")


def _name_of(job: Job) -> str:
    return f"{job.order.details['resource']}/operations/{job.id}"


def _token_uri(exchange: Exchange) -> str:
    host, seconds = exchange.header(b"host") or "127.0.0.1", _lifetime(exchange)
    return f"http://{host}{TOKEN_PATH}" + ("" if seconds == LIFETIME else f"?expires_in={seconds}")


def _lifetime(exchange: Exchange) -> int:
    wanted = exchange.query().get("expires_in", "")
    return min(int(wanted), LIFETIME) if wanted.isdecimal() else LIFETIME


def _decode(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
