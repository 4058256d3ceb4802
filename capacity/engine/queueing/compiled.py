"""Loops in machine code. Numba and the code it keeps on disk are loaded at the first call, not when a module is imported: that takes
a second, and most processes never run a loop."""

from collections.abc import Callable
from importlib import import_module
from threading import RLock
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

every: list["Loop[..., Any]"] = []
loading = RLock()


class Loop(Generic[P, R]):
    """A function that is compiled when it is first called; the loops it calls must stand in its own module."""

    def __init__(self, function: Callable[P, R], signature: str) -> None:
        self.function = function
        self.signature = signature
        self.machine: Callable[P, R] | None = None
        every.append(self)

    def __call__(self, *values: P.args, **named: P.kwargs) -> R:
        return (self.machine or self.load())(*values, **named)

    def load(self) -> Callable[P, R]:
        with loading:
            if self.machine is None:
                names = self.function.__globals__
                for name, value in list(names.items()):
                    if isinstance(value, Loop) and value is not self and name in self.function.__code__.co_names:
                        names[name] = value.load()  # numba compiles calls of compiled functions only
                self.machine = machine_code(self.function, self.signature)
            return self.machine


def machine_code(function: Callable[P, R], signature: str) -> Callable[P, R]:
    njit = import_module("numba").njit
    try:
        made: Callable[P, R] = njit(signature, cache=True, nogil=True)(function)
    except (RuntimeError, OSError):  # numba's "no locator available", or a full disk
        made = njit(signature, nogil=True)(function)
    return made


def compiled(signature: str) -> Callable[[Callable[P, R]], Loop[P, R]]:
    """Decorator: numba with a fixed signature, kept on disk beside the file or in the user's cache directory.

    Where neither can be written (a read-only image, a user without a home) it is compiled anew in each process that calls it:
    seconds. `NUMBA_CACHE_DIR` names another directory.
    """
    return lambda function: Loop(function, signature)


def loops_load() -> None:
    """Have every loop of the modules imported so far ready, so that no request pays for it."""
    for loop in every:
        loop.load()
