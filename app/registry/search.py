"""The searches of the model registry: registered models, and their versions.

Both leave prompts out unless the filter asks for them, as MLflow 3.17 does. They raise
InvalidValueError, whose `field` is `filter`, `order_by` or `page_token`.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, select

from app.kernel.tenant import Tenant
from app.registry.entities import PROMPT_TAG
from app.search.compiler import conditions, key_of
from app.search.entities import MODEL_VERSIONS, REGISTERED_MODELS, Entity, Kind
from app.search.order_by import Term, check_count, ordering, terms
from app.search.page import Page, page
from app.search.parser import parse_filter, parse_order
from app.search.syntax_tree import Comparison, Filter, Text
from app.search.tables import (
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)

_VERSIONS_OF_MODELS = model_versions.join(
    registered_models,
    and_(
        registered_models.c.tenant_id == model_versions.c.tenant_id,
        registered_models.c.registered_model_id == model_versions.c.registered_model_id,
    ),
)

_DEFAULT_VERSION_ORDER = ("last_updated_timestamp DESC",)


def search_registered_models(
    tenant: Tenant,
    *,
    filter: str = "",
    order_by: Sequence[str] = (),
    limit: int,
    page_token: str | None = None,
) -> Page:
    """The registered models, by name where the order leaves it open."""
    entity = REGISTERED_MODELS
    order = [*_terms(tenant, entity, order_by), Term(entity.orders["name"])]
    return page(
        registered_models.c.registered_model_id,
        registered_models,
        [registered_models.c.tenant_id == tenant.id, *_conditions(tenant, entity, filter)],
        ordering(tenant, order),
        limit=limit,
        offset=0,
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
    """The versions of all models; where the order leaves it open by name, the newest first.

    Without an order, those that were changed last come first.
    """
    entity = MODEL_VERSIONS
    order = [
        *_terms(tenant, entity, order_by or _DEFAULT_VERSION_ORDER),
        Term(entity.orders["name"]),
        Term(entity.orders["version_number"], descending=True),
    ]
    return page(
        model_versions.c.version_id,
        _VERSIONS_OF_MODELS,
        [
            model_versions.c.tenant_id == tenant.id,
            registered_models.c.tenant_id == tenant.id,
            *_conditions(tenant, entity, filter),
        ],
        ordering(tenant, order),
        limit=limit,
        offset=0,
        page_token=page_token,
        search=["model_versions", tenant.id, filter, list(order_by)],
    )


def _terms(tenant: Tenant, entity: Entity, order_by: Sequence[str]) -> list[Term]:
    check_count(order_by)
    return terms(tenant, entity, [parse_order(each) for each in order_by])


def _conditions(tenant: Tenant, entity: Entity, filter: str) -> list[ColumnElement[bool]]:
    """What the filter says, without prompts unless it asks for them.

    A filter that speaks of prompts in another way (`!= 'true'`, `= 'false'`, `LIKE …`) asks for
    models, which have no such tag to compare: these comparisons are only checked.
    """
    tree = parse_filter(filter)
    found = conditions(tenant, entity, tree)
    about = [each for each in tree.comparisons if _is_about_prompts(entity, tree, each)]
    if about and _asks_for_prompts(about[0]):
        return found
    if about:
        rest = tuple(each for each in tree.comparisons if each not in about)
        found = conditions(tenant, entity, Filter(tree.source, rest))
    return [*found, ~_PROMPTS[entity.name](tenant)]


def _is_about_prompts(entity: Entity, tree: Filter, comparison: Comparison) -> bool:
    key = key_of(entity, tree.source, comparison.identifier)
    return key.kind is Kind.TAG and key.name == PROMPT_TAG


def _asks_for_prompts(comparison: Comparison) -> bool:
    value = comparison.value.value.lower() if isinstance(comparison.value, Text) else ""
    return (comparison.comparator, value) in (("=", "true"), ("!=", "false"))


def _prompts(tenant: Tenant) -> ColumnElement[bool]:
    """That a registered model is a prompt."""
    tags = registered_model_tags.c
    return (
        select(tags.key)
        .where(
            tags.tenant_id == tenant.id,
            tags.registered_model_id == registered_models.c.registered_model_id,
            tags.key == PROMPT_TAG,
            tags.value == "true",
        )
        .exists()
    )


def _versions_of_prompts(tenant: Tenant) -> ColumnElement[bool]:
    """That any version of the model is a prompt's: MLflow leaves out, or in, all of them."""
    tags, others = model_version_tags.c, model_versions.alias()
    return (
        select(tags.key)
        .where(
            others.c.tenant_id == tenant.id,
            others.c.registered_model_id == registered_models.c.registered_model_id,
            tags.tenant_id == tenant.id,
            tags.version_id == others.c.version_id,
            tags.key == PROMPT_TAG,
            tags.value == "true",
        )
        .exists()
    )


_PROMPTS = {REGISTERED_MODELS.name: _prompts, MODEL_VERSIONS.name: _versions_of_prompts}
