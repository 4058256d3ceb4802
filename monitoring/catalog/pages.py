"""The catalogue as the page docs/metrics.md: every column, ratio, latency, system and series, with unit and source."""

from collections.abc import Iterable, Iterator

from monitoring.catalog.columns import COLUMNS, LATENCY_LABELS, RATIOS
from monitoring.catalog.records import Combine, Entity, Kind, Latency, Series, System
from monitoring.catalog.systems import SYSTEMS

HEAD = """# Metrics

What Headroom measures, in which unit, and where each number comes from. This page is written from the catalogue
(`monitoring/catalog/`) by `python -m monitoring.catalog.pages > docs/metrics.md`; a test fails when the two differ.

Units are base units: seconds, bytes, watts, ratios from 0 to 1. A quantity that a system does not have is shown as
"not available", never as zero.
"""
SIGNS = {Combine.PLUS: "+", Combine.EITHER: "+", Combine.MINUS: "−", Combine.OVER: "/"}
ENTITIES = {
    Entity.DEPLOYMENT: "Deployments",
    Entity.REPLICA: "Replicas",
    Entity.ACCELERATOR: "Accelerators",
    Entity.NODE: "Nodes",
}


def metrics_page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD, *columns_part(), *ratios_part(), *latencies_part(), "## Systems\n", *map(system_part, SYSTEMS.values())]
    return "\n".join(parts)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def columns_part() -> Iterator[str]:
    for entity, columns in COLUMNS.items():
        rows = ((column.label, f"`{column.name}`", column.unit, column.meaning, column.fold.value) for column in columns)
        yield f"## {ENTITIES[entity]}\n"
        yield table(("Quantity", "Name", "Unit", "Meaning", "Over several"), rows)


def ratios_part() -> Iterator[str]:
    rows = ((ratio.label, f"`{ratio.name}`", ratio.unit, ratio.meaning, f"`{ratio.numerator}` / `{ratio.denominator}`") for ratio in RATIOS)
    yield "## Ratios\n\nQuotients of two stored sums, so that any window of time merges exactly.\n"
    yield table(("Quantity", "Name", "Unit", "Meaning", "Made of"), rows)


def latencies_part() -> Iterator[str]:
    rows = ((label, f"`{kind.name.lower()}`", "seconds") for kind, label in LATENCY_LABELS.items())
    yield "## Latencies\n\nStored as histograms: the percentiles of any window come from merged bucket counts.\n"
    yield table(("Latency", "Name", "Unit"), rows)


def target_name(target: str | Latency) -> str:
    return target.name.lower() if isinstance(target, Latency) else target


def reading(series: Series) -> str:
    """Names on the wire with what is done to them, short enough for a table."""
    names = " or ".join(f"`{name}`" for name in series.names)
    matchers = f" where `{series.matchers}`" if series.matchers else ""
    other = f" {SIGNS[series.combine]} {' or '.join(f'`{name}`' for name in series.other)}" if series.combine else ""
    scale = f", × {series.scale:g}" if series.scale != 1 else ""
    rate = ", rate" if series.kind is Kind.COUNTER else ""
    complement = ", 1 − value" if series.complement else ""
    return f"{names}{matchers}{other}{rate}{complement}{scale}"


def system_part(system: System) -> str:
    rows = (
        (f"`{target_name(series.target)}`", reading(series), series.kind.value, series.quality, series.without, series.remedy, series.note)
        for series in system.series
    )
    lines = [
        f"### {system.name}\n",
        f"Recognised by {' or '.join(f'`{name}`' for name in system.detect)}; scraped at {system.endpoint}.",
        f"Checked with {system.seen_version}. Without it: {system.costs}.\n",
        table(("Quantity", "Read from", "Type", "Quality", "Without it", "Remedy", "Note"), rows),
    ]
    if system.lacks:
        lines.append("Not available:\n\n" + "".join(f"- `{target_name(target)}`: {reason}\n" for target, reason in system.lacks.items()))
    if system.traps:
        lines.append("Good to know:\n\n" + "".join(f"- {trap}\n" for trap in system.traps))
    lines.append(f"Source: {system.source}.\n")
    return "\n".join(lines)


if __name__ == "__main__":
    print(metrics_page(), end="")
