"""Builds the artifact store that the settings name."""

from app.artifacts.stores.contract import ArtifactStore
from app.config import Settings


def artifact_store(settings: Settings) -> ArtifactStore:
    """An S3 store where an endpoint is set, else a local one.

    Raises ValueError where the settings contradict each other.
    """
    # The stores are imported on demand: a deployment without S3 does not load minio-py.
    if not settings.minio_endpoint:
        from app.artifacts.stores.local import LocalStore

        return LocalStore(
            settings.data_dir / "artifacts", reserve_bytes=settings.disk_reserve_bytes
        )

    from app.artifacts.stores.s3 import S3Store

    if not settings.minio_access_key or settings.minio_secret_key is None:
        raise ValueError(
            "TRACKING_MINIO_ENDPOINT needs TRACKING_MINIO_ACCESS_KEY and TRACKING_MINIO_SECRET_KEY"
        )
    return S3Store(
        settings.minio_endpoint,
        settings.minio_access_key,
        settings.minio_secret_key.get_secret_value(),
        secure=settings.minio_secure,
        region=settings.minio_region,
        path_style=settings.minio_path_style,
        public_endpoint=settings.minio_public_endpoint,
        bucket_prefix=settings.minio_bucket_prefix,
        versioning=settings.minio_versioning,
        old_versions_days=settings.minio_old_versions_days,
    )
