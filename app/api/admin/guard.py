"""Who may administer: the bearer of the configured admin token, or of one that the database knows."""

from __future__ import annotations

import hmac

from fastapi import Request

from app.accounts.store import has_admin_token
from app.api.context import ServicesDep
from app.errors import unauthenticated

_REFUSED = "This needs the admin token: `Authorization: Bearer ...`."


async def require_admin(request: Request, services: ServicesDep) -> None:
    """Raises GatewayError 401 for anything but exactly one right token. Compares in constant time, or by digest."""
    headers = request.headers.getlist("authorization")
    scheme, _, token = (headers[0] if len(headers) == 1 else "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > 512:
        raise unauthenticated(_REFUSED)
    configured = services.settings.admin_token
    if configured is not None and hmac.compare_digest(
        configured.get_secret_value().encode(), token.encode("utf-8", "surrogateescape")
    ):
        return
    async with services.database.engine.connect() as connection:
        if not await has_admin_token(connection, token):
            raise unauthenticated(_REFUSED)
