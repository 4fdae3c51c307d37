"""Classes of URI schemes, for locations that users set: of artifacts, and of model versions.

This server never opens such a URI. Clients do, with their own credentials.
"""

import re

# At least two letters: one is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")

# Schemes of a host. Clients would send it the credentials that they have for this server, or
# those of their user for SSH.
OF_A_HOST = frozenset({"http", "https", "ftp", "ftps", "sftp", "scp", "ssh"})
# Schemes of the client's own disk; the scheme of a path is empty.
OF_A_DISK = frozenset({"", "file"})
# Schemes of content that a browser renders or runs.
OF_A_PAGE = frozenset({"data", "javascript", "vbscript", "blob"})
# Schemes that refer to runs and models of this server.
OF_A_THING = frozenset({"runs", "models"})


def scheme(uri: str) -> str:
    """The scheme in lower case; empty for a path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""
