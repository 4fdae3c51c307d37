"""glibc's malloc: return the memory of large freed blocks to the operating system."""

import ctypes

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def return_large_blocks() -> None:
    """Fix malloc's thresholds, so that freed blocks of 256 KiB and more leave the process.

    By default glibc raises them with every large block that is freed: after a burst of large
    responses the process keeps all of their memory. Does nothing with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 256 << 10)
        mallopt(_M_TRIM_THRESHOLD, 4 << 20)
