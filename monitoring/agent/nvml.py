"""Asking NVML one call at a time, so that one refused call never blanks a row.

Every call goes through `Device.ask`: what a GPU or its driver does not support is remembered with its reason and not asked again;
a passing error leaves one reading out; a lost GPU raises `GpuLost` so that the caller starts over.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pynvml

# Remembered until the driver is initialised again: asking again gives the same answer.
LASTING = {
    pynvml.NVML_ERROR_NOT_SUPPORTED: "not supported by this GPU",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "not in this driver",
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission",
    pynvml.NVML_ERROR_INVALID_ARGUMENT: "not known to this driver",
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: "another version of the call",
    pynvml.NVML_ERROR_DEPRECATED: "deprecated in this driver",
}
LOST = {
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
}


# Nobody was busy, no such instance. The binding also raises "success" where a list is empty at the first look.
EMPTY = {pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_SUCCESS}
FieldId = int | tuple[int, int]  # number, or number and scope


class GpuLost(Exception):
    """The GPU fell off the bus or needs a reset; its handle is worth nothing any more."""


@dataclass
class Device:
    """A handle with the table of what it can: {call: "ok" or the reason why not}."""

    handle: Any
    able: dict[str, str] = field(default_factory=dict)
    failures: int = 0  # passing errors, counted

    def ask(self, call: str, function: Callable[..., Any], *arguments: Any, nothing: Any = None) -> Any:
        """The call's result, or None. `call` is the name it has in the table; `nothing` is given back where there is nothing to tell."""
        if self.able.get(call, "ok") != "ok":
            return None
        try:
            result = function(self.handle, *arguments)
        except pynvml.NVMLError as error:
            return self.refused(call, error, nothing)
        self.able[call] = "ok"
        return result

    def refused(self, call: str, error: pynvml.NVMLError, nothing: Any) -> Any:
        code = getattr(error, "value", None)
        if code in LOST:
            raise GpuLost(f"{call}: {error}") from error
        if code in EMPTY:
            self.able[call] = "ok"
            return nothing
        if code in LASTING:
            self.able[call] = LASTING[code]
        else:
            self.failures += 1
        return None

    def fields(self, ids: Mapping[str, FieldId]) -> dict[str, int | float]:
        """Field values by name; each has a status of its own, and one that is refused for good is not asked again."""
        wanted = {name: number for name, number in ids.items() if self.able.get(name, "ok") == "ok"}
        values = self.ask("nvmlDeviceGetFieldValues", pynvml.nvmlDeviceGetFieldValues, list(wanted.values())) if wanted else None
        found: dict[str, int | float] = {}
        for name, value in zip(wanted, values if values is not None else (), strict=False):
            if value.nvmlReturn == pynvml.NVML_SUCCESS:
                self.able[name] = "ok"
                found[name] = field_number(value)
            elif value.nvmlReturn in LASTING:
                self.able[name] = LASTING[value.nvmlReturn]
        return found


NUMBER_OF_TYPE = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
}


def field_number(value: Any) -> int | float:
    number: int | float = getattr(value.value, NUMBER_OF_TYPE[value.valueType])
    return number


def samples_mean(samples: tuple[int, list[Any]] | None, *, scale: float) -> tuple[float | None, int]:
    """(mean of a sample buffer x scale, time of its last sample in microseconds); (None, 0) when it is empty."""
    if samples is None or not samples[1]:
        return None, 0
    kind, rows = samples
    values = [float(getattr(row.sampleValue, NUMBER_OF_TYPE[kind])) for row in rows]
    return sum(values) / len(values) * scale, max(row.timeStamp for row in rows)
