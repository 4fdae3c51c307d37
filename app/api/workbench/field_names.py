"""How the workbench API names the fields of its requests, in the errors of the domain."""

from app.kernel.field_names import FieldNames, Kind
from app.runs.entities import DESCRIPTION_TAG


class _ByKey:
    """Metrics, params and tags are objects: `tags.{key}`. The description, which is stored as a
    tag, is a field of its own."""

    run_name = "name"

    def item(self, kind: Kind, index: int, key: str, part: str) -> str:
        if kind == "tags" and key == DESCRIPTION_TAG:
            return "description"
        return f"{kind}.{key}"


class _MetricsInList(_ByKey):
    """As above, with metrics in a list: `metrics[0].key`."""

    def item(self, kind: Kind, index: int, key: str, part: str) -> str:
        if kind == "metrics":
            return f"metrics[{index}].{'key' if part == 'name' else part}"
        return super().item(kind, index, key, part)


BY_KEY: FieldNames = _ByKey()
METRICS_IN_LIST: FieldNames = _MetricsInList()
