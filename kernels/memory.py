"""Keeps the allocator from giving large blocks back to the system after every layer of a network."""

import ctypes
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_MAX: Final = -4


def keep_large_blocks() -> bool:
    """Tell glibc's malloc to reuse large blocks: mapping them anew for every tensor costs page faults.

    A choice for the whole process: programs call it once at their start, the engine never does by itself.
    See mallopt(3).

    Returns:
        Whether it had an effect; False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26))
    return all(library.mallopt(option, value) == 1 for option, value in settings)
