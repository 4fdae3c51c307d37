"""Errors of the domain; each API maps them to its own status codes and format.

Messages follow MLflow's wording where clients match on it.
"""

from app.kernel.lifecycle import stage


class TrackingError(Exception):
    """Base of the errors whose message is shown to the caller.

    `field` is the part of the request that is at fault, as a dotted path; None if there is none.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidValueError(TrackingError):
    """A value breaks a rule of its own: too long, malformed, out of range."""


class AliasNotFoundError(InvalidValueError):
    """The registered model has no such alias. MLflow answers 400, so it is no NotFoundError."""

    def __init__(self, alias: str) -> None:
        super().__init__(f"Registered model alias {alias} not found.", field="alias")


class NotFoundError(TrackingError):
    """The tenant has no such object, whether or not another tenant has it."""


class TenantNotFoundError(NotFoundError):
    """No tenant has that slug."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"Tenant '{slug}' does not exist", field="tenant")


class WorkspaceNotFoundError(NotFoundError):
    """No tenant has that slug, in the words of MLflow's workspaces."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"Workspace '{slug}' not found", field="name")


class ExperimentNotFoundError(NotFoundError):
    """The tenant has no experiment of that id."""

    def __init__(self, experiment_id: str) -> None:
        super().__init__(f"No Experiment with id={experiment_id} exists", field="experiment_id")


class RunNotFoundError(NotFoundError):
    """The tenant has no run of that id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Run with id={run_id} not found", field="run_id")


class LoggedModelNotFoundError(NotFoundError):
    """The tenant has no logged model of that id."""

    def __init__(self, model_id: str, *, field: str = "model_id") -> None:
        super().__init__(f"Logged model with ID '{model_id}' not found.", field=field)


class RegisteredModelNotFoundError(NotFoundError):
    """The tenant has no registered model of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Registered Model with name={name} not found", field="name")


class ModelVersionNotFoundError(NotFoundError):
    """The registered model has no such version."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(
            f"Model Version (name={name}, version={version}) not found", field="version"
        )


class ArtifactNotFoundError(NotFoundError):
    """There is no file at the path, or no object at the store's key."""

    def __init__(self, path: str, *, field: str | None = "path") -> None:
        super().__init__(f"No such artifact: '{path}'", field=field)


class UploadNotFoundError(NotFoundError):
    """No multipart upload in progress has that id."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"No such upload: '{upload_id[:200]}'", field="upload_id")


class ApiKeyNotFoundError(NotFoundError):
    """The tenant has no key of that id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"API key '{key_id}' does not exist", field="key_id")


class AlreadyExistsError(TrackingError):
    """A unique name is taken."""


class ConflictError(TrackingError):
    """The value is valid but conflicts with what is stored: a param that has another value."""


class InvalidStateError(TrackingError):
    """The object is in a state that does not allow the operation."""


class RunNotActiveError(InvalidStateError):
    """The run is soft-deleted (`deleted_time` is in epoch milliseconds)."""

    def __init__(self, run_id: str, deleted_time: int | None) -> None:
        super().__init__(
            f"The run {run_id} must be in the 'active' state."
            f" Current state is {stage(deleted_time)}.",
            field="run_id",
        )


class ExperimentNotActiveError(InvalidStateError):
    """The experiment is soft-deleted (`deleted_time` is in epoch milliseconds)."""

    def __init__(
        self, experiment_id: str, deleted_time: int | None, message: str | None = None
    ) -> None:
        super().__init__(
            message
            or f"The experiment {experiment_id} must be in the 'active' state."
            f" Current state is {stage(deleted_time)}.",
            field="experiment_id",
        )


class NotEmptyError(TrackingError):
    """The object to be deleted still contains others."""


class PermissionDeniedError(TrackingError):
    """The caller is authenticated, and not allowed to do this."""


class UnauthenticatedError(TrackingError):
    """The request has no credentials, or invalid ones."""


class QuotaExceededError(PermissionDeniedError):
    """The tenant's quota of stored runs or bytes is used up."""


class RateLimitedError(TrackingError):
    """The tenant's quota for a period is used up; retry after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnavailableError(TrackingError):
    """The database, the store or another resource is not available now; retrying may help."""


class InsufficientStorageError(TrackingError):
    """The store is full; retrying helps only after space was freed."""


class StalledError(TrackingError):
    """The client stopped sending in the middle of its request."""


class UnsupportedError(TrackingError):
    """The service's configuration does not support this; retrying does not help."""


class TooLargeError(TrackingError):
    """The request, or what it asks for, has more bytes than the limit."""
