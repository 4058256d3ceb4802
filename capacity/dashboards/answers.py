"""An answered question: its words and the plot that proves them; the frame all panels share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capacity.dashboards.charts import Plot, Trace
from capacity.dashboards.evidence import Evidence, Grid
from monitoring.catalog.records import Latency

Array = npt.NDArray[np.float64]
TALL, USUAL = 156, 116


@dataclass(frozen=True)
class Built:
    """An answered question: the verdict in one word, the rest of the sentence, and the plot that proves it."""

    question: str
    verdict: str
    answer: str
    plot: Plot | None = None
    tone: str = ""


Build = Callable[[Evidence], Built]


@dataclass(frozen=True)
class Panel:
    slug: str
    build: Build
    columns: tuple[str, ...] = ()
    latency: Latency | None = None
    activity: tuple[str, ...] = ()  # columns of the accelerators
    skew: tuple[str, ...] = ()  # columns of the replicas
    usual: str = ""  # the column whose usual range is drawn
    main_latency: bool = False


def plot_of(evidence: Evidence, title: str, unit: str, traces: Sequence[Trace], *, grid: Grid | None = None, **more: object) -> Plot | None:
    """A plot on the page's time axis; None when nothing in it was measured."""
    drawn = [trace for trace in traces if trace.values.size and np.isfinite(trace.values).any()]
    if not drawn:
        return None
    grid = grid or evidence.grid
    time_range = evidence.page.range
    return Plot(
        title=title,
        unit=unit,
        start=time_range.start.timestamp(),
        end=time_range.end.timestamp(),
        first=grid.first,
        step=grid.step,
        traces=drawn,
        marks=evidence.marks,
        zone=evidence.page.zone,
        **{"height": USUAL} | more,  # type: ignore[arg-type]
    )


def unknown(question: str) -> Built:
    return Built(question, "Cannot tell yet.", "")
