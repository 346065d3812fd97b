"""Which channels can make a character and at what price, and what is said where none can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.accounts.principals import Principal
from app.catalog.prices import Price
from app.catalog.snapshot import Channel, Model, Snapshot
from app.core.media import KIND_BY_SCOPE, Scope, Status
from app.errors import Blame, GatewayError, Kind, invalid_request
from app.media.task import Task
from app.providers.base import Provider
from app.providers.media import CharacterJob
from app.providers.media import Characters as Maker
from app.relay.plan import in_order, no_channel

MODEL = "sora-characters"
"""The catalogue's model whose channels make characters, at its price."""

MAX_NAMED = 20
"""Models that a refusal names."""


@dataclass(frozen=True, slots=True)
class Way:
    """A channel that can make it, what it is told, and what that costs. `cost` None: unknown what the vendor takes."""

    channel: Channel
    maker: Maker
    job: CharacterJob
    price: Price
    price_id: int | None
    cost: Price | None


def find_character_model(snapshot: Snapshot, principal: Principal) -> Model:
    """Raises GatewayError: 404 where the operator hasn't set characters up, 403 not for this key, 503 not priced."""
    model = snapshot.models.get(MODEL)
    if model is None or model.kind != KIND_BY_SCOPE[Scope.VIDEOS]:
        message = (
            f"Characters aren't set up on this gateway. Operator: PUT /admin/v1/models/{MODEL} with "
            '{"kind": "video"} and a price or "free": true, then add the model to a channel whose upstream has characters.'
        )
        raise GatewayError(Kind.NOT_FOUND, "model_not_found", message)
    if not _may_use(principal, MODEL, model):
        message = f"This API key may not use the model '{MODEL}', which makes characters."
        raise GatewayError(Kind.PERMISSION, "model_not_allowed", message)
    if model.dearest is None:
        raise _not_priced()
    return model


def ways_of_url(snapshot: Snapshot, principal: Principal, model: Model, timestamps: str, url: str) -> Sequence[Way]:
    """Every channel of the model that makes characters, in the order in which they are tried.

    Raises GatewayError: 400 where none does, 503 where none serves the model.
    """
    if not model.candidates:
        raise no_channel(MODEL, param=None)
    job = CharacterJob(timestamps, url=url)
    ways = [
        Way(candidate.channel, maker, job, candidate.price, candidate.price_id, candidate.cost)
        for candidate in in_order(model.candidates)
        if (maker := maker_of(candidate.channel.provider)) is not None
    ]
    if not ways:
        raise refuse_characters(snapshot, principal, model.candidates[0].channel.provider, "url")
    return ways


def way_of_task(snapshot: Snapshot, principal: Principal, model: Model, timestamps: str, task: Task) -> Way:
    """The channel that has made the task: only there its upstream's id means anything.

    Where that channel doesn't serve the model, the model's own price counts. Raises GatewayError: 400 naming `from_task`,
    503 not priced.
    """
    if task.scope is not Scope.VIDEOS:
        raise invalid_request("from_task: is a task that makes no video.", "from_task")
    if task.status is not Status.SUCCESS:
        why = "has failed" if task.status.final else "isn't finished yet"
        raise invalid_request(f"from_task: the task {why}.", "from_task")
    channel = None if task.channel_id is None else snapshot.channels.get(task.channel_id)
    if channel is None or task.upstream_id is None or not _is_served(snapshot, channel):
        raise invalid_request("from_task: the channel that has made it is gone; give the video's url.", "from_task")
    maker = maker_of(channel.provider)
    if maker is None:
        raise refuse_characters(snapshot, principal, channel.provider, "from_task")
    job = CharacterJob(timestamps, from_task=task.upstream_id)
    for candidate in model.candidates:
        if candidate.channel.id == channel.id:
            return Way(channel, maker, job, candidate.price, candidate.price_id, candidate.cost)
    if model.price is None:
        raise _not_priced()
    return Way(channel, maker, job, model.price, model.price_id, None)


def maker_of(provider: Provider) -> Maker | None:
    """How a provider makes characters; None: it has none."""
    return None if provider.media is None else provider.media.characters


def refuse_characters(
    snapshot: Snapshot, principal: Principal, provider: Provider, param: str = "character_url"
) -> GatewayError:
    """The 400 for characters at an upstream that has none: it says which kinds here have, and which models reach them."""
    kinds = sorted({c.provider.name for c in snapshot.channels.values() if maker_of(c.provider) is not None})
    message = f"{param}: an upstream of the kind '{provider.name}' has no characters."
    if not kinds:
        message += " None of this gateway's channels has."
    else:
        models = sorted(_models_with_characters(snapshot, principal))
        message += f" Of this gateway's channels those of the kind {_listed(kinds)} have"
        message += (
            f", which the models {_listed(models)} reach." if models else ", but none of your models reaches them."
        )
    return GatewayError(Kind.INVALID, "characters_unsupported", message, param=param)


def _models_with_characters(snapshot: Snapshot, principal: Principal) -> Iterator[str]:
    """Names of video models that this key may use and that a channel serves whose upstream has characters."""
    for name, model in snapshot.models.items():
        makes_videos = model.kind == KIND_BY_SCOPE[Scope.VIDEOS] and model.name != MODEL
        has = any(maker_of(candidate.channel.provider) is not None for candidate in model.candidates)
        if makes_videos and has and _may_use(principal, name, model):
            yield name


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _may_use(principal: Principal, name: str, model: Model) -> bool:
    return principal.allows_model(name) or principal.allows_model(model.name)


def _is_served(snapshot: Snapshot, channel: Channel) -> bool:
    """Whether a channel is enabled: one that isn't serves no model, and nothing new is begun over it."""
    served = (candidate.channel.id for model in snapshot.models.values() for candidate in model.candidates)
    return channel.id in served


def _not_priced() -> GatewayError:
    message = (
        f"The model '{MODEL}' has no price yet. Operator: PATCH /admin/v1/models/{MODEL} with one, or with free: true."
    )
    return GatewayError(Kind.UNAVAILABLE, "model_not_priced", message, blame=Blame.GATEWAY)
