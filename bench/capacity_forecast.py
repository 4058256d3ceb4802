"""Part A of `make bench-capacity`: rolling-origin forecasts on real traces, beside peers of the same run."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean

from bench.yardstick import PRODUCT, Yardstick, rows_of

SERIES = (
    "llm_m_large,llm_m_mid,llm_client_large_61,llm_client_large_143,llm_client_mid_60,llm_client_small_5,llm_client_small_27,"
    "genai_image_requests,wc98_before_cup,nasa_jul,nab_elb_requests,nab_tweets_AAPL,nab_rds_cpu_a"
)
NAIVE = "seasonal_naive"
SECONDS_MOST, SECONDS_AIM = 0.5, 0.2


@dataclass(frozen=True)
class Must:
    """What a horizon must reach, and what we aim at."""

    horizon: str
    loss: float  # WQL over that of seasonal naive
    loss_aim: float
    coverage: tuple[float, float] | None = None
    above_99: float | None = None


MUSTS = (Must("1h", 0.52, 0.48), Must("24h", 0.74, 0.70, (0.84, 0.95), 0.04), Must("7d", 0.95, 0.88))


@dataclass(frozen=True)
class Figures:
    """One model over one horizon."""

    model: str
    loss: float
    coverage: float
    above_99: float
    seconds: float  # mean CPU s a forecast, fit and backtest included
    slowest: float
    failed: int
    forecasts: int


def forecasts_run(yardstick: Yardstick, *, table: Path, peers: bool, jobs: int) -> tuple[list[str], bool]:
    """Run it; returns the lines of the report and whether all musts hold."""
    chosen = [] if peers else ["--peers", "none"]
    yardstick.run("bench_forecast.py", "--series", SERIES, "--out", str(table), "--jobs", str(jobs), *chosen)
    rows = rows_of(table)
    lines = [
        "## A. Forecasts",
        "",
        "WQL is relative to seasonal naive on the same task (geometric mean). Seconds are CPU, with fit and backtest.",
        "",
    ]
    held = True
    for must in MUSTS:
        figures = sorted(figures_of(rows, horizon=must.horizon), key=lambda one: one.loss)
        own = next(one for one in figures if one.model == PRODUCT)
        lines += [f"### {must.horizon}: {own.forecasts} forecasts", "", *table_lines(figures), "", *verdict_lines(must, own), ""]
        held = held and must_holds(must, own)
    return lines, held


def figures_of(rows: Sequence[dict[str, str]], *, horizon: str) -> list[Figures]:
    mine = [row for row in rows if row["horizon"] == horizon]
    naive = {(row["series"], row["origin"]): float(row["wql"]) for row in mine if row["model"] == NAIVE}
    return [figures_make(model, [row for row in mine if row["model"] == model], naive) for model in {row["model"] for row in mine}]


def figures_make(model: str, rows: Sequence[dict[str, str]], naive: dict[tuple[str, str], float]) -> Figures:
    ratios = [log(max(float(row["wql"]), 1e-4) / max(naive[row["series"], row["origin"]], 1e-4)) for row in rows]
    seconds = [float(row["seconds"]) for row in rows]
    return Figures(
        model=model,
        loss=exp(fmean(ratios)),
        coverage=fmean(float(row["cover90"]) for row in rows),
        above_99=fmean(float(row["over99"]) for row in rows),
        seconds=fmean(seconds),
        slowest=max(seconds),
        failed=sum(bool(row["error"]) for row in rows),
        forecasts=len(rows),
    )


def table_lines(figures: Sequence[Figures]) -> list[str]:
    head = ["| model | WQL rel. | coverage of 90 % | above q0.99 | CPU s mean | CPU s max | failed |", "|---|---|---|---|---|---|---|"]
    return head + [row_line(one) for one in figures]


def row_line(one: Figures) -> str:
    cells = (f"{one.loss:.3f}", f"{one.coverage:.2f}", f"{one.above_99:.3f}", f"{one.seconds:.3f}", f"{one.slowest:.2f}", f"{one.failed}")
    return f"| {name_of(one)} | {' | '.join(cells)} |"


def name_of(figures: Figures) -> str:
    return f"**{figures.model}**" if figures.model == PRODUCT else figures.model


def checks_of(must: Must, own: Figures) -> list[tuple[str, bool]]:
    checks = [
        (f"WQL {own.loss:.3f}, must {must.loss:g}, aim {must.loss_aim:g}", own.loss <= must.loss),
        (f"CPU {own.seconds:.2f} s a forecast, must {SECONDS_MOST:g}, aim {SECONDS_AIM:g}", own.seconds <= SECONDS_MOST),
        (f"{own.failed} failed, must 0", own.failed == 0),
    ]
    if must.coverage:
        least, most = must.coverage
        checks.append((f"coverage {own.coverage:.3f}, must {least:g} to {most:g}", least <= own.coverage <= most))
    if must.above_99 is not None:
        checks.append((f"above q0.99 {own.above_99:.3f}, must {must.above_99:g}", own.above_99 <= must.above_99))
    return checks


def must_holds(must: Must, own: Figures) -> bool:
    return all(holds for _, holds in checks_of(must, own))


def verdict_lines(must: Must, own: Figures) -> list[str]:
    return [f"- {words}: {'holds' if holds else 'DOES NOT HOLD'}" for words, holds in checks_of(must, own)]
