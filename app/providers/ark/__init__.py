"""ByteDance's Seedance videos: Volcengine Ark, and BytePlus ModelArk under another base URL.

The default is Ark in mainland China. ModelArk is `https://ark.ap-southeast.bytepluses.com/api/v3`; keys of one aren't
good at the other (https://ai-sdk.dev/providers/ai-sdk-providers/bytedance).
"""

from __future__ import annotations

from app.providers.ark.media import ArkMedia
from app.providers.base import NO_PATHS, Provider

PROVIDERS = (Provider("ark", "https://ark.cn-beijing.volces.com/api/v3", NO_PATHS, media=ArkMedia()),)
