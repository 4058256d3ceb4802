"""The JSON of a query becomes arrays: labels by row, one grid of times, NaN where there is nothing."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Matrix:
    """One query's answer.

    labels: n label sets, in the order of the server.
    times: (m,) Unix seconds, ascending; values: (n, m), NaN = no sample, or one that is no number (NaN, Inf).
    warnings: what the server said beside the answer; partial: it told that some of its stores did not answer.
    """

    labels: list[dict[str, str]]
    times: Array
    values: Array
    warnings: tuple[str, ...] = ()
    partial: bool = False


class Row(msgspec.Struct, gc=False):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []  # of a range
    value: tuple[float, str] | None = None  # of an instant


class Result(msgspec.Struct):
    resultType: str = ""
    result: msgspec.Raw = msgspec.Raw(b"[]")


class Answer(msgspec.Struct):
    """The envelope of the HTTP API; `data` is read once its kind is known."""

    status: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    errorType: str = ""
    warnings: list[str] = []
    isPartial: bool = False  # VictoriaMetrics


ANSWER = msgspec.json.Decoder(Answer)
RESULT = msgspec.json.Decoder(Result)
ROWS = msgspec.json.Decoder(list[Row])
SCALAR = msgspec.json.Decoder(tuple[float, str])


def answer_read(body: bytes) -> Answer:
    """The envelope; msgspec.DecodeError where it is none."""
    return ANSWER.decode(body)


def data_read(answer: Answer) -> Any:
    """The payload of the small endpoints as plain Python."""
    return msgspec.json.decode(answer.data)


def numbers(texts: Any, count: int) -> Array:
    """Sample texts as floats; NaN, +Inf and -Inf become NaN, because none of them is a measurement."""
    values = np.fromiter(map(float, texts), dtype=np.float64, count=count)
    values[~np.isfinite(values)] = np.nan
    return values


def is_partial(answer: Answer) -> bool:
    return answer.isPartial or any("partial" in warning.lower() for warning in answer.warnings)


def range_matrix(answer: Answer, *, start: float, end: float, step: float) -> Matrix:
    """A `matrix` answer on the grid start, start + step, ..., at most end."""
    rows = ROWS.decode(RESULT.decode(answer.data).result)
    times = start + step * np.arange(round_down((end - start) / step) + 1, dtype=np.float64)
    values = np.full((len(rows), times.size), np.nan)
    lengths = np.fromiter((len(row.values) for row in rows), dtype=np.int64, count=len(rows))
    total = int(lengths.sum())
    stamps = np.fromiter((pair[0] for row in rows for pair in row.values), dtype=np.float64, count=total)
    column = np.rint((stamps - start) / step).astype(np.int64)
    inside = (column >= 0) & (column < times.size)
    found = numbers((pair[1] for row in rows for pair in row.values), total)
    values[np.repeat(np.arange(len(rows)), lengths)[inside], column[inside]] = found[inside]
    return Matrix([row.metric for row in rows], times, values, tuple(answer.warnings), is_partial(answer))


def instant_matrix(answer: Answer, *, at: float) -> Matrix:
    """A `vector` or `scalar` answer as one column; a `matrix` (a range selector) as the raw samples on their own times."""
    result = RESULT.decode(answer.data)
    extra = (tuple(answer.warnings), is_partial(answer))
    if result.resultType == "scalar":
        return Matrix([{}], np.array([at]), numbers([SCALAR.decode(result.result)[1]], 1).reshape(1, 1), *extra)
    rows = ROWS.decode(result.result)
    labels = [row.metric for row in rows]
    if result.resultType == "matrix":
        return Matrix(labels, *raw_samples(rows), *extra)
    values = numbers((row.value[1] if row.value else "nan" for row in rows), len(rows))
    return Matrix(labels, np.array([at]), values.reshape(-1, 1), *extra)


def raw_samples(rows: list[Row]) -> tuple[Array, Array]:
    times = np.unique(np.fromiter(chain.from_iterable((pair[0] for pair in row.values) for row in rows), dtype=np.float64))
    values = np.full((len(rows), times.size), np.nan)
    for at, row in enumerate(rows):
        stamps = np.fromiter((pair[0] for pair in row.values), dtype=np.float64, count=len(row.values))
        values[at, np.searchsorted(times, stamps)] = numbers((pair[1] for pair in row.values), len(row.values))
    return times, values


def round_down(steps: float) -> int:
    """Whole steps; a grid that ends on `end` keeps its last point in spite of float rounding."""
    return int(np.floor(steps + 1e-6))
