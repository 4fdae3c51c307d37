"""Names of request fields in errors, which each API has of its own; rules for params and tags."""

import logging
from collections.abc import MutableMapping
from typing import Literal, Protocol, TypeVar

from app.kernel import validation
from app.kernel.tenant import TENANT_TAG

log = logging.getLogger(__name__)

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


Value = TypeVar("Value", str, str | None)
"""Of a tag: None where the tag is to be deleted."""


def check_params(params: MutableMapping[str, str], names: FieldNames, limit: int) -> None:
    """Raises InvalidValueError for the first param that breaks a rule.

    Values of more than `limit` characters are cut, as MLflow's server does.
    """
    field = names.item
    for index, (key, value) in enumerate(params.items()):
        validation.key(key, field("params", index, key, "key"), called="Param key")
        if len(value) > limit:
            params[key] = value = cut("param", key, value, limit)
        validation.text(value, field("params", index, key, "value"))


def check_tags(
    tags: MutableMapping[str, Value], names: FieldNames, limit: int, *, cuts: bool = False
) -> None:
    """Raises InvalidValueError for the first tag that breaks a rule.

    Values of more than `limit` characters are refused, or with `cuts` cut. The tag that is derived
    from the tenant is dropped: copies of runs bring it along. To delete it is refused.
    """
    field = names.item
    for index, (key, value) in enumerate(tags.items()):
        validation.key(key, field("tags", index, key, "key"))
        if cuts and value and len(value) > limit:
            tags[key] = value = cut("tag", key, value, limit)
        validation.text(value or "", field("tags", index, key, "value"), limit)
    if TENANT_TAG in tags:
        if tags[TENANT_TAG] is None:
            validation.deletable(TENANT_TAG, field("tags", 0, TENANT_TAG, "key"))
        del tags[TENANT_TAG]


def cut(kind: str, key: str, value: str, limit: int) -> str:
    """The first `limit` characters of a value that is longer; the log tells of it."""
    log.warning(
        "the %s %r has %d characters and is cut to %d (TRACKING_MAX_VALUE_LENGTH)",
        *(kind, key, len(value), limit),
    )
    return value[:limit]
