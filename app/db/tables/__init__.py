"""The database's tables, one module for each domain; `metadata` holds all of them."""

from app.db.tables import (
    artifacts,
    audit,
    auth,
    experiments,
    gc,
    logged_models,
    metrics,
    registry,
    runs,
    tenants,
)
from app.db.tables.base import Base, TenantOwned

metadata = Base.metadata

__all__ = [
    "TenantOwned",
    "artifacts",
    "audit",
    "auth",
    "experiments",
    "gc",
    "logged_models",
    "metadata",
    "metrics",
    "registry",
    "runs",
    "tenants",
]
