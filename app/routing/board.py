"""What one process knows of its channels: health, load and outages; told by attempts, asked by the choice of channel."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.catalog.snapshot import Candidate, Channel, ChannelKey, Model
from app.errors import UpstreamError
from app.logs import get_log
from app.routing.caps import Load
from app.routing.health import Health
from app.routing.outages import ALL_KEYS, EVERYTHING, WHOLE, Outage, OutageKind, Scope, pause_after
from app.routing.tiers import TierBook
from app.routing.verdicts import Verdict, judge

log = get_log("relaygate.routing")

RELAPSE = 60.0
"""Seconds within which a channel that fails again is kept away for longer than the last time."""

MAX_RELAPSES = 1_000

MAX_SEEN = 50_000
"""Models of channels whose health is remembered: names that match a wildcard are without number."""

UNKNOWN_MODEL = (403, 404)
"""With these an upstream refuses a model that doesn't exist."""


@dataclass(slots=True, eq=False)
class Pick:
    """One attempt: which channel, under which of its keys, for which model.

    `probe`: it tries out what was out; `bounded`: and mustn't take long, since another channel could answer.
    """

    model: Model
    candidate: Candidate
    key: ChannelKey
    health: Health
    load: Load | None
    tokens: int
    stream: bool
    began: float
    probe: bool = False
    bounded: bool = False
    seconds: float = 0.0
    """Until an answer began, or was there whole; 0 before."""

    @property
    def channel(self) -> Channel:
        return self.candidate.channel


@dataclass(frozen=True, slots=True)
class Seen:
    """The moving averages of a channel's model, in seconds where they are times; None: nothing lately."""

    model: str
    error_rate: float
    answer: float | None
    first_frame: float | None
    under_way: int


