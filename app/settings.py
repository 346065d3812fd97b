"""Everything an operator can set, read from `RELAYGATE_*` (and `.env`); the only reader of the environment."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Settings(BaseSettings):
    """One process's settings. Durations are seconds."""

    model_config = SettingsConfigDict(
        env_prefix="RELAYGATE_",
        env_file=".env",
        # `RELAYGATE_ADMIN_TOKEN=` in a compose file means "not set", never "the empty token".
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    database_url: SecretStr | None = Field(None, description="PostgreSQL URL; absent: embedded in data_dir")
    data_dir: Path = Field(Path("data"), description="Embedded database, generated secrets, stored media")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64, description="API processes that share the port")
    role: Literal["all", "api", "worker"] = "all"
    admin_token: SecretStr | None = Field(None, description="Absent: generated at first start and shown once")
    secret_key: SecretStr | None = Field(
        None,
        description="Encrypts upstream secrets. A comma-separated list rotates: the first encrypts, all decrypt",
    )
    public_url: str | None = Field(None, description="How clients reach this gateway; shown in printed snippets")
    demo: Literal["auto", "true", "false"] = Field(
        "false", description="Adds the demo upstream; auto: only while no channel is configured"
    )
    trusted_proxies: Annotated[list[Network], NoDecode] = Field(
        default_factory=list, description="CIDRs whose X-Forwarded-For is believed"
    )
    allowed_private_networks: Annotated[list[Network], NoDecode] = Field(
        default_factory=list, description="CIDRs beyond the public internet that URLs given by users may lead to"
    )
    max_body_mb: int = Field(64, ge=1, le=2048, description="Largest request body, after decompression")
    max_upload_mb: int = Field(
        512, ge=1, le=16_384, description="Largest form with files; those lie on disk, in data_dir, while they are sent"
    )
    max_answer_mb: int = Field(64, ge=1, le=2048, description="Largest non-streamed upstream answer")
    connect_timeout: float = Field(10.0, gt=0)
    first_byte_timeout: float = Field(600.0, gt=0, description="From the request to the first byte of the answer")
    idle_timeout: float = Field(300.0, gt=0, description="Between two reads of an answer that has begun")
    write_timeout: float = Field(120.0, gt=0, description="For a client that doesn't read what it asked for")
    head_timeout: float = Field(10.0, gt=0, description="For a client to send the head of a request")
    max_connections: int = Field(20_000, ge=0, description="Open client connections of one process; 0: any number")
    max_connections_per_address: int = Field(
        0, ge=0, description="Of them by one address; 0: any number. Only without a proxy before the gateway"
    )
    body_timeout: float = Field(60.0, gt=0, description="For a client to send its request body")
    on_hangup: Literal["cancel", "drain"] = Field(
        "cancel",
        description="When a client hangs up: cancel the upstream call, or read it to the end for its usage",
    )
    alert_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Told of channels that refuse the gateway's key or have failed for long",
    )
    alert_secret: SecretStr | None = Field(None, description="Signs alerts as webhooks are signed (Standard Webhooks)")
    max_attempts: int = Field(
        5, ge=1, le=20, description="Upstream calls of one request at most; a model's own option goes before it"
    )
    retry_budget: float = Field(
        0.2,
        ge=0,
        le=10,
        description="Retries a request on average, so that they can't make an upstream's trouble worse",
    )
    channel_patience: float = Field(
        10.0, ge=0, description="How long a request waits where all channels have as much to do as their caps allow"
    )
    charge_empty_answers: bool = Field(
        True, description="Charge the input of answers in which an upstream reports no output at all"
    )
    answer_headers: bool = Field(
        True, description="Tell clients of channel class, attempts, times and cost in x-relaygate-* headers"
    )
    hangup_drain: float = Field(30.0, gt=0, description="Bound on reading on after a hang-up")
    drain: float = Field(30.0, ge=0, description="Bound on finishing open requests at SIGTERM")
    lease: float = Field(30.0, ge=1, description="After a process dies, its holds are resolved within this time")
    hold_patience: float = Field(
        30.0, ge=0, description="How long a request waits for quota that is there, but held by other requests"
    )
    default_max_output_tokens: int = Field(
        8192, ge=1, description="Output held for, where neither the request nor the model names a cap"
    )
    retention_months: int | None = Field(
        None, ge=1, le=1200, description="Entries are kept for at least so many months; absent: for ever"
    )
    price_update_url: str | None = Field(
        None, description="What an update of the price catalogue fetches; absent: genai-prices' own address"
    )
    storage_url: str | None = Field(
        None,
        pattern=r"^(s3|gs|az|file)://",
        description="Where media is kept: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or "
        "file:///folder; absent: the folder media in data_dir",
    )
    media_retention_days: int = Field(30, ge=1, le=36500, description="Stored media older than this is deleted")
    media_link_hours: int = Field(
        24, ge=1, le=24 * 30, description="For how long a link to stored media is good at most; at least half of it"
    )
    database_pool: int = Field(
        5, ge=1, le=100, description="Connections of one process, beside three fixed ones and two for reports"
    )
    auth_failures_per_minute: int = Field(
        60, ge=0, description="Unknown keys that an address may present, for each process; then 429. 0: no bound"
    )
    admin_auth_failures_per_minute: int = Field(10, ge=0, description="The same of admin tokens")
    action_retention_days: int = Field(
        400, ge=1, le=36500, description="The log of what administrators did is kept for so long"
    )
    realtime_slice_tokens: int = Field(
        8000, ge=100, le=1_000_000, description="Tokens, in and out, whose worst price a Realtime session holds ahead"
    )
    realtime_idle_timeout: float = Field(600.0, gt=0, description="Of a Realtime session, without a frame either way")
    realtime_max_duration: float = Field(3600.0, gt=0, description="Of a Realtime session")
    realtime_ping_interval: float = Field(20.0, gt=0, description="Between pings of a Realtime session, both ways")
    realtime_max_frame_mb: int = Field(16, ge=1, le=256, description="Largest message of a Realtime session")
    metrics_public: bool = Field(False, description="Serve /metrics without the admin token")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @field_validator("trusted_proxies", "allowed_private_networks", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @property
    def local_url(self) -> str:
        """How this machine reaches the gateway."""
        host = "localhost" if self.host in ("0.0.0.0", "127.0.0.1", "::") else self.host  # noqa: S104
        return f"http://{host}:{self.port}"

    @property
    def max_body_bytes(self) -> int:
        return self.max_body_mb * 1024 * 1024

    @property
    def max_upload_bytes(self) -> int:
        # A form is a little larger than the file in it.
        return (self.max_upload_mb + 1) * 1024 * 1024

    @property
    def realtime_max_frame_bytes(self) -> int:
        return self.realtime_max_frame_mb * 1024 * 1024

    @property
    def max_answer_bytes(self) -> int:
        return self.max_answer_mb * 1024 * 1024
