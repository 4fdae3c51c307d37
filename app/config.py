"""Settings, read from the environment (prefix `TRACKING_`) and from `.env`."""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.tenancy.slug import is_slug


class Settings(BaseSettings):
    """Everything an operator can set; the README's table mirrors this class."""

    model_config = SettingsConfigDict(env_prefix="TRACKING_", env_file=".env", extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1)
    data_dir: Path = Path(".data")

    database_url: str | None = None
    migration_database_url: str | None = None
    database_pool_size: int = Field(default=10, ge=1)

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

    auth: Literal["off"] = "off"
    default_tenant: str = "default"
    auto_create_tenants: bool = True
    tenant_tag: bool = True

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _postgres_only(cls, url: str | None) -> str | None:
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must be a postgresql:// URL")
        return url or None

    @field_validator("default_tenant")
    @classmethod
    def _slug_or_empty(cls, name: str) -> str:
        if name and not is_slug(name):
            raise ValueError("must be a tenant slug, or empty to refuse requests that name none")
        return name

    @cached_property
    def owner_url(self) -> str | None:
        """The URL of the role that owns the schema; None where Postgres is embedded."""
        return self.migration_database_url or self.database_url
