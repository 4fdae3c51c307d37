"""Validation of the registry's names and values, with MLflow 3.17's limits and wording.

All functions raise InvalidValueError.
"""

import re

from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.tenant import TENANT_TAG
from app.registry.entities import PROMPT_TEXT_TAG

# The lengths of the columns in MLflow's tables. The source's is longer here, for an experiment's
# artifact location, of up to 2,048 characters, and a path below it.
MAX_NAME_LENGTH = 256
MAX_DESCRIPTION_LENGTH = 5000
MAX_RUN_ID_LENGTH = 32
MAX_RUN_LINK_LENGTH = 500
MAX_SOURCE_LENGTH = 4096
MAX_TAG_VALUE_LENGTH = 100_000
MAX_ALIAS_LENGTH = 255

_ALIAS = re.compile(r"[\w\-]+")
_VERSION_ALIAS = re.compile(r"v\d+", re.IGNORECASE)
LATEST = "latest"


def name(value: str, field: str = "name") -> None:
    """The name of a model to look up, of any length."""
    if not value.strip():
        raise InvalidValueError(f"Missing value for required parameter '{field}'.", field=field)
    if "/" in value or ":" in value:
        raise InvalidValueError(
            f"Invalid model name '{value}'. Names cannot contain '/' or ':'.", field=field
        )
    if value in (".", ".."):
        raise validation.invalid(
            "name",
            value,
            "Names may be treated as files in certain cases, and must not resolve to other names"
            f" when treated as such. This name would resolve to '{value}'",
        )
    validation.text(value, field)


def new_name(value: str, field: str = "name") -> None:
    """The name of a model to create or rename."""
    name(value, field)
    validation.text(value, field, MAX_NAME_LENGTH)


def description(value: str | None) -> None:
    if value is not None:
        validation.text(value, "description", MAX_DESCRIPTION_LENGTH)


def version(text: str) -> int:
    """The number of a version, in any form that `int` reads."""
    try:
        return int(text)
    except ValueError:
        raise InvalidValueError(
            f"Parameter 'version' must be an integer, got '{text[:100]}'.", field="version"
        ) from None


def alias(value: str) -> None:
    if not value:
        raise InvalidValueError("Registered model alias name cannot be empty.", field="alias")
    if not _ALIAS.fullmatch(value):
        raise InvalidValueError(
            f"Invalid alias name: '{value}'. Names may only contain alphanumerics,"
            " underscores (_), and dashes (-).",
            field="alias",
        )
    if len(value) > MAX_ALIAS_LENGTH:
        raise InvalidValueError(
            "'Registered model alias name' exceeds the maximum length of"
            f" {MAX_ALIAS_LENGTH} characters",
            field="alias",
        )


def new_alias(value: str) -> None:
    """An alias to set, which must not read like a version or be `latest`."""
    alias(value)
    if value.lower() == LATEST:
        raise InvalidValueError(
            "'latest' alias name (case insensitive) is reserved.", field="alias"
        )
    if _VERSION_ALIAS.fullmatch(value):
        raise InvalidValueError(f"Version alias name '{value}' is reserved.", field="alias")


def model_tags(tags: dict[str, str]) -> None:
    """Also drops the tag that is derived from the tenant."""
    for key, value in tags.items():
        validation.key(key, "key")
        validation.text(value, "value", MAX_TAG_VALUE_LENGTH)
    tags.pop(TENANT_TAG, None)


def version_tags(tags: dict[str, str]) -> None:
    """As `model_tags`."""
    if len(tags.get(PROMPT_TEXT_TAG, "")) > MAX_TAG_VALUE_LENGTH:
        raise InvalidValueError(
            f"Prompt text exceeds max length of {MAX_TAG_VALUE_LENGTH} characters.", field="value"
        )
    model_tags(tags)
