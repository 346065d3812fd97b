"""Characters of accounts: made of a stretch of a video by an upstream that has them, kept here, and meant by prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, any_, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.accounts.principals import Principal
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Channel, Model
from app.core.ids import new_id
from app.core.usage import Usage
from app.db.engine import DATABASE_ERRORS
from app.db.tables.media import characters
from app.egress.client import Egress
from app.egress.guard import UrlRefused
from app.errors import GatewayError, Kind, UpstreamError, bad_upstream_response, invalid_request, unavailable
from app.ledger.records import Ask, Hold, Refusal, Settlement, Status
from app.ledger.waiting import WaitingRoom
from app.ledger.writer import LedgerWriter
from app.logs import get_log
from app.media.caller import Caller
from app.media.character_ways import MODEL, Way, find_character_model, way_of_task, ways_of_url
from app.media.mentions import read_mentions
from app.media.store import find_task, no_such_task
from app.providers.media import Character as Made
from app.relay.attempt import redact
from app.relay.limits import refusal_error

FORMAT = "characters"
"""What stands as `format` on the entry."""

TIMEOUT = 120.0
"""Seconds that an upstream has: it fetches a video, and cuts it. No vendor says how long that takes."""

log = get_log("relaygate.media")


@dataclass(frozen=True, slots=True)
class NewCharacter:
    """What is asked for: `timestamps` are `start,end` in seconds, of the video at `url` or, rather, of the task."""

    timestamps: str
    url: str | None
    from_task: str | None


@dataclass(frozen=True, slots=True)
class Character:
    """A character of an account. Links are http(s) URLs, or empty where the upstream gave none."""

    id: str
    username: str
    permalink: str
    profile_picture_url: str


_VISIBLE = tuple(characters.c[name] for name in Character.__slots__)


class Characters:
    """Makes, finds, lists and deletes the characters of accounts, and knows which channel a prompt's mentions mean."""

    def __init__(
        self,
        engine: AsyncEngine,
        catalog: Catalog,
        caller: Caller,
        ledger: LedgerWriter,
        waiting_room: WaitingRoom,
        egress: Egress,
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._caller = caller
        self._ledger = ledger
        self._waiting_room = waiting_room
        self._egress = egress

    async def create(self, principal: Principal, new: NewCharacter, request_id: UUID) -> Character:
        """Has an upstream make it, and pays for that; one that isn't made costs nothing.

        Raises GatewayError: 400 naming `url` or `from_task`, 403, 404 for a task that isn't the account's and for a gateway
        without characters, 429, 503; UpstreamError.
        """
        model, ways = await self._find_ways(principal, new)
        ratios = principal.ratio_ppm, model.group_ppm
        hold = await self._hold(principal, model, ways, ratios, request_id)
        clock = asyncio.get_running_loop().time
        started = clock()
        # However this ends, the hold does: without a charge unless the character is there and kept.
        ending = Settlement(hold, Status.RELEASED, error="gateway_stopped")
        try:
            way, made = await self._make(ways, ending)
            character = await self._keep(principal, way.channel, made)
            ending.status, ending.error, ending.usage = Status.SETTLED, None, Usage()
            ending.charge, ending.price_id = way.price.cost(Usage(), *ratios), way.price_id
            ending.cost = None if way.cost is None else way.cost.cost(Usage())
            return character
        except GatewayError as error:
            ending.error = error.code
            raise
        finally:
            ending.latency_ms = int((clock() - started) * 1000)
            self._ledger.settle(ending)

    async def get(self, principal: Principal, character_id: str) -> Character:
        """Raises GatewayError 404 for whatever isn't this account's, the same as for what doesn't exist."""
        query = select(*_VISIBLE).where(_is_own(principal.account_id), characters.c.id == character_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise _no_character(character_id)
        return Character(*row)

    async def list(self, principal: Principal, *, before: str | None, limit: int) -> Sequence[Character]:
        """The account's, the newest first, beyond the id given: ids grow with time."""
        query = select(*_VISIBLE).where(_is_own(principal.account_id)).order_by(characters.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(characters.c.id < before)
        async with self._engine.connect() as connection:
            return [Character(*row) for row in await connection.execute(query)]

    async def delete(self, principal: Principal, character_id: str) -> None:
        """Forgets it here: upstreams have no call for that. Raises GatewayError 404."""
        query = update(characters).where(_is_own(principal.account_id), characters.c.id == character_id)
        async with self._engine.begin() as connection:
            if (await connection.execute(query.values(deleted_at=func.now()))).rowcount == 0:
                raise _no_character(character_id)

    # -- how one is made ------------------------------------------------------------------------------------------

    async def _find_ways(self, principal: Principal, new: NewCharacter) -> tuple[Model, Sequence[Way]]:
        """Nothing is held yet, nobody asked. Raises GatewayError 400, 403, 404, 503."""
        snapshot = await self._catalog.snapshot_for(MODEL)
        model = find_character_model(snapshot, principal)
        if new.from_task is None:
            assert new.url is not None
            ways = ways_of_url(snapshot, principal, model, new.timestamps, new.url)
            try:
                await self._egress.check(new.url)
            except UrlRefused as error:
                raise invalid_request(f"url: {error}.", "url") from error
            return model, ways
        async with self._engine.connect() as connection:
            task = await find_task(connection, principal.account_id, new.from_task)
        if task is None:
            raise no_such_task(new.from_task, "from_task")
        return model, [way_of_task(snapshot, principal, model, new.timestamps, task)]

    async def _hold(
        self, principal: Principal, model: Model, ways: Sequence[Way], ratios: tuple[int, int], request_id: UUID
    ) -> Hold:
        """What the dearest of the ways costs. Raises GatewayError 401, 429, 503."""
        amount, dearest = max(((way.price.cost(Usage(), *ratios), way) for way in ways), key=lambda pair: pair[0])
        ask = Ask(
            account_id=principal.account_id,
            key_id=principal.key_id,
            id=new_id(),
            request_id=request_id,
            want=amount,
            minimum=amount,
            orphan_charge=0,  # a process that dies over it has nothing to show for it
            input_tokens=0,
            model=model.name,
            format=FORMAT,
            stream=False,
            price_id=dearest.price_id,
            ratio_ppm=ratios[0],
            group_ppm=ratios[1],
            tokens=0 if principal.limited else None,
            reply=asyncio.get_running_loop().create_future(),
        )
        hold = await self._waiting_room.hold(ask, lambda _patience: None)
        if isinstance(hold, Refusal):
            raise refusal_error(hold, ask.standing)
        return hold

    async def _make(self, ways: Sequence[Way], ending: Settlement) -> tuple[Way, Made]:
        """Tries one way after the other. Raises the last one's UpstreamError."""
        failure: UpstreamError | None = None
        for way in ways:
            ending.channel_id = way.channel.id
            ending.attempts += 1
            try:
                call = way.maker.create(way.job, way.channel.site)
                # On a connection of its own: a kept one that has died would look like an answer that was lost.
                reply = await self._caller.call(way.channel, call, timeout=TIMEOUT, fresh=True)
                return way, _checked(way.maker.read_created(reply), way.channel)
            except UpstreamError as error:
                failure = redact(error, way.channel)
                log.warning("character_not_made", channel=way.channel.name, error=failure.code)
                if not failure.retryable:
                    break
        assert failure is not None
        raise failure

    async def _keep(self, principal: Principal, channel: Channel, made: Made) -> Character:
        """Raises GatewayError 503: then it exists at the upstream, and the account can't use it."""
        links = [_http_url(link, channel) for link in (made.permalink, made.profile_picture_url)]
        character = Character(f"ch_{new_id().hex}", made.username, *links)
        values = {name: getattr(character, name) for name in Character.__slots__}
        owner = {"account_id": principal.account_id, "key_id": principal.key_id}
        place = {"channel_id": channel.id, "upstream_id": made.id}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(characters).values(values | owner | place))
        except DATABASE_ERRORS as error:
            log.error("character_lost", channel=channel.name, upstream_id=made.id, error=type(error).__name__)
            raise unavailable("The gateway can't reach its database.") from error
        return character


async def pin_for(connection: AsyncConnection, account_id: int, prompt: str) -> int | None:
    """The only channel where a prompt can be done that mentions characters of this account; None: any.

    Usernames that nobody here has made pass: platforms have public ones. Raises GatewayError naming `prompt`: 404
    `character_not_found` for characters of other accounts and deleted ones, 400 for two that live on different channels.
    """
    mentions = read_mentions(prompt)
    if not mentions:
        return None
    spellings = {spelling for mention in mentions for spelling in mention.spellings}
    # As it is written, and in lower case, as platforms make them: whether they tell case apart is unverified.
    wanted = [*spellings, *(spelling.lower() for spelling in spellings)]
    columns = characters.c
    query = select(columns.username, columns.account_id, columns.channel_id, columns.deleted_at)
    query = query.where(columns.username == any_(literal(wanted, ARRAY(Text)))).order_by(columns.id.desc())
    known: dict[str, list[Any]] = {}
    for row in await connection.execute(query):
        known.setdefault(row.username.lower(), []).append(row)
    common: list[int] | None = None
    for mention in mentions:
        meant = [row for spelling in mention.spellings for row in known.get(spelling.lower(), ())]
        own = [row.channel_id for row in meant if row.account_id == account_id and row.deleted_at is None]
        if meant and not own:
            message = f"prompt: there is no character '@{mention.name}'."
            raise GatewayError(Kind.NOT_FOUND, "character_not_found", message, param="prompt")
        if own:
            common = own if common is None else [channel for channel in common if channel in own]
        if common == []:
            message = f"prompt: '@{mention.name}' and another character of it live at different upstreams."
            raise invalid_request(message, "prompt", "invalid_value")
    return None if common is None else common[0]


def _is_own(account_id: int) -> ColumnElement[bool]:
    return and_(characters.c.account_id == account_id, characters.c.deleted_at.is_(None))


def _checked(made: Made, channel: Channel) -> Made:
    """Raises UpstreamError for a name that can't stand in a prompt, or that repeats the channel's key."""
    for name in (made.id, made.username):
        if not name.isprintable() or (channel.secret and channel.secret in name):
            raise bad_upstream_response("The upstream's character has no usable name.")
    return made


def _http_url(text: str, channel: Channel) -> str:
    """An upstream's link as it came, if it can be one, and tells nobody the channel's key."""
    usable = text.lower().startswith(("https://", "http://")) and text.isprintable()
    return text if usable and not (channel.secret and channel.secret in text) else ""


def _no_character(character_id: str) -> GatewayError:
    message = f"There is no character '{character_id[:200]}'."
    return GatewayError(Kind.NOT_FOUND, "character_not_found", message, param="character_id")
