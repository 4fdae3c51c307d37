"""The tags of registered models and of their versions, in SQL: two tables of one shape."""

from typing import cast

from sqlalchemy import Table

from app.db.key_values import Pairs
from app.db.tables.registry import ModelVersionTag, RegisteredModelTag
from app.kernel import validation

MODEL_TAGS = Pairs(
    table=cast(Table, RegisteredModelTag.__table__),
    owner="registered_model_id",
    called="A registered model",
    kind="tags",
    limit=validation.MAX_TAGS,
)
VERSION_TAGS = Pairs(
    table=cast(Table, ModelVersionTag.__table__),
    owner="version_id",
    called="A model version",
    kind="tags",
    limit=validation.MAX_TAGS,
)
