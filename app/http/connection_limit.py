"""Connection limit of a worker, derived from its limit of open files."""

import resource

# Files other than clients' connections: Postgres, the object store, logs, Python's own.
_OTHER_FILES = 128
# A download uses its connection's socket twice, and the file.
_FILES_PER_CONNECTION = 3
# An idle connection costs memory, too.
_MAX = 10_000


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard limit, for this process and its children.

    Shells and service managers set it to 1024, for programs that use select().
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS reports no limit, and does not accept it
        return


def max_connections() -> int:
    """The number of client connections that this process may have open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MAX
    return max(1, min(_MAX, (limit - _OTHER_FILES) // _FILES_PER_CONNECTION))
