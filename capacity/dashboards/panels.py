"""The questions of a Deployment page: each a record with what it needs, and a function that answers it with a plot."""

from collections.abc import Sequence

import numpy as np

from capacity.dashboards.answers import USUAL, Array, Built, Panel, plot_of, unknown
from capacity.dashboards.charts import Band, Plot, Trace
from capacity.dashboards.evidence import Evidence, Grid, grid_of, last, mean
from capacity.dashboards.panels_latency import MEANS, QUESTIONS, latency_built, latency_panel
from capacity.dashboards.words import Figure, count, digits, figure
from monitoring.catalog.records import Latency

FULL_RATIO = 0.9
SKEW_LIMIT = 1.5
REPLICA_COLOURS = ("d1", "d3", "d4", "d2", "d5")


# --- Load ------------------------------------------------------------------------------------------------------------------


def extremes(evidence: Evidence, column: str) -> list[Band]:
    """Lowest and highest within each step: a mean over hours would hide the peak that matters."""
    line = evidence.lines.columns.get(column)
    return [Band(line.low, line.high, "d1-faint", "lowest to highest in a step")] if line is not None else []


def traffic_panel(evidence: Evidence) -> Built:
    question = TITLES["traffic"]
    requests, errors = evidence.column("requests_per_second"), evidence.column("errors_per_second")
    usual = [Band(*evidence.usual, "usual-band", "usual for this hour")] if evidence.usual else []
    bands = [*usual, *extremes(evidence, "requests_per_second")]
    plot = plot_of(
        evidence, question, "req/s", [Trace("requests", requests, style="heavy"), Trace("errors", errors, "crit", "area")], bands=bands
    )
    value = evidence.now_of("requests_per_second")
    if plot is None or value is None:
        return unknown(question)
    rate = f"{figure(value, 'req/s')}"
    failed = error_words(evidence.now_of("errors_per_second"), value)
    if evidence.usual is None:
        return Built(question, "Cannot tell yet.", f"{rate}; less than two earlier weeks to compare with. {failed}", plot)
    low, high = float(evidence.usual[0][-1]), float(evidence.usual[1][-1])
    if low * 0.9 <= value <= high * 1.1:
        return Built(question, "No.", f"{rate}, as usual for this hour ({digits(low)} to {digits(high)}). {failed}", plot)
    side = "above" if value > high else "below"
    return Built(question, "Yes.", f"{rate}, {side} the usual {digits(low)} to {digits(high)} for this hour. {failed}", plot, "warn")


def error_words(errors: float | None, requests: float) -> str:
    if errors is None:
        return "Errors are not seen."
    if errors <= 0 or requests <= 0:
        return "No errors."
    return f"{figure(errors / requests, 'ratio')} fail."


def tokens_panel(evidence: Evidence) -> Built:
    question = TITLES["tokens"]
    prompt, answer = evidence.column("input_tokens_per_request"), evidence.column("output_tokens_per_request")
    plot = plot_of(evidence, question, "tokens", [Trace("prompt", prompt, "d4"), Trace("answer", answer, "d1")])
    if plot is None:
        return unknown(question)
    shift = shift_words(prompt, evidence)
    rate = evidence.now_of("output_tokens_per_second")
    tail = f" {figure(rate, 'tok/s')} generated." if rate is not None else ""
    parts = [f"{digits(value)} {word}" for value, word in ((last(prompt), "tokens in"), (last(answer), "out")) if value is not None]
    sizes = f"{' and '.join(parts)} a request."
    return Built(question, shift, f"{sizes}{tail}", plot, "warn") if shift else Built(question, sizes, tail.strip(), plot)


