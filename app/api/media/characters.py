"""`/sora/v1/characters`: an account's characters, made of a stretch of a video, listed, and forgotten."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import ConfigDict, Field

from app.api.admin.paging import Page, PageQuery, page_of, read_name_cursor
from app.api.admin.shapes import ErrorBody, Shape
from app.api.caller import PrincipalDep
from app.api.context import ServicesDep
from app.api.holder.shapes import HolderQuery
from app.api.media.bodies import read_object, read_whole
from app.api.media.requests import request_id_of
from app.api.media.shapes import KEYED, documented, refusals
from app.egress.guard import MAX_URL
from app.errors import GatewayError, Kind, invalid_request
from app.media.characters import Character, NewCharacter
from app.media.rules.fields import Fields
from app.media.rules.timestamps import read_timestamps

router = APIRouter(prefix="/sora/v1/characters", tags=["media"])

MAX_TASK_ID = 256

_ID = re.compile(r"ch_[0-9a-f]{32}")

EXAMPLE: dict[str, Any] = {
    "id": "ch_019c1a2b3c4d7e5f8a6b7c8d9e0f1a2b",
    "username": "happy.cat42",
    "permalink": "https://example.com/happy.cat42",
    "profile_picture_url": "https://example.com/happy.cat42.png",
}
NEW_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["timestamps"],
    "properties": {
        "timestamps": {"type": "string", "description": "`start,end` in seconds, 1 to 3 apart", "examples": ["1,3"]},
        "url": {"type": "string", "format": "uri", "description": "A video that the upstream can fetch"},
        "from_task": {"type": "string", "description": "A finished video task of this account; goes before `url`"},
    },
}
_GONE = {"model": ErrorBody, "description": "There is no such character of this account."}
_NOT_FOUND = {
    "model": ErrorBody,
    "description": "There is no such task of this account, or no model that makes characters.",
}


class CharactersQuery(HolderQuery, PageQuery):
    """Which page of the account's characters."""


class CharacterBody(Shape):
    """A character. In a prompt it is `@username` followed by a space."""

    id: str
    username: str
    permalink: str = Field(description="Where the upstream shows it; empty if it doesn't say")
    profile_picture_url: str

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})


class DeletedCharacter(Shape):
    """It is not listed any more, and no prompt may mention it."""

    id: str
    deleted: Literal[True] = True

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": EXAMPLE["id"], "deleted": True}]})


@router.post(
    "",
    summary="Make a character",
    responses=refusals(400, 413, 429, 503) | {404: _NOT_FOUND},
    openapi_extra=documented(
        {
            "application/json": {
                "schema": NEW_SCHEMA,
                "example": {"timestamps": "1,3", "from_task": "sora-2:1756693796-YQVHH4A3LgKt"},
            }
        }
    ),
)
async def create_character(principal: PrincipalDep, request: Request, services: ServicesDep) -> CharacterBody:
    """Has the upstream make a character of a stretch of a video: one that the account has made, or one at a URL.

    It costs what the model `sora-characters` costs a call; one that isn't made costs nothing. Fields that aren't known are
    ignored.
    """
    new = _read(read_object(await read_whole(request, services)))
    return _write(await services.characters.create(principal, new, request_id_of(request)))


@router.get("", summary="List characters", responses=refusals(400, 422), openapi_extra=KEYED)
async def list_characters(
    principal: PrincipalDep, query: Annotated[CharactersQuery, Query()], services: ServicesDep
) -> Page[CharacterBody]:
    """The account's characters, the newest first."""
    before = read_name_cursor(query.cursor)
    found = await services.characters.list(principal, before=before, limit=query.limit + 1)
    return page_of(found, query.limit, _write, lambda character: character.id)


@router.get("/{character_id}", summary="Get a character", responses=refusals() | {404: _GONE}, openapi_extra=KEYED)
async def get_character(principal: PrincipalDep, character_id: str, services: ServicesDep) -> CharacterBody:
    """One of the account's characters."""
    return _write(await services.characters.get(principal, _check_id(character_id)))


@router.delete(
    "/{character_id}", summary="Delete a character", responses=refusals() | {404: _GONE}, openapi_extra=KEYED
)
async def delete_character(principal: PrincipalDep, character_id: str, services: ServicesDep) -> DeletedCharacter:
    """Forgets it here; the upstream keeps it. What was made with it stays."""
    await services.characters.delete(principal, _check_id(character_id))
    return DeletedCharacter(id=character_id)


def _read(body: dict[str, Any]) -> NewCharacter:
    """Raises GatewayError 400 naming the field. An empty text is the same as none: forms send those."""
    fields = Fields({name: value for name, value in body.items() if value != ""})
    timestamps = fields.needed("timestamps")
    read_timestamps(timestamps, "timestamps")
    url, from_task = fields.text("url", MAX_URL), fields.text("from_task", MAX_TASK_ID)
    if url is None and from_task is None:
        message = "url: give the URL of a video, or the id of a finished task as from_task."
        raise invalid_request(message, "url", "missing_required_parameter")
    return NewCharacter(timestamps.strip(), None if from_task is not None else url, from_task)


def _check_id(character_id: str) -> str:
    """The 404 for what can't be an id is the same as for one that nobody has."""
    if _ID.fullmatch(character_id) is None:
        message = f"There is no character '{character_id[:200]}'."
        raise GatewayError(Kind.NOT_FOUND, "character_not_found", message, param="character_id")
    return character_id


def _write(character: Character) -> CharacterBody:
    return CharacterBody(
        id=character.id,
        username=character.username,
        permalink=character.permalink,
        profile_picture_url=character.profile_picture_url,
    )