class Board:
    """State of one process. `on_change` is called when there is an outage more or less to tell the other processes of.

    Times are monotonic seconds. `processes`: how many share the channels' caps.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.outages: dict[int, dict[tuple[str, int], Outage]] = {}
        """By channel, then by model and key; a channel of which nothing is out isn't in it."""
        self.next_probe = float("inf")
        """When the first of them may be tried again."""
        self.changes: dict[Scope, Outage | None] = {}
        self.on_change: Callable[[], None] | None = None
        self.opened: list[tuple[str, OutageKind]] = []
        self.processes = 1
        self.book = TierBook()
        self._health: dict[tuple[int, str], Health] = {}
        self._loads: dict[int, Load] = {}
        self._turns: dict[int, int] = {}
        self._relapses: dict[Scope, tuple[int, float]] = {}

    # -- asked by the choice -----------------------------------------------------------------------------------------

    def health(self, channel_id: int, model: str) -> Health:
        health = self._health.get((channel_id, model))
        if health is None:
            if len(self._health) >= MAX_SEEN:
                self._health = {place: health for place, health in self._health.items() if health.under_way}
            health = self._health[channel_id, model] = Health()
        return health

    def load(self, channel: Channel) -> Load | None:
        """None: the channel has no caps."""
        if channel.concurrency is None and channel.rpm is None and channel.tpm is None:
            return None
        load = self._loads.get(channel.id)
        if load is None:
            load = self._loads[channel.id] = Load()
        return load

    def turn(self, channel_id: int) -> int:
        """How many attempts there have been, for keys in rotation."""
        return self._turns.get(channel_id, 0)

    def outages_of(self, candidate: Candidate, key: int) -> list[Outage]:
        """What speaks against this channel, for this model, under this key."""
        own = self.outages.get(candidate.channel.id)
        if own is None:
            return []
        model = candidate.upstream_model
        places = (EVERYTHING, (model, ALL_KEYS), (WHOLE, key), (model, key))
        return [own[place] for place in places if place in own]

    def find(self, scope: Scope) -> Outage | None:
        own = self.outages.get(scope.channel_id)
        return None if own is None else own.get((scope.model, scope.key))

    # -- told by attempts --------------------------------------------------------------------------------------------

    def begin(self, pick: Pick) -> None:
        """An attempt goes out. Each is ended by `end`, whatever becomes of it."""
        pick.health.under_way += 1
        if len(pick.channel.keys) > 1:
            self._turns[pick.channel.id] = self.turn(pick.channel.id) + 1
        if pick.load is not None:
            pick.load.take(pick.tokens, pick.began)
        for outage in self.outages_of(pick.candidate, pick.key.number):
            if pick.began >= outage.until or outage.kind is OutageKind.REFUSED:
                outage.probed = pick.began

    def end(self, pick: Pick, tokens: int | None) -> None:
        """`tokens`: what it really used; None: not known."""
        pick.health.under_way -= 1
        if pick.load is not None:
            pick.load.give_back(0 if tokens is None else pick.tokens - tokens)
        for outage in self.outages_of(pick.candidate, pick.key.number):
            if outage.probed == pick.began:  # a probe that said nothing either way: the next one may go
                outage.probed = float("-inf")

    def answered(self, pick: Pick) -> None:
        """The upstream has answered, or begun a stream: what had been out is back. `completed` or `failed` tell the end."""
        now = self.clock()
        pick.seconds = now - pick.began
        pick.health.note_latency(now, pick.seconds, stream=pick.stream)
        self.cleared(pick.candidate, pick.key.number, pick.began)

    def completed(self, pick: Pick) -> None:
        """The answer has come to its proper end."""
        pick.health.note_success(self.clock())

    def cleared(self, candidate: Candidate, key: int, began: float) -> None:
        """A call that began then went well: what had been out is back."""
        channel = candidate.channel
        if channel.id not in self.outages:
            return
        for scope in scopes_of(candidate, key):
            outage = self.find(scope)
            if outage is not None and began >= outage.made:
                self._clear(scope, outage, channel.name)

    def failed(self, pick: Pick, error: UpstreamError) -> Verdict | None:
        """Draws the consequences. None: the request was at fault, and the channel answered."""
        return self.blamed(pick.candidate, pick.key.number, error, pick.began)

    def blamed(self, candidate: Candidate, key: int, error: UpstreamError, began: float) -> Verdict | None:
        """The same for any call that began then."""
        channel = candidate.channel
        verdict = judge(error, channel.id, candidate.upstream_model, key)
        if verdict is None or (candidate.filled and error.upstream_status in UNKNOWN_MODEL):
            return None  # of names that clients make up nothing is remembered, and nobody alarmed
        now = self.clock()
        outage = self.find(verdict.scope)
        if outage is not None and (began < outage.made or now < outage.until):
            # Sent before it was known to be out, or as a last resort: says nothing new, but for a longer pause.
            if verdict.pause is not None and now + verdict.pause > outage.until:
                self._open(verdict, channel.name, outage.failures, now)
            return verdict
        opens = verdict.at_once
        if not opens:
            opens = self.health(channel.id, candidate.upstream_model).note_failure(now)
            if verdict.scope.model == WHOLE:
                opens = self.health(channel.id, WHOLE).note_failure(now)
        if outage is not None:
            self._open(verdict, channel.name, outage.failures + 1, now)
        elif opens:
            self._open(verdict, channel.name, 1 + self._relapsed(verdict, now), now)
        return verdict

    def seen_of(self, channel_id: int) -> list[Seen]:
        """What the moving averages of a channel's models say now."""
        now = self.clock()
        return [
            Seen(
                model,
                health.error_rate(now),
                health.latency(now, stream=False),
                health.latency(now, stream=True),
                health.under_way,
            )
            for (id, model), health in self._health.items()
            if id == channel_id and model != WHOLE
        ]

    def all_outages(self) -> dict[Scope, Outage]:
        return {Scope(id, *place): outage for id, own in self.outages.items() for place, outage in own.items()}

    # -- what other processes found out --------------------------------------------------------------------------------

    def adopt(self, shared: Mapping[Scope, Outage]) -> None:
        """The outages that all processes know of. What this one hasn't told yet stays."""
        for scope in self.all_outages():
            if scope not in shared and scope not in self.changes:
                self._drop(scope)
        for scope, outage in shared.items():
            known = self.find(scope)
            if scope in self.changes or (known is not None and known.is_same(outage)):
                continue
            if known is not None:
                outage.probed = known.probed
            self._put(scope, outage)

    # -- within --------------------------------------------------------------------------------------------------------

    def _open(self, verdict: Verdict, channel: str, failures: int, now: float) -> None:
        pause = pause_after(verdict.kind, failures, verdict.pause)
        outage = Outage(verdict.kind, verdict.reason, failures, now + pause, verdict.pause is not None, now)
        if self.find(verdict.scope) is None:
            self.opened.append((channel, verdict.kind))
        self._put(verdict.scope, outage)
        tell = log.error if verdict.kind is OutageKind.REFUSED else log.warning
        tell("channel_out", channel=channel, **_fields(verdict.scope, outage), pause=round(pause, 1))
        self._changed(verdict.scope, outage)

    def _clear(self, scope: Scope, outage: Outage, channel: str) -> None:
        self._drop(scope)
        if outage.kind is OutageKind.FAILING:
            if len(self._relapses) >= MAX_RELAPSES:
                self._relapses.clear()
            self._relapses[scope] = outage.failures, self.clock()
        log.info("channel_back", channel=channel, **_fields(scope, outage))
        self._changed(scope, None)

    def _put(self, scope: Scope, outage: Outage) -> None:
        self.outages.setdefault(scope.channel_id, {})[scope.model, scope.key] = outage
        self._plan_probe()

    def _drop(self, scope: Scope) -> None:
        own = self.outages[scope.channel_id]
        del own[scope.model, scope.key]
        if not own:
            del self.outages[scope.channel_id]
        if scope.key == ALL_KEYS:
            self.health(scope.channel_id, scope.model).forgive()
        self._plan_probe()

    def _plan_probe(self) -> None:
        pauses = (outage.until for own in self.outages.values() for outage in own.values())
        self.next_probe = min(pauses, default=float("inf"))

    def _relapsed(self, verdict: Verdict, now: float) -> int:
        failures, when = self._relapses.pop(verdict.scope, (0, 0.0))
        return failures if verdict.kind is OutageKind.FAILING and now - when < RELAPSE else 0

    def _changed(self, scope: Scope, outage: Outage | None) -> None:
        self.changes[scope] = outage
        if self.on_change is not None:
            self.on_change()


def scopes_of(candidate: Candidate, key: int) -> tuple[Scope, ...]:
    """Everything whose outage would keep a call from being made."""
    id, model = candidate.channel.id, candidate.upstream_model
    return Scope(id), Scope(id, model), Scope(id, WHOLE, key), Scope(id, model, key)


def _fields(scope: Scope, outage: Outage) -> dict[str, object]:
    """For the log."""
    fields: dict[str, object] = {"kind": outage.kind.value, "reason": outage.reason, "failures": outage.failures}
    if scope.model != WHOLE:
        fields["model"] = scope.model
    if scope.key != ALL_KEYS:
        fields["key"] = scope.key
    return fields