def shift_words(values: Array, evidence: Evidence) -> str:
    """Say so when prompts after the newest version differ from those before by a quarter or more."""
    grid = evidence.grid
    inside = [mark for mark in evidence.marks if evidence.page.range.start.timestamp() < mark < evidence.page.range.end.timestamp()]
    if not inside or not values.size:
        return ""  # nothing new within the range
    cut = int((inside[-1] - grid.first) / grid.step) + 1
    before, after = mean(values[: max(cut, 0)]), mean(values[max(cut, 0) :])
    if np.isfinite(values[max(cut, 0) :]).sum() < 3:
        return ""  # a step that lies across the change says nothing
    if before is None or after is None or before <= 0 or 0.8 < after / before < 1.25:
        return ""
    return f"Prompts are {digits(after / before, significant=2)} times as long since {evidence.versions[-1].name}."


def throughput_panel(evidence: Evidence) -> Built:
    question = TITLES["throughput"]
    prompt, answer = evidence.column("input_tokens_per_second"), evidence.column("output_tokens_per_second")
    plot = plot_of(evidence, question, "tok/s", [Trace("in", prompt, "d4"), Trace("out", answer, "d1", "heavy")])
    if plot is None:
        return unknown(question)
    hits = evidence.now_of("cache_hit_ratio")
    cached = f" {figure(hits, 'ratio')} of prompt look-ups hit the prefix cache." if hits is not None else ""
    return Built(question, f"{figure(last(answer), 'tok/s')} out,", f"{figure(last(prompt), 'tok/s')} in.{cached}", plot)


def queue_panel(evidence: Evidence) -> Built:
    question = TITLES["queue"]
    running, waiting = evidence.column("requests_running"), evidence.column("requests_waiting")
    plot = plot_of(
        evidence,
        question,
        "requests",
        [Trace("running", running), Trace("waiting", waiting, "d6", "area")],
        bands=extremes(evidence, "requests_running"),
    )
    if plot is None:
        return unknown(question)
    queue, busy = evidence.now_of("requests_waiting"), evidence.now_of("requests_running")
    run = f"{figure(busy, 'requests')} run" if busy is not None else "running requests are not seen"
    if queue is None:
        return Built(question, "Cannot tell.", f"{run}; the queue is not seen.", plot)
    if queue < 0.5:
        return Built(question, "No.", f"Nothing waits; {run}.", plot)
    return Built(question, "Yes.", f"{figure(queue, 'requests')} wait; {run}.", plot, "warn" if queue > (busy or 0) / 2 else "")


def cache_panel(evidence: Evidence) -> Built:
    question = TITLES["cache"]
    cache = evidence.column("kv_cache_usage_ratio")
    plot = plot_of(evidence, question, "ratio", [Trace("cache", cache, style="heavy")], bands=extremes(evidence, "kv_cache_usage_ratio"))
    value = evidence.now_of("kv_cache_usage_ratio")
    if plot is None or value is None:
        return unknown(question)
    queue, pushed = evidence.now_of("requests_waiting"), evidence.now_of("preemptions_per_second")
    facts = [f"KV cache {figure(value, 'ratio')}"]
    if pushed:
        facts.append(f"{digits(60 * pushed, significant=2)} preemptions a minute")
    if queue is not None:
        facts.append(f"{figure(queue, 'requests')} wait" if queue >= 0.5 else "nothing waits")
    full = value >= FULL_RATIO
    return Built(question, "Yes." if full else "No.", ", ".join(facts) + ".", plot, "crit" if full and (queue or 0) >= 1 else "")


# --- Hardware --------------------------------------------------------------------------------------------------------------

ACTIVITY = ("gr_engine_active_ratio", "gpu_utilization_ratio", "sm_active_ratio", "dram_active_ratio", "tensor_active_ratio")
MEMORY = ("gpu_memory_used_bytes", "gpu_memory_total_bytes")
POWER = ("power_watts", "power_limit_watts", "throttle_power_ratio", "throttle_thermal_ratio")


def accelerator_grid(evidence: Evidence) -> Grid:
    lines = next(iter(evidence.activity.values()), None)
    return grid_of(lines) if lines is not None else evidence.grid


