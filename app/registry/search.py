"""Searches of the model registry: registered models, and their versions.

Both leave prompts out unless the filter asks for them, as MLflow 3.17 does. They raise
InvalidValueError, whose `field` is `filter`, `order_by` or `page_token`.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import ColumnElement, and_, select

from app.db.tables.base import table_of
from app.db.tables.registry import (
    ModelVersion,
    ModelVersionTag,
    RegisteredModel,
    RegisteredModelTag,
)
from app.kernel.tenant import Tenant
from app.registry.entities import PROMPT_TAG
from app.search.child_tables import KeyValueChildTable
from app.search.compiler import compile_filter
from app.search.fields import resolve
from app.search.order_by import SortTerm, ordering, parse_orders, sort_terms
from app.search.page import Page, build_page
from app.search.parser import parse_filter
from app.search.predicates import PATTERN
from app.search.schema import EntitySchema, ErrorMessages, FieldKind, attribute, by_name
from app.search.syntax_tree import Comparison, Filter, Text

_MODELS, _MODEL_TAGS = table_of(RegisteredModel), table_of(RegisteredModelTag)
_VERSIONS, _VERSION_TAGS = table_of(ModelVersion), table_of(ModelVersionTag)
_VERSIONS_WITH_MODELS = _VERSIONS.join(
    _MODELS,
    and_(
        _MODELS.c.tenant_id == _VERSIONS.c.tenant_id,
        _MODELS.c.registered_model_id == _VERSIONS.c.registered_model_id,
    ),
)

_PREFIXES = {
    "attribute": FieldKind.ATTRIBUTE,
    **dict.fromkeys(("tag", "tags"), FieldKind.TAG),
}
_UNKNOWN_PREFIX = (
    "Invalid entity type '{prefix}'. Valid entity types are ('attribute', 'tag', 'tags')"
)
_COMPARATOR = "Invalid comparator for {kind}: {comparator}"
_UNSORTABLE = "Invalid order by key '{key}' specified."

_NAME = attribute("name", _MODELS.c.name)
_MODEL_UPDATED = attribute("last_updated_timestamp", _MODELS.c.last_updated_time, "integer")

REGISTERED_MODELS = EntitySchema(
    id=_MODELS.c.registered_model_id,
    prefixes=_PREFIXES,
    attributes=by_name(_NAME),
    # In MLflow `timestamp` is the time of the last change too.
    sort_attributes={**by_name(_NAME, _MODEL_UPDATED), "timestamp": _MODEL_UPDATED},
    child_tables={FieldKind.TAG: KeyValueChildTable(_MODEL_TAGS, "registered_model_id", "value")},
    comparators={FieldKind.TAG: PATTERN},
    listable=frozenset({"name"}),
    messages=ErrorMessages(
        unknown_prefix=_UNKNOWN_PREFIX,
        comparator=_COMPARATOR,
        nullness=_COMPARATOR,
        unsortable=_UNSORTABLE,
        sort_key="order by",
        attribute_value="Expected a quoted string value or a list of quoted string values for"
        " attributes. Got value {shown}",
    ),
    repeatable_orders=False,
)

_VERSION_NUMBER = attribute("version_number", _VERSIONS.c.version, "whole_or_text")

# The statement joins the registered model, which has the name.
MODEL_VERSIONS = EntitySchema(
    id=_VERSIONS.c.version_id,
    prefixes=_PREFIXES,
    attributes=by_name(
        _NAME,
        _VERSION_NUMBER,
        attribute("run_id", _VERSIONS.c.run_id),
        attribute("source_path", _VERSIONS.c.source),
    ),
    sort_attributes=by_name(
        _NAME,
        _VERSION_NUMBER,
        attribute("creation_timestamp", _VERSIONS.c.creation_time, "integer"),
        attribute("last_updated_timestamp", _VERSIONS.c.last_updated_time, "integer"),
    ),
    child_tables={FieldKind.TAG: KeyValueChildTable(_VERSION_TAGS, "version_id", "value")},
    comparators={FieldKind.TAG: PATTERN},
    listable=frozenset({"name", "run_id"}),
    messages=ErrorMessages(
        unknown_prefix=_UNKNOWN_PREFIX,
        comparator=_COMPARATOR,
        nullness=_COMPARATOR,
        unsortable=_UNSORTABLE,
        attribute_value="Only the"
        " '{{'creation_timestamp', 'last_updated_timestamp', 'version_number'}}'"
        " attributes support comparison with numeric values.",
    ),
    repeatable_orders=False,
)

_DEFAULT_VERSION_ORDER = ("last_updated_timestamp DESC",)
_BY_NAME = SortTerm(_NAME)
_NEWEST_VERSION_FIRST = SortTerm(_VERSION_NUMBER, descending=True)

IsPrompt = Callable[[Tenant], ColumnElement[bool]]


def search_registered_models(
    tenant: Tenant,
    *,
    filter: str = "",
    order_by: Sequence[str] = (),
    limit: int,
    page_token: str | None = None,
) -> Page:
    """A page of registered models. Ties of the order are broken by name."""
    schema = REGISTERED_MODELS
    terms = sort_terms(tenant, schema, parse_orders(order_by))
    return build_page(
        schema.id,
        _MODELS,
        [
            _MODELS.c.tenant_id == tenant.id,
            *_conditions(tenant, schema, filter, _is_prompt),
        ],
        ordering(tenant, [*terms, _BY_NAME]),
        limit=limit,
        page_token=page_token,
        search=["registered_models", tenant.id, filter, list(order_by)],
    )


def search_model_versions(
    tenant: Tenant,
    *,
    filter: str = "",
    order_by: Sequence[str] = (),
    limit: int,
    page_token: str | None = None,
) -> Page:
    """A page of the versions of all models, without an order the last changed first.

    Ties of the order are broken by name, and then by version, the newest first.
    """
    schema = MODEL_VERSIONS
    terms = sort_terms(tenant, schema, parse_orders(order_by or _DEFAULT_VERSION_ORDER))
    return build_page(
        schema.id,
        _VERSIONS_WITH_MODELS,
        [
            _VERSIONS.c.tenant_id == tenant.id,
            _MODELS.c.tenant_id == tenant.id,
            *_conditions(tenant, schema, filter, _has_prompt_version),
        ],
        ordering(tenant, [*terms, _BY_NAME, _NEWEST_VERSION_FIRST]),
        limit=limit,
        page_token=page_token,
        search=["model_versions", tenant.id, filter, list(order_by)],
    )


def _conditions(
    tenant: Tenant, schema: EntitySchema, filter: str, is_prompt: IsPrompt
) -> list[ColumnElement[bool]]:
    """The conditions of the filter, and that there are no prompts unless it asks for them.

    The first comparison of the prompt tag decides. Where it asks for models (`!= 'true'`,
    `= 'false'`, `LIKE …`), all comparisons of the tag are checked and then left out, since models
    do not have it.
    """
    tree = parse_filter(filter)
    compiled = compile_filter(tenant, schema, tree)
    of_prompt_tag = [
        comparison for comparison in tree.comparisons if _names_prompt_tag(schema, tree, comparison)
    ]
    if of_prompt_tag and _asks_for_prompts(of_prompt_tag[0]):
        return compiled.where(schema.id)
    if of_prompt_tag:
        rest = tuple(each for each in tree.comparisons if each not in of_prompt_tag)
        compiled = compile_filter(tenant, schema, Filter(tree.source, rest))
    return [*compiled.where(schema.id), ~is_prompt(tenant)]


def _names_prompt_tag(schema: EntitySchema, tree: Filter, comparison: Comparison) -> bool:
    field = resolve(schema, tree.source, comparison.identifier)
    return field.kind is FieldKind.TAG and field.name == PROMPT_TAG


def _asks_for_prompts(comparison: Comparison) -> bool:
    value = comparison.value.value.lower() if isinstance(comparison.value, Text) else ""
    return (comparison.comparator, value) in (("=", "true"), ("!=", "false"))


def _is_prompt(tenant: Tenant) -> ColumnElement[bool]:
    """That a registered model is a prompt."""
    return (
        select(_MODEL_TAGS.c.key)
        .where(
            _MODEL_TAGS.c.tenant_id == tenant.id,
            _MODEL_TAGS.c.registered_model_id == _MODELS.c.registered_model_id,
            _MODEL_TAGS.c.key == PROMPT_TAG,
            _MODEL_TAGS.c.value == "true",
        )
        .exists()
    )


def _has_prompt_version(tenant: Tenant) -> ColumnElement[bool]:
    """That any version of the model is a prompt's: MLflow treats all versions of a model alike."""
    versions = _VERSIONS.alias()
    return (
        select(_VERSION_TAGS.c.key)
        .where(
            versions.c.tenant_id == tenant.id,
            versions.c.registered_model_id == _MODELS.c.registered_model_id,
            _VERSION_TAGS.c.tenant_id == tenant.id,
            _VERSION_TAGS.c.version_id == versions.c.version_id,
            _VERSION_TAGS.c.key == PROMPT_TAG,
            _VERSION_TAGS.c.value == "true",
        )
        .exists()
    )
