"""Names of request fields in errors, which each API has of its own; rules for params and tags."""

from collections.abc import Mapping
from typing import Literal, Protocol

from app.kernel import validation
from app.kernel.validation import MAX_PARAM_VALUE_LENGTH, MAX_TAG_VALUE_LENGTH

Kind = Literal["metrics", "params", "tags"]


class FieldNames(Protocol):
    """How an API names the fields of its requests."""

    run_name: str

    def item(self, kind: Kind, index: int, key: str, part: str) -> str:
        """The name of a `part`, such as "key", "value" or "step", of a metric, a param or a tag.

        The item is identified by its `index` in the request, and by its `key`.
        """


class _InLists:
    run_name = "run_name"

    def item(self, kind: Kind, index: int, key: str, part: str) -> str:
        return f"{kind}[{index}].{part}"


class _WithoutIndex:
    run_name = "run_name"

    def item(self, kind: Kind, index: int, key: str, part: str) -> str:
        return f"{kind}.{part}"


class _OfSingleItem:
    run_name = "run_name"

    def item(self, kind: Kind, index: int, key: str, part: str) -> str:
        return part


# MLflow's: `tags[0].value` in log-batch, `tags.value` when a run is created, `value` in set-tag.
IN_LISTS, WITHOUT_INDEX, OF_SINGLE_ITEM = _InLists(), _WithoutIndex(), _OfSingleItem()


def check_params(params: Mapping[str, str], names: FieldNames) -> None:
    """Raises InvalidValueError for the first param that breaks a rule."""
    field = names.item
    for index, (key, value) in enumerate(params.items()):
        validation.key(key, field("params", index, key, "key"), called="Param key")
        validation.text(value, field("params", index, key, "value"), MAX_PARAM_VALUE_LENGTH)


def check_tags(
    tags: Mapping[str, str | None],
    names: FieldNames,
    limit: int = MAX_TAG_VALUE_LENGTH,
) -> None:
    """Raises InvalidValueError for the first tag that breaks a rule. A tag that is to be deleted
    has the value None; other values may have `limit` characters."""
    field = names.item
    for index, (key, value) in enumerate(tags.items()):
        key_field = field("tags", index, key, "key")
        validation.key(key, key_field)
        validation.text(value or "", field("tags", index, key, "value"), limit)
        validation.settable(key, key_field)
