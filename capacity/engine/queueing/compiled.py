"""Compile a loop to machine code when its module is imported, so that no request ever pays for it."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def compiled(signature: str) -> Callable[[F], F]:
    """Decorator: numba with a fixed signature, kept on disk beside the file or in the user's cache directory.

    Where neither can be written (a read-only image, a user without a home) it compiles at each start instead:
    seconds once per process. `NUMBA_CACHE_DIR` names another directory.
    """

    def wrap(function: F) -> F:
        try:
            return cast(F, njit(signature, cache=True, nogil=True)(function))
        except (RuntimeError, OSError):  # numba's "no locator available", or a full disk
            return cast(F, njit(signature, nogil=True)(function))

    return wrap
