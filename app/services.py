"""The composition root: builds every service of a process from settings, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

from prometheus_client import CollectorRegistry

from app import formats
from app.accounts.admin_tokens import AdminTokens
from app.accounts.principals import Principals
from app.accounts.throttle import Throttle
from app.batches.desk import BatchDesk
from app.batches.follow import BatchFollower
from app.batches.lines import Targets
from app.catalog.catalog import Catalog
from app.catalog.vault import Vault
from app.core.media import Attachment
from app.db.engine import DATABASE_ERRORS, Database
from app.db.news import News
from app.egress.client import Egress
from app.ledger.shadow import ShadowRefusals
from app.ledger.sweep import end_lease, renew_lease
from app.ledger.waiting import WaitingRoom
from app.ledger.writer import LedgerWriter
from app.logs import get_log
from app.media.caller import Caller
from app.media.characters import Characters
from app.media.chat.serve import ChatVideo
from app.media.desk import TaskDesk
from app.media.ending import Endings
from app.media.fetch import fetch_input
from app.media.follow import Follower
from app.media.image_calls import ImageCalls
from app.media.links import Links
from app.media.live import LiveTasks
from app.media.polls import Polls
from app.media.results import Results
from app.media.runner import Runner
from app.media.storage import Storage
from app.media.submissions import Submissions
from app.media.view import View
from app.providers import discover
from app.realtime.client_secrets import ClientSecrets
from app.realtime.serve import Realtime
from app.relay.attempt import Timeouts, Upstreams, open_session
from app.relay.background import Background
from app.relay.bill import Cashier
from app.relay.ground import Grounds
from app.relay.kept import KeptAnswers
from app.relay.objects.look import Looks
from app.relay.objects.serve import ObjectRelay
from app.relay.objects.store import ObjectStore
from app.relay.observe import Observer
from app.relay.pipeline import Relay
from app.relay.surface import SurfaceRelay
from app.relay.watch import Watch
from app.routing.alerts import Alerts
from app.routing.board import Board
from app.routing.share import SharedOutages
from app.settings import Settings
from app.webhooks.deliver import Deliverer

log = get_log("relaygate.services")

FLUSH_AT_STOP = 10.0


class Services:
    """Everything that one process runs. Build it, then `async with services:`."""

    def __init__(self, settings: Settings) -> None:
        if settings.database_url is None or settings.secret_key is None:
            raise ValueError("a process needs a database URL and a secret key; `relaygate serve` provides both")
        self.settings = settings
        self.instance = uuid4()
        self.registry = CollectorRegistry()
        self.database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool)
        self.vault = Vault(split_secret_keys(settings.secret_key.get_secret_value()))
        self.providers = discover()
        self.principals = Principals(self.database.engine, Throttle(settings.auth_failures_per_minute))
        self.admin_tokens = AdminTokens(self.database.engine, Throttle(settings.admin_auth_failures_per_minute))
        self.catalog = Catalog(self.database.engine, self.providers, self.vault)
        self.egress = Egress(settings.allowed_private_networks)
        self.deliverer = Deliverer(self.database.engine, self.vault, self.egress)
        self.news = News(self.database, self._on_news, self._on_gap)
        self.principals.trust(self.news)
        self.ledger = LedgerWriter(self.database, self.instance)
        shadow = self.shadow = ShadowRefusals(self.registry)
        self.waiting_room = WaitingRoom(self.ledger, settings.hold_patience, shadow)
        self.cashier = Cashier(self.ledger)
        self.storage = Storage(settings.storage_url, settings.data_dir / "media")
        self.links = Links(
            split_secret_keys(settings.secret_key.get_secret_value()),
            settings.public_url or settings.local_url,
            settings.media_link_hours,
        )
        self.view = View(self.links)
        self.caller = Caller(settings.connect_timeout)
        self.characters = Characters(
            self.database.engine, self.catalog, self.caller, self.ledger, self.waiting_room, self.egress
        )
        self.board = Board()
        self.desk = TaskDesk(self.database.engine, self.catalog, self.storage, shadow)
        self.follower = Follower(self.desk)
        results = Results(self.storage, self.caller, self.egress)
        endings = Endings(self.database.engine, self.storage, results, self.view)
        self.runner = Runner(
            self.database.engine,
            self.catalog,
            Polls(self.catalog, self.caller, endings),
            Submissions(
                self.database.engine, self.catalog, self.caller, self.storage, self.egress, endings, self.board
            ),
            self.registry,
            settings.lease,
        )
        self.kept = KeptAnswers(self.database.engine)
        self.objects = ObjectStore(self.database.engine)
        self.grounds = Grounds(self.kept, self.objects)
        self.batches = BatchFollower(self.database.engine, self.catalog, self.objects)
        self.background = Background(self.cashier, self.kept)
        self.formats = formats.by_name()
        self.outages = SharedOutages(self.database.engine, self.board)
        secret = settings.alert_secret
        self.alerts = Alerts(
            self.database.engine, settings.alert_url, None if secret is None else secret.get_secret_value()
        )
        self.watch = Watch(hangup_drain=settings.hangup_drain if settings.on_hangup == "drain" else None)
        self.observer = Observer(self.registry, self.watch, self.ledger, self.board)
        self.realtime = Realtime(
            settings,
            self.principals,
            self.catalog,
            self.ledger,
            self.waiting_room,
            self.board,
            self.observer.metrics,
            self.registry,
            ClientSecrets(split_secret_keys(settings.secret_key.get_secret_value())),
            self.kept,
        )
        self._stack = AsyncExitStack()
        self._relay: Relay | None = None
        self._surface_relay: SurfaceRelay | None = None
        self._object_relay: ObjectRelay | None = None
        self._upstreams: Upstreams | None = None

    @property
    def relay(self) -> Relay:
        assert self._relay is not None, "services aren't started"
        return self._relay

    @property
    def surface_relay(self) -> SurfaceRelay:
        assert self._surface_relay is not None, "services aren't started"
        return self._surface_relay

    @property
    def object_relay(self) -> ObjectRelay:
        assert self._object_relay is not None, "services aren't started"
        return self._object_relay

    @property
    def upstreams(self) -> Upstreams:
        assert self._upstreams is not None, "services aren't started"
        return self._upstreams

    async def __aenter__(self) -> Services:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            stack.push_async_callback(self._end_lease)
            await renew_lease(self.database.engine, self.instance, self.settings.lease / 2)
            stack.push_async_callback(self.ledger.close)
            stack.push_async_callback(self._flush)
            stack.push_async_callback(self.waiting_room.close)
            self.egress.start()
            stack.push_async_callback(self.egress.close)
            self.caller.start()
            stack.push_async_callback(self.caller.close)
            await self.news.start()
            stack.push_async_callback(self.news.stop)
            await self.catalog.start()
            stack.push_async_callback(self.catalog.stop)
            await self.outages.start()
            stack.push_async_callback(self.outages.stop)
            session = open_session()
            stack.push_async_callback(session.close)
            self.follower.start()
            stack.push_async_callback(self.follower.stop)
            self.observer.start()
            stack.push_async_callback(self.observer.stop)
            self.watch.start()
            stack.push_async_callback(self.watch.stop)
            self._upstreams = Upstreams(session, self._timeouts(), self.settings.max_answer_bytes)
            self.background.start(self._upstreams)
            stack.push_async_callback(self.background.stop)
            self.realtime.start(self._upstreams)
            stack.push_async_callback(self.realtime.stop)
            self._open_relays(self._upstreams)
            self._stack = stack.pop_all()
        return self

    def _open_relays(self, upstreams: Upstreams) -> None:
        """The ways in: chats, surfaces, objects."""
        settings = self.settings
        self._relay = relay = Relay(
            settings,
            self.principals,
            self.catalog,
            self.waiting_room,
            self.cashier,
            upstreams,
            self.watch,
            self.observer,
            self.formats,
            self.kept,
            self.grounds,
            self.background,
            self._fetch_image,
            self.board,
        )
        live = LiveTasks(self.desk, self.follower, self.egress, write_timeout=settings.write_timeout)
        relay.detour = ChatVideo(self.catalog, live, self.view)
        self._surface_relay = self._open_surfaces(relay, live)
        self._object_relay = ObjectRelay(
            settings,
            relay,
            self.principals,
            self.catalog,
            self.waiting_room,
            self.board,
            self.objects,
            Looks(self.catalog, upstreams, self.objects),
            self._open_batches(upstreams),
        )

    def _open_surfaces(self, relay: Relay, live: LiveTasks) -> SurfaceRelay:
        return SurfaceRelay(
            self.settings,
            relay,
            self.principals,
            self.catalog,
            self.waiting_room,
            self.board,
            self.grounds,
            ImageCalls(live, self.storage, self.view),
        )

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def _timeouts(self) -> Timeouts:
        settings = self.settings
        return Timeouts(
            connect=settings.connect_timeout,
            first_byte=settings.first_byte_timeout,
            idle=settings.idle_timeout,
            write=settings.write_timeout,
        )

    def _open_batches(self, upstreams: Upstreams) -> BatchDesk:
        settings = self.settings
        self.batches.start(upstreams)
        targets = Targets(self.formats, settings.default_max_output_tokens)
        folder = settings.data_dir / "uploads"
        return BatchDesk(self.database.engine, self.catalog, upstreams, self.objects, self.shadow, targets, folder)

    async def _fetch_image(self, url: str, field: str) -> Attachment:
        return await fetch_input(self.egress, url, param=field, sort="image")

    async def _flush(self) -> None:
        await self.cashier.drain(FLUSH_AT_STOP)
        if not await self.ledger.flush(FLUSH_AT_STOP):
            log.error("settlements_lost", count=self.ledger.pending, hint="their holds are resolved by the sweeper")

    async def _end_lease(self) -> None:
        try:
            await asyncio.wait_for(end_lease(self.database.engine, self.instance), FLUSH_AT_STOP)
        except DATABASE_ERRORS as error:
            log.warning("lease_not_ended", error=type(error).__name__)

    def _on_news(self, kind: str, subject: str) -> None:
        match kind:
            case "key":
                self.principals.forget_key(int(subject))
            case "account":
                self.principals.forget_account(int(subject))
            case "catalog":
                self.catalog.expire()
            case "outages":
                self.outages.expire()
            case "delivery":
                self.deliverer.wake()
            case "task":
                self.runner.wake()

    def _on_gap(self) -> None:
        self.principals.forget_all()
        self.catalog.expire()
        self.outages.expire()
        self.deliverer.wake()
        self.runner.wake()


def split_secret_keys(value: str) -> list[str]:
    """A comma-separated list: the first key encrypts, all decrypt."""
    return [part.strip() for part in value.split(",") if part.strip()]
