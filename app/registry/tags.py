"""The tags of registered models and of their versions, in SQL: two tables of one shape."""

from app.db.key_values import KeyValueTable
from app.db.tables.base import table_of
from app.db.tables.registry import ModelVersionTag, RegisteredModelTag
from app.kernel import validation

MODEL_TAGS = KeyValueTable(
    table=table_of(RegisteredModelTag),
    owner_column="registered_model_id",
    owner_name="A registered model",
    kind="tags",
    limit=validation.MAX_TAGS,
)
VERSION_TAGS = KeyValueTable(
    table=table_of(ModelVersionTag),
    owner_column="version_id",
    owner_name="A model version",
    kind="tags",
    limit=validation.MAX_TAGS,
)
