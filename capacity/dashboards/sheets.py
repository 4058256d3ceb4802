"""What a chart shows, as a table and as CSV: the same numbers, base units in the header, times in ISO 8601."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
from django.http import HttpResponse

from capacity.dashboards.charts import Plot
from capacity.dashboards.pages import seconds_utc
from capacity.dashboards.words import figure

ROWS_MOST = 400
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Sheet:
    unit: str
    names: Sequence[str]
    times: npt.NDArray[np.float64]
    columns: Sequence[npt.NDArray[np.float64]]


def sheet_of(plot: Plot | None) -> Sheet:
    if plot is None:
        return Sheet("", [], np.array([]), [])
    traces = list(plot.traces)
    times = plot.first + plot.step * np.arange(traces[0].values.size, dtype=np.float64)
    return Sheet(plot.unit, [trace.name for trace in traces], times, [trace.values for trace in traces])


def sheet_rows(sheet: Sheet, *, zone: ZoneInfo) -> list[tuple[str, list[str]]]:
    """Newest first, steps without any value left out, in the words of the screen."""
    rows = []
    for i in range(sheet.times.size - 1, -1, -1):
        values = [float(column[i]) for column in sheet.columns]
        if np.isfinite(values).any():
            rows.append(
                (
                    f"{seconds_utc(float(sheet.times[i])).astimezone(zone):%a %d %b %H:%M:%S}",
                    [str(figure(value, sheet.unit)) for value in values],
                )
            )
    return rows[:ROWS_MOST]


def csv_response(sheet: Sheet, *, name: str) -> HttpResponse:
    header = ["time", *(f"{column} [{sheet.unit}]" for column in sheet.names)]
    moments = [seconds_utc(float(at)).isoformat(timespec="seconds").replace("+00:00", "Z") for at in sheet.times]
    rows = ([moments[i], *(number(float(column[i])) for column in sheet.columns)] for i in range(sheet.times.size))
    return table_response(header, rows, name=name)


def number(value: float) -> str:
    return f"{value:.7g}" if np.isfinite(value) else ""


def table_response(header: Sequence[str], rows: Iterable[Sequence[str]], *, name: str) -> HttpResponse:
    """UTF-8 without a mark; text that a spreadsheet would run as a formula is prefixed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([safe(cell) for cell in header])
    writer.writerows([safe(cell) for cell in row] for row in rows)
    file = re.sub(r"[^\w.-]+", "-", name).strip("-")[:80] or "headroom"
    return HttpResponse(
        text.getvalue(), content_type="text/csv; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{file}.csv"'}
    )


def safe(cell: str) -> str:
    """Numbers stay numbers; a name that begins like a formula gets an apostrophe."""
    if cell.startswith(FORMULA) and not re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", cell):
        return f"'{cell}"
    return cell
