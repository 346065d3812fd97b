"""The pages that a holder reads with the key itself."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.holder import account, billing, callbacks, models, usage

router = APIRouter()
for page in (account, usage, models, billing, callbacks):
    router.include_router(page.router)
