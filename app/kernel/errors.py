"""The domain's errors. Each API turns them into its own status and shape.

Messages follow MLflow's wording wherever its client or its users match on it.
"""

from app.kernel.lifecycle import stage


class TrackingError(Exception):
    """An error that the caller can act on; its text is shown to them.

    `field` names the part of the request that is at fault, as a dotted path, where one is.
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
    """No such thing in this tenant, whether or not another tenant has it."""


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
    """No file lies at the path, or no object at the key of a store."""

    def __init__(self, path: str, *, field: str | None = "path") -> None:
        super().__init__(f"No such artifact: '{path}'", field=field)


class UploadNotFoundError(NotFoundError):
    """No upload in parts has that id, or it was completed or aborted."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"No such upload: '{upload_id[:200]}'", field="upload_id")


class ApiKeyNotFoundError(NotFoundError):
    """The tenant has no key of that id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"API key '{key_id}' does not exist", field="key_id")


class AlreadyExistsError(TrackingError):
    """A unique name is taken."""


class ConflictError(TrackingError):
    """The value is well formed but what is stored forbids it: a param that has another value."""


class InvalidStateError(TrackingError):
    """The resource is in a lifecycle stage that does not allow the operation."""


class RunNotActiveError(InvalidStateError):
    """The run is archived (`deleted_time` is in epoch milliseconds)."""

    def __init__(self, run_id: str, deleted_time: int | None) -> None:
        super().__init__(
            f"The run {run_id} must be in the 'active' state."
            f" Current state is {stage(deleted_time)}.",
            field="run_id",
        )


class ExperimentNotActiveError(InvalidStateError):
    """The experiment is archived (`deleted_time` is in epoch milliseconds)."""

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
    """What was to be deleted still holds something."""


class PermissionDeniedError(TrackingError):
    """The caller is known and may not do this."""


class UnauthenticatedError(TrackingError):
    """Nobody knows who is asking: there are no credentials, or none that are good."""


class QuotaExceededError(PermissionDeniedError):
    """The tenant has all that its quota allows it to keep."""


class RateLimitedError(TrackingError):
    """The tenant did more in a time than its quota allows.

    `retry_after` is in seconds: when it is worth to try again.
    """

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnavailableError(TrackingError):
    """A part that is needed (a database, a store) did not answer; retrying may help."""


class InsufficientStorageError(TrackingError):
    """The store has no room; trying again helps only once somebody has made some."""


class StalledError(TrackingError):
    """The client began to send and stopped."""


class UnsupportedError(TrackingError):
    """The service as it is set up can't do this, however often it is asked."""


class TooLargeError(TrackingError):
    """The request has more bytes than are read for one of its kind."""
