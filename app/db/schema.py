"""Every table, imported once, so that the metadata is whole."""

from app.artifacts import models as artifacts
from app.audit import models as audit
from app.db.base import Base, TenantOwned
from app.experiments import models as experiments
from app.gc import models as gc
from app.metrics import models as metrics
from app.models import models as logged_models
from app.registry import models as registry
from app.runs import models as runs
from app.tenancy import models as tenancy

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
