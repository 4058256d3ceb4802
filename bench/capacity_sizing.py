"""Part C of `make bench-capacity`: how many servers hold a p95 wait, sized on the past half of a trace, judged on the other."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bench.yardstick import ROOT, Yardstick, rows_of

ADAPTERS = ROOT / "bench" / "adapters"


@dataclass(frozen=True)
class Mode:
    """What the product is told, and what it must reach."""

    adapter: str
    label: str
    met: float
    servers: float
    aim: str


MODES = (
    Mode("capacity", "headroom, true arrivals", 0.95, 1.18, "97 % at 1.12"),
    Mode("counts_15", "headroom, 15 s counts", 0.92, 1.20, "95 % at 1.18"),
    Mode("counts_60", "headroom, 60 s counts", 0.85, 1.25, ""),
)


@dataclass(frozen=True)
class Figures:
    """One method over all questions."""

    method: str
    met: float  # share of questions whose SLO held
    servers: float  # mean of servers / servers needed
    under: float  # share more than 2 % too small
    over: float  # share more than 25 % too large
    kinds: dict[str, float]  # share met by kind of arrivals


def sizing_run(yardstick: Yardstick, *, table: Path, peers: bool, jobs: int) -> tuple[list[str], bool]:
    """Run it in three modes; returns the lines of the report and whether all musts hold. Its peers cost little: they always run."""
    figures: dict[str, Figures] = {}
    for mode in MODES:
        part = table.with_name(f"{mode.adapter}.csv")
        yardstick.run("bench_queueing.py", "--out", str(part), "--adapter", f"{ADAPTERS / mode.adapter}.py:{mode.label}")
        figures.update({one.method: one for one in figures_of(rows_of(part))})
    kinds = sorted(next(iter(figures.values())).kinds)
    lines = [
        "## C. Servers for a p95 wait",
        "",
        "90 questions: three traces, five kinds of arrivals, three loads, two SLOs. Counts: the product is told counts and requests in",
        "flight per step and a histogram of service times in vLLM's buckets, nothing else; the peers are told true arrivals.",
        "",
        f"| method | SLO met | servers vs. needed | under-sized by > 2 % | over-sized by > 25 % | {' | '.join(kinds)} |",
        f"|---|---|---|---|---|{'---|' * len(kinds)}",
    ]
    for one in sorted(figures.values(), key=lambda one: -one.met):
        met = " | ".join(f"{one.kinds[kind]:.0%}" for kind in kinds)
        lines.append(f"| {one.method} | {one.met:.1%} | {one.servers:.2f} | {one.under:.0%} | {one.over:.0%} | {met} |")
    lines += ["", "| must | measured | must | aim | |", "|---|---|---|---|---|"]
    held = True
    for mode in MODES:
        one = figures[mode.label]
        holds = one.met >= mode.met and one.servers <= mode.servers
        held = held and holds
        must, words = f">= {mode.met:.0%} at <= {mode.servers:.2f}", "holds" if holds else "DOES NOT HOLD"
        lines.append(f"| {mode.label} | {one.met:.1%} at {one.servers:.3f} | {must} | {mode.aim} | {words} |")
    return [*lines, ""], held


def figures_of(rows: list[dict[str, str]]) -> list[Figures]:
    found = []
    for method in sorted({row["method"] for row in rows}):
        own = [row for row in rows if row["method"] == method]
        kinds = {kind_of(row) for row in own}
        found.append(
            Figures(
                method=method,
                met=fmean(row["met"] == "True" for row in own),
                servers=1.0 + fmean(float(row["k_rel"]) for row in own),
                under=fmean(float(row["k_rel"]) < -0.02 for row in own),
                over=fmean(float(row["k_rel"]) > 0.25 for row in own),
                kinds={kind: fmean(row["met"] == "True" for row in own if kind_of(row) == kind) for kind in kinds},
            )
        )
    return found


def kind_of(row: dict[str, str]) -> str:
    return row["case"].split("/")[1]
