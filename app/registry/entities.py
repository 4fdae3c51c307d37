"""Registered models and their versions as the APIs see them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from uuid import UUID

from app.kernel.errors import InvalidValueError

Stage = Literal["None", "Staging", "Production", "Archived"]

STAGES: tuple[Stage, ...] = get_args(Stage)
# A transition to one of these may archive the versions that are in it.
ACTIVE_STAGES: tuple[Stage, ...] = ("Staging", "Production")

# MLflow keeps prompts in the registry, as models and versions with this tag. A prompt's text is a
# tag of its version, and the version's source is one of two placeholders.
PROMPT_TAG = "mlflow.prompt.is_prompt"
PROMPT_TEXT_TAG = "mlflow.prompt.text"
PROMPT_SOURCES = ("dummy-source", "prompt-template")


@dataclass(slots=True)
class ModelVersion:
    """A version of the registered model `name`. Times are in epoch milliseconds.

    `aliases` are sorted by code point.
    """

    version_id: UUID
    name: str
    version: int
    creation_time: int
    last_updated_time: int
    current_stage: Stage
    description: str | None
    source: str
    storage_location: str
    run_id: str
    run_link: str
    tags: dict[str, str]
    aliases: list[str]


@dataclass(slots=True)
class RegisteredModel:
    """A registered model. Times are in epoch milliseconds.

    `aliases` maps each alias to the number of a version. `latest_versions` holds the newest version
    in each stage that has any.
    """

    registered_model_id: UUID
    name: str
    description: str | None
    creation_time: int
    last_updated_time: int
    tags: dict[str, str]
    aliases: dict[str, int]
    latest_versions: list[ModelVersion] = field(default_factory=list)


def is_prompt(tags: Mapping[str, str]) -> bool:
    return tags.get(PROMPT_TAG, "").lower() == "true"


def canonical_stage(text: str) -> Stage:
    """The stage that the text names, ignoring case. Raises InvalidValueError."""
    for stage in STAGES:
        if stage.lower() == text.lower():
            return stage
    raise InvalidValueError(
        f"Invalid Model Version stage: {text}. Value must be one of {', '.join(STAGES)}.",
        field="stage",
    )
