"""Settings, read from the environment (prefix `TRACKING_`) and from `.env`."""

import re
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.kernel.tenant import is_slug

MIN_ADMIN_KEY_LENGTH = 32
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# An origin as browsers send it.
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")


class Settings(BaseSettings):
    """The settings; the table in the README documents them."""

    model_config = SettingsConfigDict(env_prefix="TRACKING_", env_file=".env", extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1)
    data_dir: Path = Path(".data")
    disk_reserve_bytes: int | None = Field(default=None, ge=0)

    database_url: str | None = None
    migration_database_url: str | None = None
    database_pool_size: int = Field(default=10, ge=1)
    statement_timeout_seconds: float = Field(default=60, ge=0.001, le=3600)
    search_timeout_seconds: float = Field(default=30, ge=0.001, le=3600)

    minio_endpoint: str | None = None
    minio_access_key: str | None = None
    minio_secret_key: SecretStr | None = None
    minio_secure: bool = False
    minio_region: str | None = None
    minio_path_style: bool = True
    minio_public_endpoint: str | None = None
    minio_bucket_prefix: str = "tracking-"
    minio_versioning: bool = False
    minio_old_versions_days: int | None = Field(default=None, ge=1)
    tenant_transfers: int = Field(default=32, ge=1)

    retention_days: int | None = Field(default=None, ge=1)
    # At least MLflow's own limit for tags. A batch of 1 MB has room for at most this much.
    max_value_length: int = Field(default=65_536, ge=8_000, le=250_000)

    auth: Literal["off", "keys"] = "off"
    admin_key: SecretStr | None = None
    allow_unauthenticated: bool = False
    allowed_hosts: str = ""
    default_tenant: str = "default"
    auto_create_tenants: bool | None = None
    tenant_tag: bool = True

    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_jwks: str | None = None
    jwt_tenant_claim: str = "tenant"
    jwt_role_claim: str = "role"

    log_format: Literal["json", "text"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_requests: Literal["all", "notable", "off"] = "notable"
    log_slow_seconds: float = Field(default=1.0, gt=0)
    metrics_token: SecretStr | None = None
    metrics_tenants: int = Field(default=0, ge=0, le=1000)
    cors_origins: str = ""

    mlflow_ui: bool = False

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _postgres_url(cls, url: str | None) -> str | None:
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must be a postgresql:// URL")
        return url or None

    @field_validator("default_tenant")
    @classmethod
    def _valid_default_tenant(cls, name: str) -> str:
        if name and not is_slug(name):
            raise ValueError("must be a tenant slug, or empty to refuse requests that name none")
        return name

    @field_validator("admin_key")
    @classmethod
    def _valid_admin_key(cls, key: SecretStr | None) -> SecretStr | None:
        given = key.get_secret_value() if key else ""
        if not given:
            return None
        if len(given) < MIN_ADMIN_KEY_LENGTH or not given.isascii() or not given.isprintable():
            raise ValueError(
                f"must have at least {MIN_ADMIN_KEY_LENGTH} characters of printable ASCII:"
                " openssl rand -hex 32"
            )
        return key

    @field_validator("cors_origins")
    @classmethod
    def _valid_origins(cls, origins: str) -> str:
        for origin in origins.split(",") if origins else ():
            if not _ORIGIN.fullmatch(origin.strip()):
                raise ValueError(
                    "must be origins with commas between, as https://workbench.example.org: a"
                    " scheme and a host, in lower case, without a path, and never *"
                )
        return origins

    @field_validator("metrics_token")
    @classmethod
    def _none_if_empty_secret(cls, token: SecretStr | None) -> SecretStr | None:
        return token if token and token.get_secret_value() else None

    @field_validator(
        "auto_create_tenants",
        "disk_reserve_bytes",
        "jwt_issuer",
        "jwt_audience",
        "jwt_jwks",
        mode="before",
    )
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("jwt_jwks")
    @classmethod
    def _trusted_location(cls, location: str | None) -> str | None:
        url = urlsplit(location or "")
        if url.scheme == "http" and url.hostname not in LOOPBACK_NAMES:
            raise ValueError(
                "must be an https:// URL or a file: whoever can change it can sign tokens"
            )
        return location

    @model_validator(mode="after")
    def _complete_jwt_settings(self) -> "Settings":
        given = [self.jwt_issuer, self.jwt_audience, self.jwt_jwks]
        if any(given) and not all(given):
            raise ValueError(
                "TRACKING_JWT_ISSUER, TRACKING_JWT_AUDIENCE and TRACKING_JWT_JWKS belong together:"
                " set all three, or none"
            )
        return self

    @model_validator(mode="after")
    def _installed_mlflow_page(self) -> "Settings":
        if self.mlflow_ui and self.mlflow_page is None:
            raise ValueError(
                "TRACKING_MLFLOW_UI needs the page that comes with the package mlflow:"
                " pip install 'tracking[mlflow-ui]'"
            )
        return self

    @cached_property
    def mlflow_page(self) -> Path | None:
        """The folder of MLflow's web page in the installed package; None where it isn't served."""
        package = find_spec("mlflow") if self.mlflow_ui else None
        for folder in (package and package.submodule_search_locations) or ():
            page = Path(folder, "server", "js", "build")
            if (page / "index.html").is_file():
                return page
        return None

    @property
    def creates_tenants(self) -> bool:
        """Whether a write to an unknown tenant creates it; by default only with auth off."""
        return self.auth == "off" if self.auto_create_tenants is None else self.auto_create_tenants

    @property
    def implied_tenant(self) -> str:
        """The tenant of requests that name none; empty with keys, which always name one."""
        return self.default_tenant if self.auth == "off" else ""

    @property
    def loopback(self) -> bool:
        """Whether the service listens on loopback only."""
        if self.host in LOOPBACK_NAMES:
            return True
        with suppress(ValueError):
            return ip_address(self.host).is_loopback
        return False

    @cached_property
    def hosts(self) -> frozenset[str] | None:
        """The values, without a port, that the Host header may have; None for any.

        Without authentication and this check, a web page whose name resolves to this machine could
        read and write here through its visitor's browser (DNS rebinding).
        """
        given = frozenset(name.strip().lower() for name in self.allowed_hosts.split(",") if name)
        if "*" in given or (not given and (self.auth != "off" or self.allow_unauthenticated)):
            return None
        return given | LOOPBACK_NAMES | {self.host}

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may call the APIs (CORS)."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin]

    @cached_property
    def owner_url(self) -> str | None:
        """The URL for the role that owns the schema; None with the embedded Postgres."""
        return self.migration_database_url or self.database_url
