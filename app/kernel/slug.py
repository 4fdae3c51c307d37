"""What a tenant may be called."""

import re

# At most 48 characters, so that the bucket prefix and the slug make a legal S3 bucket name.
SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")


def is_slug(name: str) -> bool:
    return SLUG.fullmatch(name) is not None
