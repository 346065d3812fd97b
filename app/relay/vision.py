"""The contract's rules for pictures in chats of OpenAI's formats, checked before any money moves."""

from __future__ import annotations

import asyncio

from app.core.inline_media import spelling_of
from app.core.vision import check_image, inline_images
from app.errors import invalid_request
from app.formats.base import Request

MARK = b'"image_url"'
"""The field of OpenAI's formats that holds a picture; other vendors' clients go by their own vendor's rules."""

LARGE_BODY = 256 * 1024
"""Bytes above which it happens in a thread: a GIF of 20 MB takes tens of milliseconds to walk through."""


async def check_pictures(request: Request, format: str) -> None:
    """Raises GatewayError 400 for an inline picture of another type, an animated one, and one above 20 MB.

    A picture by address is its upstream's to look at: the gateway fetches none.
    """
    if MARK not in request.body:
        return
    if len(request.body) > LARGE_BODY:
        await asyncio.to_thread(_check, bytes(request.conversation), format)
    else:
        _check(bytes(request.conversation), format)


def _check(conversation: bytes, format: str) -> None:
    for image in inline_images(conversation, spelling_of(format)):
        reason = check_image(image.media_type, conversation[image.start : image.end])
        if reason is not None:
            code = "image_too_large" if "larger" in reason else "invalid_image"
            raise invalid_request(f"Image {image.number} of the request {reason}", image.field, code)
