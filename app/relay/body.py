"""Reads a request body within its bound, unpacking gzip and zstd within the same bound."""

from __future__ import annotations

import asyncio
import zlib

import zstandard

from app.errors import GatewayError, Kind, invalid_request
from app.relay.exchange import Exchange, Interrupt

DISCARD_AT_MOST = 512 * 1024 * 1024
"""An oversized body is read and thrown away up to here, so that the client gets to read the 413 instead of a reset."""

UNPACK_IN_THREAD = 16 * 1024
"""Compressed bytes, of which deflate can make a thousand times as many: 16 MB take 30 ms, which the loop can bear."""

MAX_ZSTD_WINDOW = 64 * 1024 * 1024


async def read_body(exchange: Exchange, limit: int, timeout: float) -> bytes:
    """The body, unpacked. Raises GatewayError: 413 too large, 415 unknown encoding, 400 broken or incomplete."""
    length, encoding = _describe(exchange)
    if length is not None and length > limit:
        await _discard(exchange, timeout)
        raise _too_large(limit)
    exchange.allow(timeout, Interrupt.BODY_TIMEOUT)
    message = await exchange.receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise _incomplete()
    if message.get("more_body"):
        body = await _read_rest(exchange, body, limit, timeout)
    if len(body) > limit:
        raise _too_large(limit)
    if not encoding or encoding == b"identity":
        return body
    return await _unpack(body, encoding, limit)


def _describe(exchange: Exchange) -> tuple[int | None, bytes]:
    length: int | None = None
    encoding = b""
    for name, value in exchange.scope["headers"]:
        if name == b"content-length" and value.isdigit():
            length = int(value[:20])
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    return length, encoding


async def _read_rest(exchange: Exchange, first: bytes, limit: int, timeout: float) -> bytes:
    parts = [first]
    size = len(first)
    while True:
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise _incomplete()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            parts.clear()
            await _discard(exchange, timeout)
            raise _too_large(limit)
        if not message.get("more_body"):
            return b"".join(parts)


async def _discard(exchange: Exchange, timeout: float) -> None:
    exchange.extra_headers.append((b"connection", b"close"))
    exchange.allow(timeout, Interrupt.BODY_TIMEOUT)
    size = 0
    while size < DISCARD_AT_MOST:
        message = await exchange.receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


async def _unpack(body: bytes, encoding: bytes, limit: int) -> bytes:
    if encoding not in (b"gzip", b"x-gzip", b"zstd"):
        raise GatewayError(
            Kind.UNSUPPORTED,
            "unsupported_content_encoding",
            "The request's content-encoding must be gzip, zstd or absent.",
            param="content-encoding",
        )
    unpack = _unzstd if encoding == b"zstd" else _gunzip
    try:
        if len(body) > UNPACK_IN_THREAD:
            return await asyncio.to_thread(unpack, body, limit)
        return unpack(body, limit)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise invalid_request(
            f"The request body isn't valid {encoding.decode()}.", "content-encoding", code="invalid_content_encoding"
        ) from error


def _gunzip(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    plain = unpacker.decompress(body, limit + 1)
    if len(plain) > limit:
        raise _too_large(limit)
    if not unpacker.eof or unpacker.unused_data:
        raise EOFError("the gzip stream is cut short, or followed by something else")
    return plain


def _unzstd(body: bytes, limit: int) -> bytes:
    with zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).stream_reader(body, read_across_frames=False) as r:
        plain: bytes = r.read(limit + 1)
        if len(plain) > limit:
            raise _too_large(limit)
        if r.read(1):
            raise EOFError("the zstd frame is followed by something else")
    if zstandard.frame_content_size(body) not in (-1, len(plain)):
        raise EOFError("the zstd frame is cut short")
    return plain


def _too_large(limit: int) -> GatewayError:
    return GatewayError(
        Kind.TOO_LARGE, "request_too_large", f"The request body is larger than {limit // (1024 * 1024)} MB."
    )


def _incomplete() -> GatewayError:
    return GatewayError(Kind.INVALID, "client_closed_request", "The request body ended too early.", status=499)
