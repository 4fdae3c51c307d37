"""Resolves the source of a new model version, by the rules of MLflow 3.17's server.

A source must be the caller's own: below the artifacts of the run or the logged model that the
request names, a version of a registered model of the tenant, or a URI of cloud storage.

The run, the logged model or the version behind a source is locked before it is read, until the
transaction that creates the version ends. Garbage collection keeps the artifacts of every version,
and so must not delete them in between.
"""

import re
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from app.kernel.artifact_uris import run_artifact_uri
from app.kernel.errors import (
    InvalidValueError,
    LoggedModelNotFoundError,
    ModelVersionNotFoundError,
    NotFoundError,
)
from app.kernel.ids import is_model_id, parse_run_id
from app.kernel.tenant import Tenant
from app.kernel.uri_schemes import scheme
from app.logged_models import repository as logged_models
from app.logged_models.entities import LoggedModel
from app.registry import lookup, source_uris
from app.registry import version_repository as versions
from app.registry.entities import PROMPT_SOURCES, is_prompt

_NOT_CONTAINED = (
    "The {field} request parameter must identify the resource that contains the source."
)
_IDS = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ResolvedSource:
    """The source of a version and the location of its files.

    `model_id` is the logged model that is registered as the version, if it is one.
    """

    source: str
    storage_location: str
    run_id: str
    model_id: str | None = None


def prompt_source(source: str, run_id: str) -> ResolvedSource:
    """The source of a prompt, which is a placeholder. Raises InvalidValueError."""
    if source not in PROMPT_SOURCES:
        raise InvalidValueError(
            f"Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder.",
            field="source",
        )
    return ResolvedSource(source, source, run_id)


async def resolve(
    connection: AsyncConnection,
    tenant: Tenant,
    source: str,
    run_id: str | None,
    model_id: str | None,
) -> ResolvedSource:
    """Resolve `source` and lock what it names until the transaction ends.

    Where it names a version of a registered model, a `run_id` of None stands for that version's.

    Raises InvalidValueError for a source that is malformed, refused, or outside of the run or the
    logged model that the request names; NotFoundError for a registered model, a version or a logged
    model that does not exist.
    """
    source_uris.check_reachable(source)
    if scheme(source) == "models":
        named = _model_uri(source)
        if not named.model_id:
            return await _from_version(connection, tenant, source, named, run_id, model_id)
    source_uris.check_path(source)
    # Garbage collection (`app.gc.sql`) looks for ids in storage locations in the same way.
    ids = _IDS.findall(f"{source} {model_id or ''}")
    if not await versions.lock_sources(connection, tenant, ids):
        raise source_uris.invalid(source, "What it names is being removed for good.")
    model = await _logged_model(connection, tenant, model_id) if model_id else None
    if model_id:
        _check_in_model(source, model_id, model)
    else:
        await _check_in_run(connection, tenant, source, run_id or "")
    if model_id and model is None:
        raise LoggedModelNotFoundError(model_id)
    return _from_run_or_model(source, run_id or "", model)


def _from_run_or_model(source: str, run_id: str, model: LoggedModel | None) -> ResolvedSource:
    if model is None:
        return ResolvedSource(source, source, run_id)
    by_id = scheme(source) == "models"
    return ResolvedSource(
        source,
        model.artifact_uri if by_id else source,
        run_id or model.source_run_id,
        model.model_id,
    )


async def _from_version(
    connection: AsyncConnection,
    tenant: Tenant,
    source: str,
    named: source_uris.ModelUri,
    run_id: str | None,
    model_id: str | None,
) -> ResolvedSource:
    """The source of a copy of another version."""
    model = await lookup.model(connection, tenant, named.name)
    if is_prompt(model.tags):
        raise source_uris.invalid(
            source, "Prompt versions cannot be used as model version sources."
        )
    if named.version:
        version = await lookup.version(connection, tenant, named.name, named.version)
    elif named.alias:
        version = await lookup.by_alias(connection, tenant, model, named.alias)
    else:
        found = await lookup.newest(connection, tenant, model, named.stage or None)
        if found is None:
            stage = f" and stage '{named.stage}'" if named.stage else ""
            raise NotFoundError(
                f"No versions of model with name '{named.name}'{stage} found", field="source"
            )
        version = found
    # While the copied version exists, garbage collection keeps its files.
    if not await versions.lock_version(connection, tenant, version.version_id):
        raise ModelVersionNotFoundError(version.name, version.version)
    if (run_id is not None and run_id != version.run_id) or model_id:
        raise source_uris.invalid(
            source,
            "The run_id and model_id request parameters must match the referenced model version.",
        )
    return ResolvedSource(
        f"models:/{version.name}/{version.version}", version.storage_location, version.run_id
    )


def _model_uri(source: str) -> source_uris.ModelUri:
    named = source_uris.model_uri(source)
    if source_uris.host(source):
        raise source_uris.invalid(
            source, "Registered model sources must use the active model registry."
        )
    if named is None:
        raise source_uris.invalid(source, _NOT_CONTAINED.format(field="model_id"))
    return named


def _check_in_model(source: str, model_id: str, model: LoggedModel | None) -> None:
    match scheme(source):
        case "models":
            contained = source_uris.segments(source) == [model_id]
        case "mlflow-artifacts":
            contained = model is not None and source_uris.is_within(source, model.artifact_uri)
            contained = contained and _contains_id(source, model_id)
        case other:
            contained = other != "runs"
    if not contained:
        raise source_uris.invalid(source, _NOT_CONTAINED.format(field="model_id"))


async def _check_in_run(
    connection: AsyncConnection, tenant: Tenant, source: str, run_id: str
) -> None:
    match scheme(source):
        case "models":
            raise source_uris.invalid(source, _NOT_CONTAINED.format(field="model_id"))
        case "runs":
            contained = not source_uris.host(source) and source_uris.segments(source)[0] == run_id
            contained = contained and _contains_id(source, run_id)
        case "mlflow-artifacts":
            root = await _run_root(connection, tenant, run_id)
            contained = root is not None and source_uris.is_within(source, root)
            contained = contained and _contains_id(source, run_id)
        case _:
            contained = True
    if not contained:
        raise source_uris.invalid(source, _NOT_CONTAINED.format(field="run_id"))


def _contains_id(source: str, resource_id: str) -> bool:
    """Whether garbage collection finds the id in the source, where percent-encoding may hide it.
    A text that cannot be an id needs no such check."""
    digits = resource_id.removeprefix("m-")
    return not _IDS.fullmatch(digits) or digits in _IDS.findall(source)


async def _logged_model(
    connection: AsyncConnection, tenant: Tenant, model_id: str
) -> LoggedModel | None:
    """The logged model; None if there is none, or it was deleted."""
    if not is_model_id(model_id):
        return None
    found = await logged_models.get(connection, tenant, [model_id])
    return found[0] if found and found[0].deleted_time is None else None


async def _run_root(connection: AsyncConnection, tenant: Tenant, run_id: str) -> str | None:
    """The URI of the run's artifacts; None if there is no such run."""
    parsed = parse_run_id(run_id)
    found = await versions.run_artifacts(connection, tenant, parsed) if parsed else None
    return None if found is None else run_artifact_uri(*found, run_id)
