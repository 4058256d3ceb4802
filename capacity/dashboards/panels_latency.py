"""Is it fast enough? The latency panels: percentiles from merged histograms, or a mean that is called a mean."""

from collections.abc import Sequence

import numpy as np

from capacity.dashboards.answers import TALL, USUAL, Built, plot_of, unknown
from capacity.dashboards.charts import Band, Guide, Plot, Trace
from capacity.dashboards.evidence import Evidence, Grid, last
from capacity.dashboards.pages import seconds_utc
from capacity.dashboards.words import count, figure, moment
from monitoring.catalog.columns import LATENCY_LABELS
from monitoring.catalog.records import Latency
from monitoring.models import Slo

QUESTIONS = {
    Latency.REQUEST_DURATION: "Are requests fast enough?",
    Latency.TIME_TO_FIRST_TOKEN: "Is the first token fast enough?",
    Latency.TIME_PER_OUTPUT_TOKEN: "Do the next tokens follow fast?",
    Latency.QUEUE_TIME: "How long do requests queue?",
}


def latency_built(evidence: Evidence, kind: Latency) -> Built:
    question = QUESTIONS[kind]
    lines = evidence.latencies.get(kind)
    if lines is None or not np.isfinite(lines.quantile(0.95)).any():
        return mean_built(evidence, kind, question)
    promised = evidence.slo is not None and evidence.slo.latency == kind and evidence.slo.threshold_seconds is not None
    p50, p95, p99 = (lines.quantile(q) for q in (0.5, 0.95, 0.99))
    grid = Grid(float(lines.times[0]), float(lines.step), str(lines.table), lines.as_of)
    traces = [Trace("p99", p99, style="dash"), Trace("p95", p95, style="heavy"), Trace("p50", p50)]
    guides, shaded = [], []
    if promised and evidence.slo is not None and evidence.slo.threshold_seconds is not None:
        name = percent_name(evidence.slo.percentile)
        if name not in ("p50", "p95", "p99"):
            traces.insert(0, Trace(name, lines.quantile(evidence.slo.percentile), style="heavy"))
        guides = [Guide(evidence.slo.threshold_seconds, f"SLO {name} {figure(evidence.slo.threshold_seconds, 'seconds')}")]
        shaded = list(evidence.breaches)
    plot = plot_of(
        evidence,
        question,
        "seconds",
        traces,
        grid=grid,
        bands=[Band(p50, p95)],
        guides=guides,
        shaded=shaded,
        height=TALL if promised else USUAL,
    )
    return latency_answer(evidence, kind, plot, value=last(p95), promised=promised)


def percent_name(percentile: float) -> str:
    return f"p{100 * percentile:g}"


def latency_answer(evidence: Evidence, kind: Latency, plot: Plot | None, *, value: float | None, promised: bool) -> Built:
    question = QUESTIONS[kind]
    if not promised or evidence.slo is None or evidence.slo.threshold_seconds is None:
        return Built(question, f"p95 is {figure(value, 'seconds')}.", no_promise(evidence, kind), plot)
    name, limit = percent_name(evidence.slo.percentile), evidence.slo.threshold_seconds
    lines = evidence.latencies[kind]
    now_value = evidence.live.get(live_name(kind, evidence.slo.percentile), last(lines.quantile(evidence.slo.percentile)))
    fact = f"{name} is {figure(now_value, 'seconds')}, SLO {figure(limit, 'seconds')}"
    lost = f"{lost_words(evidence.lost_minutes)} in {evidence.page.range.words}."
    if now_value is not None and now_value > limit:
        since = (
            f", since {moment(seconds_utc(evidence.breaches[-1][0]), now=evidence.page.now, zone=evidence.page.zone)}"
            if evidence.breaches
            else ""
        )
        return Built(question, "No.", f"{fact}{since}. {lost}", plot, "crit")
    return Built(question, "Yes.", f"{fact}. {lost}", plot)


def live_name(kind: Latency, percentile: float) -> str:
    """Under which name the stored status puts the latency of the last minutes beside the columns."""
    return f"{kind.name} {percentile:g}"


def lost_words(minutes: float | None) -> str:
    if minutes is None:
        return "SLO minutes not counted yet"
    return f"{count(round(minutes), 'SLO minute')} lost" if minutes >= 0.5 else "No SLO minute lost"


def no_promise(evidence: Evidence, kind: Latency) -> str:
    if evidence.slo is None or evidence.slo.latency is None:
        return "No SLO is set, so fast enough is not defined."
    return f"No promise on this; the SLO is on {LATENCY_LABELS[Latency(evidence.slo.latency)].lower()}."


MEANS = {Latency.REQUEST_DURATION: "request_duration_mean_seconds", Latency.QUEUE_TIME: "queue_time_mean_seconds"}


def mean_built(evidence: Evidence, kind: Latency, question: str) -> Built:
    """A server that only gives sums: the mean is drawn and called so; nothing pretends to be a percentile."""
    column = MEANS.get(kind)
    values = evidence.column(column) if column else np.array([])
    plot = plot_of(evidence, question, "seconds", [Trace("mean", values, style="heavy")], height=TALL)
    if plot is None:
        return unknown(question)
    return Built(
        question,
        "Cannot tell.",
        f"The mean is {figure(last(values), 'seconds')}; this server gives no histogram, so no percentile is known.",
        plot,
    )


def promised_latency(slo: Slo | None, kinds: Sequence[Latency]) -> Latency:
    """The promised one; else the first token of a language model; else the whole request."""
    if slo is not None and slo.latency is not None:
        return Latency(slo.latency)
    for kind in (Latency.TIME_TO_FIRST_TOKEN, Latency.REQUEST_DURATION):
        if kind in kinds:
            return kind
    return Latency.REQUEST_DURATION


def latency_panel(evidence: Evidence) -> Built:
    return latency_built(evidence, promised_latency(evidence.slo, evidence.kinds))
