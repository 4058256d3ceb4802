"""What limits it now: eight ceilings, each as a share of itself, from what is measured; the rest says "not seen".

Which of them is the limit says the stored answer of saturation; the means alone only say which is nearest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from capacity.dashboards.evidence import Evidence, last
from capacity.dashboards.panels import SKEW_LIMIT, skew_ratio
from capacity.dashboards.saturation_judged import Judged
from capacity.dashboards.words import Figure, digits, figure

NEAR, FULL = 0.7, 0.9


@dataclass(frozen=True)
class Cell:
    """One ceiling: `ratio` of it is used (None = not seen); `value` is what stands in large."""

    name: str
    column: str
    ratio: float | None
    value: str
    fact: str
    tone: str = ""

    @property
    def width(self) -> int:
        return round(100 * min(max(self.ratio or 0.0, 0.0), 1.0))


@dataclass(frozen=True)
class Saturation:
    cells: Sequence[Cell]
    answer: str
    limit: str = ""  # what is at its limit, as part of a sentence
    judged: Judged = Judged()


def saturation(
    evidence: Evidence, *, own: Mapping[str, float], hardware: Mapping[str, float], judged: Judged, alarm: bool = True
) -> Saturation:
    """`own` and `hardware`: means of the last minutes by column; `alarm`: whether what is at its limit is red, because something
    breaks or is about to."""
    cells = [
        cache_cell(evidence, own) if evidence.llm else throttle_cell(own),
        ratio_cell("GPU compute", "gr_engine_active_ratio", hardware, fact=tensor_fact(hardware), fallback="gpu_utilization_ratio"),
        ratio_cell("GPU memory rate", "dram_active_ratio", hardware, fact="of its bandwidth"),
        quotient_cell("GPU memory", "gpu_memory_used_bytes", "gpu_memory_total_bytes", hardware, unit="bytes", reserved=evidence.llm),
        power_cell(hardware),
        quotient_cell("Host CPU", "cpu_usage_cores", "cpu_requested_cores", own, unit="cores"),
        network_cell(own),
        skew_cell(evidence),
    ]
    if not evidence.accelerators and own:  # a window in which nothing was seen does not say that it runs on CPU
        cells = [cell if cell.ratio is not None or not cell.name.startswith("GPU") else no_gpu(cell) for cell in cells]
    seen = [
        cell
        for cell in cells
        if cell.ratio is not None and not (evidence.llm and cell.name == "GPU memory") and cell.name != "Replica skew"
    ]
    nearest = max(seen, key=lambda cell: cell.ratio or 0.0, default=None)
    if not judged.answer:
        return by_means(cells, nearest, judged=judged, alarm=alarm)
    shown = [replace(cell, tone="crit" if alarm else "warn") if cell.column in judged.columns else cell for cell in cells]
    answer = f"{judged.answer} {nearest_words(nearest)}" if nearest and judged.answer.startswith("Nothing") else judged.answer
    return Saturation(shown, answer, judged.limit, judged)


def by_means(cells: Sequence[Cell], nearest: Cell | None, *, judged: Judged, alarm: bool) -> Saturation:
    """Without a stored answer: the ceiling of which most is used."""
    if nearest is None:
        return Saturation(cells, "Cannot tell: none of the ceilings is seen for this deployment.", judged=judged)
    full = (nearest.ratio or 0.0) >= FULL
    shown = [marked(cell, nearest) if alarm else cell for cell in cells]
    return Saturation(shown, limit_words(nearest), nearest.name if full else "", judged)


def nearest_words(cell: Cell) -> str:
    free = 1 - (cell.ratio or 0.0)
    return f"{cell.name} is nearest, with {figure(free, 'ratio')} free." if free > 0 else f"{cell.name} is nearest."


def limit_words(limit: Cell) -> str:
    if (limit.ratio or 0.0) >= FULL:
        return f"{limit.name}."
    if (limit.ratio or 0.0) >= NEAR:
        return f"Nothing yet; {limit.name} is nearest."
    return f"Nothing. {nearest_words(limit)}"


def marked(cell: Cell, limit: Cell) -> Cell:
    if cell is limit and (cell.ratio or 0.0) >= FULL:
        return replace(cell, tone="crit")
    return cell


def not_seen(name: str, column: str, fact: str = "no source for it") -> Cell:
    return Cell(name, column, None, "not seen", fact, "none")


def no_gpu(cell: Cell) -> Cell:
    return Cell(cell.name, cell.column, None, "none", "runs on CPU", "none")


def ratio_cell(name: str, column: str, values: Mapping[str, float], *, fact: str, fallback: str = "") -> Cell:
    chosen = column if column in values else fallback
    value = values.get(chosen)
    if value is None:
        return not_seen(name, column, "DCGM profiling is off" if name == "GPU memory rate" else "no source for it")
    return Cell(name, chosen, value, str(figure(value, "ratio")), fact if chosen == column else "share of time with any kernel")


def tensor_fact(values: Mapping[str, float]) -> str:
    tensor = values.get("tensor_active_ratio")
    return f"{figure(tensor, 'ratio')} tensor" if tensor is not None else "engine active"


def cache_cell(evidence: Evidence, own: Mapping[str, float]) -> Cell:
    value, pushed = own.get("kv_cache_usage_ratio"), own.get("preemptions_per_second")
    if value is None:
        return not_seen("KV cache", "kv_cache_usage_ratio")
    fact = (
        f"{digits(60 * pushed, significant=2)} preemptions/min"
        if pushed
        else "no preemptions"
        if pushed is not None
        else "of the fullest replica"
    )
    return Cell("KV cache", "kv_cache_usage_ratio", value, str(figure(value, "ratio")), fact)


def throttle_cell(own: Mapping[str, float]) -> Cell:
    value = own.get("cpu_throttled_ratio")
    if value is None:
        return not_seen("CPU throttled", "cpu_throttled_ratio")
    return Cell("CPU throttled", "cpu_throttled_ratio", value, str(figure(value, "ratio")), "of scheduler periods")


def quotient_cell(name: str, used: str, total: str, values: Mapping[str, float], *, unit: str, reserved: bool = False) -> Cell:
    top, bottom = values.get(used), values.get(total)
    if top is None:
        return not_seen(name, used)
    if not bottom:
        return Cell(name, used, None, str(figure(top, unit)), "its ceiling is not seen", "none")
    fact = "reserved at the start" if reserved else of_total(figure(top, unit), figure(bottom, unit))
    return Cell(name, used, top / bottom, str(figure(top / bottom, "ratio")), fact)


def of_total(used: Figure, total: Figure) -> str:
    """ "32.3 of 72.0 cores", "600 MiB of 80.0 GiB": the unit once where it is the same."""
    return f"{used.number if used.unit == total.unit else used} of {total}"


def power_cell(values: Mapping[str, float]) -> Cell:
    cell = quotient_cell("GPU power", "power_watts", "power_limit_watts", values, unit="watts")
    slowed = max(values.get("throttle_power_ratio", 0.0), values.get("throttle_thermal_ratio", 0.0))
    if cell.ratio is None:
        return cell
    fact = f"throttled {figure(slowed, 'ratio')}" if slowed > 0.01 else "no throttling" if "throttle_power_ratio" in values else cell.fact
    return Cell(cell.name, cell.column, cell.ratio, cell.value, fact)


def network_cell(own: Mapping[str, float]) -> Cell:
    """What a link carries nobody says yet, so no share of it; saturation sees a ceiling in the bytes themselves."""
    column = "network_receive_bytes_per_second"
    ways = {name: own[name] for name in (column, "network_transmit_bytes_per_second") if name in own}
    if not ways:
        return not_seen("Network", column)
    name = max(ways, key=lambda name: ways[name])
    way = "in" if name == column else "out"
    return Cell("Network", column, None, str(figure(ways[name], "bytes/s")), f"{way}; the link's speed is not seen", "none")


def skew_cell(evidence: Evidence) -> Cell:
    values = []
    for lines in evidence.skew.values():
        for column in ("requests_per_second", "requests_running"):
            if column in lines.columns and (value := last(lines.columns[column].mean)) is not None:
                values.append(value)
                break
    ratio = skew_ratio(values)
    if ratio is None:
        return not_seen("Replica skew", "skew", "one replica" if len(evidence.replicas) == 1 else "replicas not told apart")
    return Cell(
        "Replica skew",
        "skew",
        (ratio - 1) / (2 * (SKEW_LIMIT - 1)),
        digits(ratio),
        f"{'balanced' if ratio <= SKEW_LIMIT else 'uneven'}, limit {SKEW_LIMIT}",
    )