def busy_of(evidence: Evidence) -> Array:
    """How busy the accelerators are: the engine counter where DCGM profiles, else the coarse utilisation."""
    for name in ("gr_engine_active_ratio", "gpu_utilization_ratio"):
        values = evidence.folded(name)
        if values.size and np.isfinite(values).any():
            return values
    return np.array([])


def activity_panel(evidence: Evidence) -> Built:
    question = TITLES["activity"]
    busy, rate, tensor = busy_of(evidence), evidence.folded("dram_active_ratio"), evidence.folded("tensor_active_ratio")
    traces = [Trace("busy", busy, style="heavy"), Trace("memory", rate, "d3", "dash"), Trace("tensor", tensor, "d2", "dot")]
    plot = plot_of(evidence, question, "ratio", traces, grid=accelerator_grid(evidence), height=USUAL + 16)
    value = next((evidence.live[name] for name in ACTIVITY[:2] if name in evidence.live), last(busy))
    if plot is None or value is None:
        return unknown(question)
    facts = [f"{figure(value, 'ratio')} busy"]
    facts += [
        f"{words} {figure(last(values), 'ratio')}"
        for words, values in (("memory rate", rate), ("tensor cores", tensor))
        if last(values) is not None
    ]
    verdict = "Hardly." if value < 0.05 else "Yes." if value >= 0.3 else "A little."
    return Built(question, verdict, f"{', '.join(facts)}; mean of {count(len(evidence.activity), 'accelerator')}.", plot)


def against(
    evidence: Evidence,
    question: str,
    unit: str,
    used: Array,
    whole: Array,
    *,
    names: tuple[str, str] = ("used", "asked"),
    grid: Grid | None = None,
) -> tuple[Plot | None, float | None, float | None]:
    """What is used against its ceiling: the plot, and the last value of both."""
    traces = [Trace(names[0], used, style="heavy"), Trace(names[1], whole, "ink-3", "dash")]
    return plot_of(evidence, question, unit, traces, grid=grid), last(used), last(whole)


def memory_panel(evidence: Evidence) -> Built:
    question = TITLES["memory"]
    used, total = evidence.folded(MEMORY[0]), evidence.folded(MEMORY[1])
    plot, value, ceiling = against(evidence, question, "bytes", used, total, names=("used", "there"), grid=accelerator_grid(evidence))
    if plot is None or value is None:
        return unknown(question)
    if not ceiling:
        return Built(question, "Cannot tell.", f"{figure(value, 'bytes')} are held; the size is not seen.", plot)
    ratio = value / ceiling
    note = " LLM servers reserve it at the start, so full is normal." if evidence.llm else ""
    return Built(
        question,
        "Yes." if ratio >= FULL_RATIO else "No.",
        f"{figure(value, 'bytes')} of {figure(ceiling, 'bytes')}, {figure(ratio, 'ratio')}.{note}",
        plot,
    )


def power_panel(evidence: Evidence) -> Built:
    question = TITLES["power"]
    used, limit = evidence.folded("power_watts"), evidence.folded("power_limit_watts")
    plot, value, ceiling = against(evidence, question, "watts", used, limit, names=("power", "limit"), grid=accelerator_grid(evidence))
    if plot is None or value is None:
        return unknown(question)
    slowed = max((last(evidence.folded(name)) or 0.0) for name in POWER[2:])
    of = f" of {figure(ceiling, 'watts')}" if ceiling else ""
    if slowed > 0.01:
        return Built(
            question, "Yes.", f"{figure(value, 'watts')}{of}; clocks were lowered {figure(slowed, 'ratio')} of the time.", plot, "warn"
        )
    return Built(question, "No.", f"{figure(value, 'watts')}{of}, no throttling.", plot)


