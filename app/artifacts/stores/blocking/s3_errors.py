"""Translates errors of S3 and of the connection to it into the domain's errors."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

import urllib3
from minio.error import MinioException, S3Error

from app.kernel.errors import (
    ArtifactNotFoundError,
    ConflictError,
    InsufficientStorageError,
    InvalidValueError,
    NotFoundError,
    UnavailableError,
)

log = logging.getLogger(__name__)

ABSENT = {"NoSuchKey", "NoSuchBucket"}
DENIED = {"AccessDenied", "AllAccessDisabled"}
# Some MinIO versions, unlike Amazon, keep no object whose key is also the folder of another.
_CLASH = {"XMinioParentIsObject", "XMinioObjectExistsAsDirectory"}
# MinIO's disks, or a quota of the bucket that was set there.
_FULL = {"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
_REFUSED = (
    "The artifact store refuses the credentials: check TRACKING_MINIO_ACCESS_KEY and"
    " TRACKING_MINIO_SECRET_KEY"
)
_ELSEWHERE = "The artifact store expects another region: check TRACKING_MINIO_REGION"
_REASONS = {
    "InvalidAccessKeyId": _REFUSED,
    "SignatureDoesNotMatch": _REFUSED,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "PermanentRedirect": _ELSEWHERE,
    "RequestTimeTooSkewed": (
        "The clocks of this server and of the artifact store are too far apart: set the time"
    ),
    "SlowDown": "The artifact store is busy",
}
# A client's mistakes in a multipart upload.
_BAD_PARTS = {
    "InvalidPart": "A part was not uploaded, or not with the ETag that is given",
    "InvalidPartOrder": "parts must be given once each, in ascending order",
    "EntityTooSmall": "Every part but the last must have at least 5 MiB",
}


class EmptyRangeError(Exception):
    """The range starts at the object's end or after it."""


class DeniedError(UnavailableError):
    """The access key is valid and lacks the permission."""


@contextmanager
def s3_errors(key: str = "") -> Iterator[None]:
    """Raises the domain's error for an error of the store. Logs those that an operator has to fix:
    the store does not work, or is full."""
    try:
        with _translated(key):
            yield
    except (UnavailableError, InsufficientStorageError) as error:
        log.warning("%s", error)
        raise


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in ABSENT:
            raise ArtifactNotFoundError(key, field=None) from error
        if error.code in _CLASH:
            raise ConflictError(
                f"Cannot store '{key}': it is a folder, or a part of its path is a file",
                field="path",
            ) from error
        if error.code in _FULL:
            raise InsufficientStorageError("The artifact store is full") from error
        if error.code == "NoSuchUpload":
            raise NotFoundError("No such upload", field="upload_id") from error
        if error.code in _BAD_PARTS:
            raise InvalidValueError(_BAD_PARTS[error.code], field="parts") from error
        if error.code == "InvalidRange":
            raise EmptyRangeError from error
        raise failure(error.code) from error
    except (MinioException, ParseError) as error:
        raise UnavailableError(
            "What answers at the artifact store's address does not speak S3"
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if isinstance(getattr(error, "reason", error), urllib3.exceptions.SSLError):
            raise UnavailableError(
                "No TLS with the artifact store: check TRACKING_MINIO_SECURE and its certificate"
            ) from error
        raise UnavailableError(
            "The artifact store did not answer: it is down or busy, or its address is wrong"
        ) from error


@contextmanager
def upload_errors(key: str) -> Iterator[None]:
    """As `s3_errors`, for uploads: a missing bucket is UnavailableError."""
    try:
        with s3_errors(key):
            yield
    except NotFoundError as error:
        raise UnavailableError("The tenant's bucket was removed during the upload") from error


def failure(code: str | None) -> UnavailableError:
    """The error for a code of S3 that no request should get."""
    if code in DENIED:
        return DeniedError("The artifact store denies access: the access key lacks permission")
    return UnavailableError(
        _REASONS.get(code or "", f"The artifact store could not do its work ({code})")
    )
