"""All admin routes under one guard."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from app.api.admin.guard import require_admin

router = APIRouter(prefix="/admin/v1", dependencies=[Depends(require_admin)])