def replicas_panel(evidence: Evidence) -> Built:
    question = TITLES["replicas"]
    ready, wished = evidence.column("replicas_ready"), evidence.column("replicas_desired")
    plot = plot_of(evidence, question, "replicas", [Trace("ready", ready, style="step"), Trace("wished", wished, "ink-3", "dash")])
    have, want = last(ready), last(wished)
    if plot is None or have is None:
        return unknown(question)
    restarts = evidence.now_of("restarts_per_second")
    again = " Containers restart now." if restarts else ""
    if want is None:
        return Built(
            question, f"{figure(have, 'replicas').number} answer;", f"how many are wished is not seen (kube-state-metrics).{again}", plot
        )
    whole = f"{figure(have, 'replicas').number} of {figure(want, 'replicas').number}"
    if have + 0.5 < want:
        return Built(question, "No.", f"{whole} answer.{again}", plot, "warn")
    return Built(question, "Yes.", f"{whole} answer.{again}", plot)


def skew_panel(evidence: Evidence) -> Built:
    """The five busiest replicas; one far above the mean means that balancing comes before growing."""
    question = TITLES["skew"]
    name = next(
        (name for name in ("requests_per_second", "requests_running") if any(name in lines.columns for lines in evidence.skew.values())), ""
    )
    named = {replica.pk: replica.name for replica in evidence.replicas}
    lines = {
        pk: each.columns[name].mean
        for pk, each in evidence.skew.items()
        if name in each.columns and np.isfinite(each.columns[name].mean).any()
    }
    if not lines:
        return unknown(question)
    ranked = sorted(lines, key=lambda pk: -(mean(lines[pk]) or 0.0))
    traces = [Trace(short_name(named.get(pk, str(pk))), lines[pk], colour) for pk, colour in zip(ranked, REPLICA_COLOURS, strict=False)]
    grid = grid_of(next(iter(evidence.skew.values())))
    plot = plot_of(evidence, question, "req/s" if name == "requests_per_second" else "requests", traces, grid=grid)
    values = [value for pk in ranked if (value := last(lines[pk])) is not None]
    ratio = skew_ratio(values)
    if ratio is None:
        return Built(question, "Cannot tell.", f"{count(len(values), 'replica')} seen.", plot)
    even = ratio <= SKEW_LIMIT
    tail = f"the busiest of {len(values)} has {digits(ratio)} times the mean, limit {SKEW_LIMIT}."
    return Built(question, "Yes." if even else "No.", tail, plot, "" if even else "warn")


def skew_ratio(values: Sequence[float]) -> float | None:
    """The busiest over the mean; None for fewer than two replicas or no load."""
    total = sum(values)
    return max(values) * len(values) / total if len(values) >= 2 and total > 0 else None


def short_name(name: str) -> str:
    return name if len(name) <= 8 else "…" + name[-7:]  # as much as stands beside a plot on a phone


def cpu_panel(evidence: Evidence) -> Built:
    question = TITLES["cpu"]
    used, asked = evidence.column("cpu_usage_cores"), evidence.column("cpu_requested_cores")
    plot, value, ceiling = against(evidence, question, "cores", used, asked)
    slowed = evidence.now_of("cpu_throttled_ratio")
    if plot is None or value is None:
        return unknown(question)
    throttled = f" Throttled {figure(slowed, 'ratio')} of the time." if slowed else ""
    if not ceiling:
        return Built(question, "Cannot tell.", f"{figure(value, 'cores')} used; what was requested is not seen.{throttled}", plot)
    full = value / ceiling >= FULL_RATIO or (slowed or 0) > 0.1
    return Built(
        question,
        "Yes." if full else "No.",
        f"{figure(value, 'cores')} of {digits(ceiling)} requested, {figure(value / ceiling, 'ratio')}.{throttled}",
        plot,
    )


def host_memory_panel(evidence: Evidence) -> Built:
    question = TITLES["host-memory"]
    used, asked = evidence.column("memory_used_bytes"), evidence.column("memory_requested_bytes")
    plot, value, ceiling = against(evidence, question, "bytes", used, asked)
    if plot is None or value is None:
        return unknown(question)
    if not ceiling:
        return Built(question, "Cannot tell.", f"{figure(value, 'bytes')} used; what was requested is not seen.", plot)
    return Built(question, "No." if value > ceiling else "Yes.", f"{figure(value, 'bytes')} of {figure(ceiling, 'bytes')} requested.", plot)


