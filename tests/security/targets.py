"""A live server as a target, and all that it has stored."""

from dataclasses import dataclass
from pathlib import Path

import httpx
from minio import Minio

# Another tenant, whose artifacts are to stay as they are.
VICTIM = "victim"
SECRET = b"a secret beside the store"


@dataclass(frozen=True)
class Target:
    """A server. `store` is `local` or `s3`; `data_dir` its data folder, with a secret in it."""

    store: str
    url: str
    pid: int
    log: Path
    data_dir: Path
    s3: Minio | None = None

    def client(self, tenant: str) -> httpx.Client:
        return httpx.Client(base_url=f"{self.url}/t/{tenant}", timeout=30)

    def stored(self, tenant: str) -> dict[str, str]:
        """What the tenant has stored, and what lies around it, by name, with its checksum or its
        content. Of S3 the tenant's bucket and the victim's, and the names of all buckets."""
        if self.s3 is not None:
            buckets = {bucket.name: "a bucket" for bucket in self.s3.list_buckets()}
            return buckets | {
                f"{bucket}/{found.object_name}": found.etag or ""
                for bucket in (f"hostile-{tenant}", f"hostile-{VICTIM}")
                if bucket in buckets
                for found in self.s3.list_objects(bucket, recursive=True)
            }
        return {
            str(path.relative_to(self.data_dir)): path.read_bytes().decode(errors="replace")
            for path in self.data_dir.rglob("*")
            if path.is_file()
        }
