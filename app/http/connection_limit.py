"""How many connections a worker keeps open: as many as its limit of open files allows."""

import resource

# Beside the connections of clients: Postgres, the object store, logs, Python itself.
_OTHER_FILES = 128
# A download has its connection twice, and its file.
_FILES_PER_CONNECTION = 3
# Idle ones cost memory, too.
_MOST = 10_000


def raise_open_files() -> None:
    """Let this process, and those that it starts, open as many files as it may.

    Shells and service managers start with 1024, for the sake of programs that use select().
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS says that it is unlimited, and takes no such number
        return


def most_connections() -> int:
    """How many connections of clients this process may have, by its limit of open files."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, (limit - _OTHER_FILES) // _FILES_PER_CONNECTION))