def network_panel(evidence: Evidence) -> Built:
    question = TITLES["network"]
    incoming, outgoing = evidence.column("network_receive_bytes_per_second"), evidence.column("network_transmit_bytes_per_second")
    plot = plot_of(evidence, question, "bytes/s", [Trace("in", incoming, "d4"), Trace("out", outgoing, "d1")])
    if plot is None:
        return unknown(question)
    parts: list[tuple[str, Figure]] = [("in", figure(last(incoming), "bytes/s")), ("out", figure(last(outgoing), "bytes/s"))]
    return Built(question, ", ".join(f"{amount} {word}" for word, amount in parts) + ".", "The link's own speed is not seen.", plot)


def kind_panel(kind: Latency) -> Panel:
    def build(evidence: Evidence) -> Built:
        return latency_built(evidence, kind)

    mean_columns = (MEANS[kind],) if kind in MEANS else ()
    return Panel(f"latency-{kind.name.lower().replace('_', '-')}", build, columns=mean_columns, latency=kind)


PANELS = (
    Panel("latency", latency_panel, columns=tuple(MEANS.values()), main_latency=True),
    Panel("traffic", traffic_panel, columns=("requests_per_second", "errors_per_second"), usual="requests_per_second"),
    Panel("tokens", tokens_panel, columns=("input_tokens_per_request", "output_tokens_per_request", "output_tokens_per_second")),
    Panel("cache", cache_panel, columns=("kv_cache_usage_ratio", "requests_waiting", "preemptions_per_second")),
    Panel("queue", queue_panel, columns=("requests_running", "requests_waiting")),
    Panel("activity", activity_panel, activity=ACTIVITY),
    *(kind_panel(kind) for kind in Latency),
    Panel("throughput", throughput_panel, columns=("input_tokens_per_second", "output_tokens_per_second", "cache_hit_ratio")),
    Panel("memory", memory_panel, activity=MEMORY),
    Panel("power", power_panel, activity=POWER),
    Panel("replicas", replicas_panel, columns=("replicas_ready", "replicas_desired", "restarts_per_second")),
    Panel("skew", skew_panel, skew=("requests_per_second", "requests_running")),
    Panel("cpu", cpu_panel, columns=("cpu_usage_cores", "cpu_requested_cores", "cpu_throttled_ratio")),
    Panel("host-memory", host_memory_panel, columns=("memory_used_bytes", "memory_requested_bytes")),
    Panel("network", network_panel, columns=("network_receive_bytes_per_second", "network_transmit_bytes_per_second")),
)
PANELS_BY_SLUG = {panel.slug: panel for panel in PANELS}
OPEN_LLM = ("latency", "traffic", "tokens", "cache", "activity")
OPEN_OTHER = ("latency", "traffic", "queue", "activity", "replicas")
OPEN_CPU = ("latency", "traffic", "queue", "cpu", "replicas")
OPEN_WORK = ("activity", "memory", "power", "cpu", "replicas")  # training and other work: nobody waits for an answer
SERVING_ONLY = ("latency", "traffic", "queue")
OPEN_MOST = 5  # drawn with the page; the rest is not even queried until it is opened
TITLES = {
    "throughput": "How many tokens flow?",
    "queue": "Does work wait?",
    "activity": "Are the GPUs working?",
    "memory": "Is accelerator memory full?",
    "power": "Does power hold it back?",
    "replicas": "Are all replicas there?",
    "skew": "Do replicas share the load?",
    "cpu": "Is the CPU the limit?",
    "host-memory": "Does host memory suffice?",
    "network": "How much goes over the network?",
    "tokens": "What do requests ask for?",
    "cache": "Is memory the limit?",
    "latency": "Is it fast enough?",
    "traffic": "Is traffic unusual?",
} | {f"latency-{kind.name.lower().replace('_', '-')}": question for kind, question in QUESTIONS.items()}
