"""What Gemini demands of a conversation beyond its shape: roles, answered calls, and the signatures of thoughts."""

import binascii
from base64 import b64decode
from typing import Any

import orjson

from app.demo.gemini_shapes import DATA
from app.demo.media.desk import Trouble
from app.demo.signing import is_sealed, is_signed, seal, sign

SIGNATURE_KIND = "gemini"
# What Google lets pass for a signature in turns that came from elsewhere:
# https://ai.google.dev/gemini-api/docs/thought-signatures
DUMMIES = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
# https://ai.google.dev/gemini-api/docs/image-understanding; GIF isn't among them.
IMAGES = {
    "image/png": b"\x89PNG",
    "image/jpeg": b"\xff\xd8\xff",
    "image/webp": b"RIFF",
    "image/heic": b"",
    "image/heif": b"",
}

Contents = list[dict[str, Any]]


def check_contents(contents: Contents) -> None:
    """Raises Trouble for the first content that breaks a rule; where no words are known to be Google's, they are ours."""
    if not contents:
        raise Trouble(400, "* GenerateContentRequest.contents: contents is not specified")
    for index, content in enumerate(contents):
        if content.get("role", "user") not in ("user", "model"):
            raise Trouble(400, "Please use a valid role: user, model.")
        if not content.get("parts"):
            raise Trouble(400, f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty.")
        for place, part in enumerate(content["parts"]):
            _check_part(f"contents[{index}].parts[{place}]", part)
    _check_calls(contents)


def check_signatures(contents: Contents) -> None:
    """Raises Trouble when a call of the current turn lacks its signature, or a signature isn't one of the demo's.

    A turn begins with what the user said; each step of it, the calls of one content, is signed on its first call.
    """
    begins = 0
    for index, content in enumerate(contents):
        if content.get("role") != "model" and any("functionResponse" not in part for part in content["parts"]):
            begins = index
    for index, content in enumerate(contents):
        if content.get("role") != "model":
            continue
        calls = [part for part in content["parts"] if "functionCall" in part]
        if index > begins and calls and "thoughtSignature" not in calls[0]:
            raise Trouble(
                400,
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
                "correctly, and missing thought_signature may lead to degraded model performance. Additional data, "
                f"function call `default_api:{calls[0]['functionCall'].get('name')}` , position {index + 1}.",
            )
        for part in content["parts"]:
            if "thoughtSignature" in part and not _is_ours(part):
                raise Trouble(400, "Corrupted thought signature.")


def sign_call(name: str, arguments: object) -> str:
    """The signature of a call; bound to it, so that one on another call is found out."""
    return sign(SIGNATURE_KIND, name + orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS).decode())


def sign_text(text: str) -> str:
    """The signature of a text, which may come on a part of its own."""
    return seal(SIGNATURE_KIND, text)


def _is_ours(part: dict[str, Any]) -> bool:
    signature = part["thoughtSignature"]
    # The field holds bytes: base64 in either alphabet, with or without padding, is the same value.
    plain = signature.replace("-", "+").replace("_", "/")
    plain += "=" * (-len(plain) % 4)
    try:
        dummy = b64decode(plain, validate=True).decode("latin-1")
    except binascii.Error:
        return signature in DUMMIES
    if signature in DUMMIES or dummy in DUMMIES:
        return True
    call = part.get("functionCall")
    if call is None:
        return is_sealed(SIGNATURE_KIND, plain)
    text = call.get("name", "") + orjson.dumps(call.get("args", {}), option=orjson.OPT_SORT_KEYS).decode()
    return is_signed(SIGNATURE_KIND, text, plain)


def _check_part(path: str, part: dict[str, Any]) -> None:
    held = [name for name in DATA if name in part]
    if not held:
        raise Trouble(
            400, f"* GenerateContentRequest.{path}.data: required oneof field 'data' must have one initialized field"
        )
    if len(held) > 1:
        raise Trouble(400, f"Invalid value at '{path}' (oneof), oneof field 'data' is already set.")
    if "inlineData" in part:
        _check_blob(path, part["inlineData"])
    if "fileData" in part and not part["fileData"].get("fileUri"):
        raise Trouble(400, f"* GenerateContentRequest.{path}.file_data.file_uri: File URI cannot be empty.")
    for name in ("functionCall", "functionResponse"):
        if name in part and not part[name].get("name"):
            field = "function_call" if name == "functionCall" else "function_response"
            raise Trouble(400, f"* GenerateContentRequest.{path}.{field}.name: Name cannot be empty.")
    for inner in part.get("functionResponse", {}).get("parts", ()):
        if "inlineData" in inner:
            _check_blob(path, inner["inlineData"])


def _check_blob(path: str, blob: dict[str, Any]) -> None:
    mime_type = blob.get("mimeType")
    if not mime_type:
        raise Trouble(400, f"* GenerateContentRequest.{path}.inline_data.mime_type: MIME type is required.")
    try:
        start = b64decode(blob.get("data", "").replace("-", "+").replace("_", "/"), validate=True)[:4]
    except ValueError as error:
        message = f"Invalid value at '{path}.inline_data.data' (TYPE_BYTES), Base64 decoding failed"
        raise Trouble(400, message) from error
    if mime_type.startswith("image/"):
        if mime_type not in IMAGES:
            raise Trouble(400, f"Unsupported MIME type: {mime_type}")
        if not start or not start.startswith(IMAGES[mime_type]):
            raise Trouble(400, "Unable to process input image. Please retry or report.")


def _check_calls(contents: Contents) -> None:
    """Calls are answered in the very next content, as many as there were."""
    calls = 0
    for index, content in enumerate(contents):
        responses = sum("functionResponse" in part for part in content["parts"])
        if responses and not calls:
            raise Trouble(
                400, "Please ensure that function response turn comes immediately after a function call turn."
            )
        if responses != calls:
            raise Trouble(
                400,
                "Please ensure that the number of function response parts is equal to the number of function call parts of "
                "the function call turn.",
            )
        calls = sum("functionCall" in part for part in content["parts"]) if content.get("role") == "model" else 0
        if calls and (index == 0 or contents[index - 1].get("role") == "model"):
            raise Trouble(
                400,
                "Please ensure that function call turn comes immediately after a user turn or after a function response "
                "turn.",
            )
