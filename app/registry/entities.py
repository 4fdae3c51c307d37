"""Registered models and their versions as the APIs see them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from uuid import UUID

from app.kernel.errors import InvalidValueError

Stage = Literal["None", "Staging", "Production", "Archived"]

STAGES: tuple[Stage, ...] = get_args(Stage)
# Those that a transition may clear of other versions.
ACTIVE_STAGES: tuple[Stage, ...] = ("Staging", "Production")

# MLflow keeps prompts in the registry, as models and versions with this tag. The text of one is a
# tag of its version, and its source one of two words that lead nowhere.
PROMPT_TAG = "mlflow.prompt.is_prompt"
PROMPT_TEXT_TAG = "mlflow.prompt.text"
PROMPT_SOURCES = ("dummy-source", "prompt-template")


@dataclass(slots=True)
class ModelVersion:
    """A version of the registered model `name`. Times are in epoch milliseconds.

    `aliases` are in the order of their letters.
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
    """`aliases` maps each alias to a version's number; `latest_versions` has one version for each
    stage that any is in."""

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
    """The stage, whatever the case of its letters. Raises InvalidValueError."""
    for stage in STAGES:
        if stage.lower() == text.lower():
            return stage
    raise InvalidValueError(
        f"Invalid Model Version stage: {text}. Value must be one of {', '.join(STAGES)}.",
        field="stage",
    )
