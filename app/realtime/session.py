"""One session: frames both ways as they come, a few of them read, and the money turn by turn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from uvicorn.protocols.utils import ClientDisconnected

from app.core.usage import Usage
from app.errors import GatewayError, Kind, UpstreamError, invalid_request
from app.formats.openai_media.usage import read_transcription
from app.logs import get_log
from app.realtime import closing
from app.realtime.closing import End
from app.realtime.connect import Dialed
from app.realtime.events import SESSION, WHOLE, error_event, read_event, read_head, rename, write_event
from app.realtime.purse import Purse
from app.realtime.tally import Produced, Tally, estimate_transcription
from app.realtime.way import Way
from app.relay.exchange import Receive, Send

log = get_log("relaygate.realtime")

TICK = 1.0
FAREWELL = 5.0
"""Seconds that either side is given to take what it is told at the end."""

TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds: without a frame either way, altogether, between pings."""

    idle: float
    longest: float
    ping: float


class Session:
    """`end` is there once `run` has returned. `frames`: how many went to the upstream, and to the client."""

    def __init__(
        self, receive: Receive, send: Send, dialed: Dialed, way: Way, purse: Purse, bounds: Bounds, stop: asyncio.Event
    ) -> None:
        self.end: End | None = None
        self.frames = [0, 0]
        self._receive = receive
        self._send = send
        self._upstream = dialed.socket
        self._pick = dialed.pick
        self._way = way
        self._purse = purse
        self._bounds = bounds
        self._stop = stop
        self._tally = Tally()
        self._unsettled: Produced | None = None
        self._money = asyncio.Lock()
        self._funded = asyncio.Event()
        self._funded.set()
        self._clock = asyncio.get_running_loop().time
        self._began = self._last = self._clock()

    async def run(self, first: str | None) -> None:
        """Relays until one side or the gateway ends it. `first`: goes to the upstream before the client's first event."""
        work = [self._guarded(self._to_upstream(first)), self._guarded(self._to_client()), self._guarded(self._mind())]
        tasks = [asyncio.create_task(item) for item in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self.end = next(task.result() for task in tasks if task.done())
        except asyncio.CancelledError:
            self.end = closing.stopping()
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def settle_rest(self) -> None:
        """Ends the last slice: by an estimate if something was under way, else by what it has taken of time."""
        purse, tally, end = self._purse, self._tally, self.end
        if not purse.has_slice:
            return
        rest = self._unsettled
        if rest is None and tally.under_way:
            rest = tally.take_rest()
        word = None if end is None else end.word(under_way=rest is not None)
        if rest is not None:
            await self._settle_estimate(rest, word)
        else:
            purse.release(word)

    async def say_farewell(self) -> None:
        """Tells both sides, as far as they are there to hear it."""
        end = self.end
        assert end is not None
        if end.by != "client":
            try:
                async with asyncio.timeout(FAREWELL):
                    if end.error is not None:
                        await self._send({"type": "websocket.send", "text": error_event(end.error)})
                    await self._send({"type": "websocket.close", "code": end.code, "reason": closing.short(end.reason)})
            except (TimeoutError, ClientDisconnected):
                pass
        code = end.code if end.by == "client" else closing.NORMAL
        try:
            async with asyncio.timeout(FAREWELL):
                await self._upstream.close(code=code)
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass

    # -- the three that run --------------------------------------------------------------------------------------------

    async def _guarded(self, work: Coroutine[Any, Any, End]) -> End:
        try:
            return await work
        except GatewayError as error:
            return closing.by_gateway(error)
        except ClientDisconnected:
            return closing.by_client(1006)
        except (aiohttp.ClientError, OSError):
            return closing.by_upstream(None, "", began=self.frames[1] > 0)
        except Exception:
            log.exception("realtime_bug")
            return closing.bug()

    async def _to_upstream(self, first: str | None) -> End:
        upstream = self._upstream
        try:
            if first is not None:
                await upstream.send_str(first)
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return closing.by_client(message.get("code"))
                self._last = self._clock()
                text: str | None = message.get("text")
                frame = self._read_client(message["bytes"] if text is None else text)
                if isinstance(frame, GatewayError):
                    await self._refuse(frame, message)
                    continue
                await self._funded.wait()
                await (upstream.send_str(frame) if isinstance(frame, str) else upstream.send_bytes(frame))
                self.frames[0] += 1
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, ClientDisconnected):
                raise
            await asyncio.sleep(TICK)  # why the upstream has gone is what the other direction is about to read
            raise

    async def _to_client(self) -> End:
        upstream, tally = self._upstream, self._tally
        while True:
            message = await upstream.receive()
            self._last = self._clock()
            if message.type is aiohttp.WSMsgType.TEXT:
                text = message.data
                head = read_head(text)
                if head is not None:
                    if head.type.endswith(".delta"):
                        tally.produced(head)
                    elif head.type in WHOLE:
                        await self._pass_whole(head.type, text)
                        continue
                    elif head.type == "error":
                        tally.refused()
                        text = self._without_secrets(text)
                await self._tell({"type": "websocket.send", "text": text})
            elif message.type is aiohttp.WSMsgType.BINARY:
                await self._tell({"type": "websocket.send", "bytes": message.data})
            elif message.type is aiohttp.WSMsgType.ERROR:
                return self._strange()
            else:
                # Whatever isn't a close frame is a connection that broke, though aiohttp may call it 1000.
                code = message.data if message.type is aiohttp.WSMsgType.CLOSE else None
                reason = self._without_secrets(message.extra if isinstance(message.extra, str) else "")
                return closing.by_upstream(code, reason, began=self.frames[1] > 0)

    async def _mind(self) -> End:
        """Once a second: whether it may go on; a ping now and then; and the time that is to be paid."""
        pinged = self._clock()
        while True:
            try:
                async with asyncio.timeout(TICK):
                    await self._stop.wait()
                return closing.stopping()
            except TimeoutError:
                pass
            now = self._clock()
            if now - self._last >= self._bounds.idle:
                return closing.idle(self._bounds.idle)
            if now - self._began >= self._bounds.longest:
                return closing.expired(self._bounds.longest)
            await self._check()
            if now - pinged >= self._bounds.ping:
                pinged = now
                await self._upstream.ping()
            if self._purse.is_due() and not self._money.locked():
                async with self._money:
                    self._purse.settle(Usage())
                    self._funded.clear()
                    await self._take()

    # -- the client's events -----------------------------------------------------------------------------------------

    def _read_client(self, frame: str | bytes) -> str | bytes | GatewayError:
        """What goes to the upstream, or why it doesn't: nothing that can't be read, since other readers might."""
        tally, head = self._tally, read_head(frame)
        if not isinstance(frame, str):
            if head is not None and head.type:
                return invalid_request("Events are sent as text.", None, "invalid_event")
            return frame
        if head is None:
            return invalid_request("An event is a JSON object with a type.", None, "invalid_event")
        match head.type:
            case "input_audio_buffer.append":
                tally.heard(head)
            case "session.update" | "transcription_session.update":
                return self._with_upstream_model(frame)
            case "response.create" | "conversation.item.create":
                tally.asked += head.type == "response.create"
                tally.told(frame)
        return frame

    def _with_upstream_model(self, text: str) -> str | GatewayError:
        event, name = read_event(text), self._way.name
        if event is None:
            return invalid_request("The event isn't valid JSON.", None, "invalid_event")
        session = event.get("session")
        if not isinstance(session, dict) or session.get("model") is None:
            return text
        if session["model"] not in (name, self._way.model.name):
            message = f"This session is for the model '{name[:200]}'. Open another session for another model."
            return invalid_request(message, "session.model", "model_change_refused")
        session["model"] = self._pick.candidate.upstream_model
        return write_event(event)

    async def _refuse(self, error: GatewayError, message: Mapping[str, Any]) -> None:
        text = message.get("text")
        event = None if text is None else read_event(text)
        caused_by = None if event is None else event.get("event_id")
        await self._tell({"type": "websocket.send", "text": error_event(error, caused_by)})

    # -- the upstream's events -----------------------------------------------------------------------------------------

    async def _pass_whole(self, type: str, text: str) -> None:
        event = read_event(text)
        if event is None:
            await self._tell({"type": "websocket.send", "text": text})
        elif type in SESSION:
            self._tally.configured(event.get("session"))
            if rename(event, self._way.name):
                text = write_event(event)
            await self._tell({"type": "websocket.send", "text": text})
        elif type == "response.created":
            self._tally.began(event.get("response"))
            await self._tell({"type": "websocket.send", "text": text})
        else:
            async with self._money:
                paid = self._settle_transcription(event) if type == TRANSCRIBED else await self._settle(event)
                if paid:
                    self._funded.clear()
                await self._tell({"type": "websocket.send", "text": text})
                if paid:
                    await self._take()

    async def _settle(self, event: Mapping[str, Any]) -> bool:
        """`response.done`: whether the slice was used."""
        response = event.get("response")
        if not isinstance(response, dict):
            return False
        id = response.get("id")
        usage, made = self._tally.ended(response)
        if isinstance(id, str) and not self._tally.is_new(id):
            return False
        if usage is not None:
            self._purse.settle(usage, is_call=True)
        elif made is not None:
            await self._settle_estimate(made, None)
        else:
            return False
        return True

    def _settle_transcription(self, event: Mapping[str, Any]) -> bool:
        if not self._tally.is_new(f"{event.get('item_id')}\n{event.get('content_index')}"):
            return False
        seconds, usage = self._tally.transcribed(), read_transcription(event.get("usage"))
        estimated = usage is None
        if usage is None:
            transcript = event.get("transcript")
            said = transcript if isinstance(transcript, str) else ""
            usage = estimate_transcription(seconds, said)
        self._purse.settle(self._of_transcription(usage), estimated=estimated)
        return True

    def _of_transcription(self, usage: Usage) -> Usage:
        """A price may have amounts of their own for them, by the trait `input`."""
        return Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            input_audio_tokens=usage.input_audio_tokens,
            milliseconds=usage.milliseconds,
            traits={"input": "transcription"},
        )

    async def _settle_estimate(self, made: Produced, error: str | None) -> None:
        self._unsettled = made
        usage = await asyncio.to_thread(self._tally.estimate, made)
        self._unsettled = None
        self._purse.settle(usage, estimated=True, is_call=True, error=error)

    # -- money and manners ---------------------------------------------------------------------------------------------

    async def _take(self) -> None:
        await self._purse.take(self._tally.expected)
        self._funded.set()

    async def _check(self) -> None:
        """A key that was revoked ends the session; a database that is away doesn't."""
        try:
            async with asyncio.timeout(TICK):
                await self._purse.check()
        except TimeoutError:
            pass
        except GatewayError as error:
            if error.code != "service_unavailable":
                raise

    async def _tell(self, message: dict[str, Any]) -> None:
        await self._send(message)
        self.frames[1] += 1

    def _without_secrets(self, text: str) -> str:
        for secret in self._pick.channel.secrets:
            text = text.replace(secret, "[redacted]")
        return text

    def _strange(self) -> End:
        """What the upstream sent is no WebSocket any more, or too large."""
        message = "The upstream sent something that isn't valid, or a message that is too large."
        return closing.by_gateway(UpstreamError(Kind.UPSTREAM, "upstream_bad_response", message))
