"""What can go wrong, in the domain's words. Each API turns these into its own status and shape.

Messages follow MLflow's wording wherever its client or its users match on it.
"""


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


class NotFoundError(TrackingError):
    """No such thing in this tenant, whether or not another tenant has it."""


class AlreadyExistsError(TrackingError):
    """A unique name is taken."""


class ConflictError(TrackingError):
    """The value is well formed but what is stored forbids it: a param that has another value."""


class InvalidStateError(TrackingError):
    """The resource is in a lifecycle stage that does not allow the operation."""


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
