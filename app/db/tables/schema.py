"""Every table, imported once, so that the metadata is whole."""

from app.db.tables import artifacts as artifacts
from app.db.tables import audit as audit
from app.db.tables import experiments as experiments
from app.db.tables import gc as gc
from app.db.tables import logged_models as logged_models
from app.db.tables import metrics as metrics
from app.db.tables import registry as registry
from app.db.tables import runs as runs
from app.db.tables import tenants as tenancy
from app.db.tables.base import Base, TenantOwned

metadata = Base.metadata

__all__ = [
    "TenantOwned",
    "artifacts",
    "audit",
    "experiments",
    "gc",
    "logged_models",
    "metadata",
    "metrics",
    "registry",
    "runs",
    "tenancy",
]
