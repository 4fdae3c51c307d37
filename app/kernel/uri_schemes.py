"""The schemes of URIs that clients are led to: an experiment's artifact location, the source of a
model version. This server opens neither; clients do, with credentials of their own.
"""

import re

# A letter alone is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")

# Clients send any host that is named so the credentials that they have for this server, or those
# that their user has for SSH.
OF_A_HOST = frozenset({"http", "https", "ftp", "ftps", "sftp", "scp", "ssh"})
# The client's own; `scheme` of a path is empty.
OF_A_DISK = frozenset({"", "file"})
# No place at all, but something for a browser to show or run.
OF_A_PAGE = frozenset({"data", "javascript", "vbscript", "blob"})
# Names of things that this server has, and no place for new ones.
OF_A_THING = frozenset({"runs", "models"})


def scheme(uri: str) -> str:
    """The scheme in lower case; empty for a path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""
