"""The questions of an accelerator's and a node's page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from capacity.dashboards.answers import Built
from capacity.dashboards.charts import Plot, Style, Trace, figure
from capacity.dashboards.evidence import grid_of, last
from capacity.dashboards.pages import Page
from capacity.dashboards.score import Shown, summary, table_words
from capacity.dashboards.words import figure as number
from monitoring.catalog.records import Entity
from monitoring.catalog.systems import SYSTEMS
from monitoring.series import Lines, lines_load

Array = npt.NDArray[np.float64]
Values = Mapping[str, float | None]
POINTS, HEIGHT = 320, 116


@dataclass(frozen=True)
class Course:
    """One line of a plot: which column, under which name."""

    name: str
    column: str
    colour: str = "d1"
    style: Style = "line"


@dataclass(frozen=True)
class HardwarePanel:
    slug: str
    question: str
    unit: str
    courses: Sequence[Course]
    answer: Callable[[Values], tuple[str, str]]
    more: tuple[str, ...] = ()  # columns the answer needs beside the drawn ones
    optional: bool = False  # left out where nothing of it was measured: not every GPU has it

    @property
    def columns(self) -> tuple[str, ...]:
        return (*(course.column for course in self.courses), *self.more)


def share(used: float | None, total: float | None) -> float | None:
    return used / total if used is not None and total else None


def activity_answer(now: Values) -> tuple[str, str]:
    busy = now.get("gr_engine_active_ratio")
    busy = now.get("gpu_utilization_ratio") if busy is None else busy
    if busy is None:
        return "Cannot tell.", "No counter of its activity is read."
    verdict = "Hardly." if busy < 0.05 else "Yes." if busy >= 0.3 else "A little."
    parts = [f"{number(busy, 'ratio')} busy"]
    parts += [
        f"{words} {number(now[column], 'ratio')}"
        for words, column in (("memory rate", "dram_active_ratio"), ("tensor cores", "tensor_active_ratio"))
        if now.get(column) is not None
    ]
    return verdict, ", ".join(parts) + "."


def memory_answer(used: str, total: str) -> Callable[[Values], tuple[str, str]]:
    def answer(now: Values) -> tuple[str, str]:
        held, size = now.get(used), now.get(total)
        ratio = share(held, size)
        if ratio is None:
            return "Cannot tell.", f"{number(held, 'bytes')} are held; the size is not seen."
        return ("Yes." if ratio >= 0.9 else "No."), f"{number(held, 'bytes')} of {number(size, 'bytes')}, {number(ratio, 'ratio')}."

    return answer


def power_answer(now: Values) -> tuple[str, str]:
    slowed = max(now.get("throttle_power_ratio") or 0.0, now.get("throttle_thermal_ratio") or 0.0)
    limit = now.get("power_limit_watts")
    of = f" of {number(limit, 'watts')}" if limit else ""
    tail = f"clocks were lowered {number(slowed, 'ratio')} of the time" if slowed > 0.01 else "no throttling"
    return ("Yes." if slowed > 0.01 else "No."), f"{number(now.get('power_watts'), 'watts')}{of}, {tail}."


def heat_answer(now: Values) -> tuple[str, str]:
    heat = now.get("temperature_celsius")
    slowed = now.get("throttle_thermal_ratio") or 0.0
    return ("Yes." if slowed > 0.01 else "No."), f"{number(heat, 'celsius')}" + (
        f"; slowed by heat {number(slowed, 'ratio')} of the time." if slowed > 0.01 else "."
    )


def flow_answer(inward: str, outward: str, *, words: tuple[str, str] = ("in", "out")) -> Callable[[Values], tuple[str, str]]:
    def answer(now: Values) -> tuple[str, str]:
        return f"{number(now.get(inward), 'bytes/s')} {words[0]},", f"{number(now.get(outward), 'bytes/s')} {words[1]}."

    return answer


def occupancy_answer(now: Values) -> tuple[str, str]:
    active, held = now.get("sm_active_ratio"), now.get("sm_occupancy_ratio")
    verdict = "Hardly." if (active or 0) < 0.05 else "Yes." if (active or 0) >= 0.8 else "In part."
    tail = "" if held is None else f", with {number(held, 'ratio')} of the warps it could hold"
    return verdict, f"An SM works {number(active, 'ratio')} of the time{tail}."


def clock_answer(now: Values) -> tuple[str, str]:
    memory = now.get("memory_clock_hertz")
    return f"{number(now.get('sm_clock_hertz'), 'hertz')}.", "" if memory is None else f"Its memory {number(memory, 'hertz')}."


def video_answer(now: Values) -> tuple[str, str]:
    coded, decoded = now.get("encoder_utilization_ratio") or 0.0, now.get("decoder_utilization_ratio") or 0.0
    return ("Yes." if max(coded, decoded) > 0.01 else "No."), f"Encoder {number(coded, 'ratio')}, decoder {number(decoded, 'ratio')}."


def error_answer(now: Values) -> tuple[str, str]:
    errors = now.get("ecc_uncorrected_errors") or 0.0
    return ("Yes." if errors else "No."), f"{number(errors, 'errors')} that could not be corrected since the driver was loaded."


def load_answer(now: Values) -> tuple[str, str]:
    load, cores = now.get("load1"), now.get("cpu_cores")
    wanting = f"{number(load, 'processes')} want to run"
    return ("Yes." if load and cores and load > cores else "No."), f"{wanting} on {cores:.0f} cores." if cores else f"{wanting}."


def cpu_answer(now: Values) -> tuple[str, str]:
    busy, cores = now.get("cpu_utilization_ratio"), now.get("cpu_cores")
    of = f" of {cores:.0f} cores" if cores else ""
    return ("Yes." if (busy or 0) >= 0.9 else "No."), f"{number(busy, 'ratio')} busy{of}."


def pressure_answer(now: Values) -> tuple[str, str]:
    names = (("CPU", "cpu_pressure_ratio"), ("memory", "memory_pressure_ratio"), ("I/O", "io_pressure_ratio"))
    known = [(words, value) for words, column in names if (value := now.get(column)) is not None]
    waits = [f"{words} {number(value, 'ratio')}" for words, value in known]
    return ("Yes." if any(value > 0.1 for _, value in known) else "No."), f"Share of time some process waited: {', '.join(waits)}."


ACCELERATOR_PANELS = (
    HardwarePanel(
        "activity",
        "Is it working?",
        "ratio",
        (
            Course("busy", "gr_engine_active_ratio", style="heavy"),
            Course("driver", "gpu_utilization_ratio", "d5", "thin"),
            Course("memory", "dram_active_ratio", "d3", "dash"),
            Course("tensor", "tensor_active_ratio", "d2", "dot"),
        ),
        activity_answer,
    ),
    HardwarePanel(
        "memory",
        "Is its memory full?",
        "bytes",
        (Course("used", "gpu_memory_used_bytes", style="heavy"), Course("there", "gpu_memory_total_bytes", "ink-3", "dash")),
        memory_answer("gpu_memory_used_bytes", "gpu_memory_total_bytes"),
    ),
    HardwarePanel(
        "power",
        "Does power hold it back?",
        "watts",
        (
            Course("power", "power_watts", style="heavy"),
            Course("energy", "energy_joules_per_second", "d5", "thin"),
            Course("module", "module_power_watts", "d4", "dot"),
            Course("limit", "power_limit_watts", "ink-3", "dash"),
        ),
        power_answer,
        ("throttle_power_ratio", "throttle_thermal_ratio"),
    ),
    HardwarePanel(
        "heat",
        "Is it too hot?",
        "celsius",
        (Course("chip", "temperature_celsius", "d6", "heavy"), Course("memory", "memory_temperature_celsius", "d2", "dash")),
        heat_answer,
        ("throttle_thermal_ratio",),
    ),
    HardwarePanel(
        "links",
        "How much goes over PCIe?",
        "bytes/s",
        (Course("in", "pcie_receive_bytes_per_second", "d4"), Course("out", "pcie_transmit_bytes_per_second", "d1")),
        flow_answer("pcie_receive_bytes_per_second", "pcie_transmit_bytes_per_second"),
    ),
    HardwarePanel(
        "sm",
        "Are its SMs filled?",
        "ratio",
        (Course("SM active", "sm_active_ratio", style="heavy"), Course("occupancy", "sm_occupancy_ratio", "d4", "dash")),
        occupancy_answer,
        optional=True,
    ),
    HardwarePanel(
        "clocks",
        "How fast is it clocked?",
        "hertz",
        (Course("SM", "sm_clock_hertz", style="heavy"), Course("memory", "memory_clock_hertz", "d3", "dash")),
        clock_answer,
        optional=True,
    ),
    HardwarePanel(
        "nvlink",
        "How much goes over NVLink?",
        "bytes/s",
        (Course("in", "nvlink_receive_bytes_per_second", "d4"), Course("out", "nvlink_transmit_bytes_per_second", "d1")),
        flow_answer("nvlink_receive_bytes_per_second", "nvlink_transmit_bytes_per_second"),
        optional=True,
    ),
    HardwarePanel(
        "video",
        "Does it code video?",
        "ratio",
        (Course("encoder", "encoder_utilization_ratio", "d1"), Course("decoder", "decoder_utilization_ratio", "d4", "dash")),
        video_answer,
        optional=True,
    ),
    HardwarePanel(
        "errors", "Does its memory fail?", "errors", (Course("errors", "ecc_uncorrected_errors", "d6"),), error_answer, optional=True
    ),
)
NODE_PANELS = (
    HardwarePanel(
        "cpu", "Is the CPU the limit?", "ratio", (Course("busy", "cpu_utilization_ratio", style="heavy"),), cpu_answer, ("cpu_cores",)
    ),
    HardwarePanel(
        "memory",
        "Is its memory full?",
        "bytes",
        (Course("used", "memory_used_bytes", style="heavy"), Course("there", "memory_total_bytes", "ink-3", "dash")),
        memory_answer("memory_used_bytes", "memory_total_bytes"),
    ),
    HardwarePanel(
        "pressure",
        "Do processes wait?",
        "ratio",
        (
            Course("CPU", "cpu_pressure_ratio"),
            Course("memory", "memory_pressure_ratio", "d6", "dash"),
            Course("I/O", "io_pressure_ratio", "d3", "dot"),
        ),
        pressure_answer,
    ),
    HardwarePanel(
        "network",
        "How much goes over the network?",
        "bytes/s",
        (Course("in", "network_receive_bytes_per_second", "d4"), Course("out", "network_transmit_bytes_per_second", "d1")),
        flow_answer("network_receive_bytes_per_second", "network_transmit_bytes_per_second"),
    ),
    HardwarePanel(
        "disk",
        "Is the disk full?",
        "bytes",
        (Course("used", "disk_used_bytes", style="heavy"), Course("there", "disk_total_bytes", "ink-3", "dash")),
        memory_answer("disk_used_bytes", "disk_total_bytes"),
    ),
    HardwarePanel(
        "disk-traffic",
        "How much goes to the disks?",
        "bytes/s",
        (Course("read", "disk_read_bytes_per_second", "d4"), Course("written", "disk_written_bytes_per_second", "d1")),
        flow_answer("disk_read_bytes_per_second", "disk_written_bytes_per_second", words=("read", "written")),
        optional=True,
    ),
    HardwarePanel("load", "Do processes queue for the CPU?", "processes", (Course("load", "load1"),), load_answer, ("cpu_cores",), True),
)


def hardware_lines(entity: Entity, pk: int, panels: Sequence[HardwarePanel], *, page: Page, more: Sequence[str] = ()) -> Lines:
    columns = sorted({column for panel in panels for column in panel.columns} | set(more))
    return lines_load(entity, pk, columns, start=page.range.start, end=page.range.end, points=POINTS)


def hardware_built(panel: HardwarePanel, lines: Lines, *, page: Page) -> Built:
    plot = hardware_plot(panel, lines, page=page)
    if plot is None:
        return Built(panel.question, "Cannot tell yet.", "")
    values = {column: last(lines.columns[column].mean) for column in panel.columns if column in lines.columns}
    verdict, answer = panel.answer(values)
    return Built(panel.question, verdict, answer, plot)


def hardware_plot(panel: HardwarePanel, lines: Lines, *, page: Page) -> Plot | None:
    courses = [(course, lines.columns[course.column].mean) for course in panel.courses if course.column in lines.columns]
    traces = [Trace(course.name, values, course.colour, course.style) for course, values in courses if np.isfinite(values).any()]
    if not traces:
        return None
    grid = grid_of(lines)
    return Plot(
        title=panel.question,
        unit=panel.unit,
        start=page.range.start.timestamp(),
        end=page.range.end.timestamp(),
        first=grid.first,
        step=grid.step,
        traces=traces,
        height=HEIGHT,
        zone=page.zone,
    )


def hardware_shown(
    panels: Sequence[HardwarePanel],
    lines: Lines,
    *,
    page: Page,
    providers: Mapping[str, str],
    base: str,
    dropped: Sequence[tuple[float, float]] = (),
) -> list[Shown]:
    """All panels of the page; those without a sample say so, the lowest plot carries the clock. `dropped`: stretches lost on the way."""
    made = [(panel, hardware_built(panel, lines, page=page)) for panel in panels]
    built = [(panel, drops_marked(each, dropped)) for panel, each in made if each.plot is not None or not panel.optional]
    lowest = next((panel.slug for panel, each in reversed(built) if each.plot is not None), "")
    return [shown_of(panel, each, lines, page=page, providers=providers, base=base, clock=panel.slug == lowest) for panel, each in built]


def drops_marked(built: Built, dropped: Sequence[tuple[float, float]]) -> Built:
    return replace(built, plot=replace(built.plot, dropped=dropped)) if built.plot is not None and dropped else built


def shown_of(
    panel: HardwarePanel, built: Built, lines: Lines, *, page: Page, providers: Mapping[str, str], base: str, clock: bool
) -> Shown:
    if built.plot is None:
        return Shown(panel.slug, built, None, "", "", [], base)
    plot = replace(built.plot, clock=clock, height=built.plot.height + (16 if clock else 0))
    slugs = dict.fromkeys(slug for column in panel.columns if (slug := providers.get(column)))
    names = ", ".join(SYSTEMS[slug].name if slug in SYSTEMS else slug for slug in slugs)
    return Shown(panel.slug, built, figure(plot), summary(plot, page), table_words(names, lines, page=page), [], base)
