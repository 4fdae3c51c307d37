"""From the source of a model version to what it was made from: the rules of MLflow 3.17's server.

A source must be something that the caller's tenant has: below the artifacts of the run or of the
logged model that the request names, a version of a registered model, or in a cloud storage.

What a version is made from is locked before it is looked at, until the version is there: garbage
collection keeps what a version has, and must not remove it in between.
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
class Origin:
    """`storage_location` is where the files are; `model_id` the logged model that the version is
    one of, which is told so."""

    source: str
    storage_location: str
    run_id: str
    model_id: str | None = None


def prompt_origin(source: str, run_id: str) -> Origin:
    """The origin of a prompt, whose source is a placeholder. Raises InvalidValueError."""
    if source not in PROMPT_SOURCES:
        raise InvalidValueError(
            f"Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder.",
            field="source",
        )
    return Origin(source, source, run_id)


async def resolve(
    connection: AsyncConnection,
    tenant: Tenant,
    source: str,
    run_id: str | None,
    model_id: str | None,
) -> Origin:
    """Where `source` leads, to something that stays until the transaction ends. None differs from
    an empty id where a version is copied: it stands for the copied version's.

    Raises InvalidValueError for a source that is malformed, refused, or not of the run or model
    that is named; NotFoundError for a model, a version or a logged model that is not there.
    """
    source_uris.check_reachable(source)
    if scheme(source) == "models":
        named = _model_uri(source)
        if not named.model_id:
            return await _of_version(connection, tenant, source, named, run_id, model_id)
    source_uris.check_path(source)
    # What garbage collection (`app.gc.sql`) finds in the storage location of the version.
    if not await versions.hold(connection, tenant, _IDS.findall(f"{source} {model_id or ''}")):
        raise source_uris.invalid(source, "What it names is being removed for good.")
    model = await _logged_model(connection, tenant, model_id) if model_id else None
    if model_id:
        _check_in_model(source, model_id, model)
    else:
        await _check_in_run(connection, tenant, source, run_id or "")
    if model_id and model is None:
        raise LoggedModelNotFoundError(model_id)
    return _origin(source, run_id or "", model)


def _origin(source: str, run_id: str, model: LoggedModel | None) -> Origin:
    if model is None:
        return Origin(source, source, run_id)
    by_id = scheme(source) == "models"
    return Origin(
        source,
        model.artifact_uri if by_id else source,
        run_id or model.source_run_id,
        model.model_id,
    )


async def _of_version(
    connection: AsyncConnection,
    tenant: Tenant,
    source: str,
    named: source_uris.ModelUri,
    run_id: str | None,
    model_id: str | None,
) -> Origin:
    """A copy of a version of a registered model."""
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
    # The copied version guards the files until the copy does.
    if not await versions.hold_version(connection, tenant, version.version_id):
        raise ModelVersionNotFoundError(version.name, version.version)
    if (run_id is not None and run_id != version.run_id) or model_id:
        raise source_uris.invalid(
            source,
            "The run_id and model_id request parameters must match the referenced model version.",
        )
    return Origin(
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
            contained = contained and _names(source, model_id)
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
            contained = contained and _names(source, run_id)
        case "mlflow-artifacts":
            root = await _run_root(connection, tenant, run_id)
            contained = root is not None and source_uris.is_within(source, root)
            contained = contained and _names(source, run_id)
        case _:
            contained = True
    if not contained:
        raise source_uris.invalid(source, _NOT_CONTAINED.format(field="run_id"))


def _names(source: str, its_id: str) -> bool:
    """Whether garbage collection finds the id in the source, as it does not where a part of it is
    encoded. What can't be an id of ours is none of its business."""
    digits = its_id.removeprefix("m-")
    return not _IDS.fullmatch(digits) or digits in _IDS.findall(source)


async def _logged_model(
    connection: AsyncConnection, tenant: Tenant, model_id: str
) -> LoggedModel | None:
    """The logged model, unless it was deleted."""
    if not is_model_id(model_id):
        return None
    found = await logged_models.get(connection, tenant, [model_id])
    return found[0] if found and found[0].deleted_time is None else None


async def _run_root(connection: AsyncConnection, tenant: Tenant, run_id: str) -> str | None:
    """The URI of a run's artifacts; None where there is no such run."""
    parsed = parse_run_id(run_id)
    found = await versions.run_artifacts(connection, tenant, parsed) if parsed else None
    return None if found is None else run_artifact_uri(*found, run_id)
