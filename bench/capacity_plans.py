"""Part B of `make bench-capacity`: plans for the next day replayed request by request, beside peers of the same run."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from bench.yardstick import PRODUCT, Yardstick, rows_of

SERIES = (
    "llm_m_large,llm_client_large_61,llm_client_mid_60,llm_client_small_5,genai_image_requests,wc98_before_cup,nasa_jul,nab_elb_requests"
)
# --fast: what people run today, and the best peer of each kind.
FEW_PEERS = "hpa_util70,krr_p95_plus15,static_peak_7d,lgbm_q90_hayward+keda60,arima_q99_hayward"
BROKEN_WEIGHT = 10.0  # one per cent of broken minutes weighs as much as ten per cent of the bill
MUSTS = ((f"{PRODUCT}+keda", "floor under a reactive autoscaler", 1.34, 1.25), (PRODUCT, "day-ahead plan alone", 2.0, 1.75))


@dataclass(frozen=True)
class Figures:
    """One policy over all series."""

    policy: str
    cost: float  # mean over the series of its replica-hours against the clairvoyant plan's
    broken: float  # mean share of minutes broken
    worst: float  # of a series
    seconds: float  # median, one plan

    @property
    def score(self) -> float:
        return self.cost + BROKEN_WEIGHT * self.broken


def plans_run(yardstick: Yardstick, *, table: Path, peers: bool, jobs: int) -> tuple[list[str], bool]:
    """Run it; returns the lines of the report and whether all musts hold. `jobs` is not used: one series after the other."""
    chosen = [] if peers else ["--policies", FEW_PEERS]
    yardstick.run("bench_capacity.py", "--series", SERIES, "--requests", "azure23_conv", "--days", "3", "--out", str(table), *chosen)
    figures = sorted(figures_of(rows_of(table)), key=lambda one: one.score)
    lines = [
        "## B. Plans for the next day",
        "",
        "Eight series, their last three days; every plan is made at midnight from the past. Score = cost + 10 x share of minutes broken.",
        "",
        "| policy | cost vs. clairvoyant | minutes broken | worst series | score | s a plan |",
        "|---|---|---|---|---|---|",
        *(f"| {f.policy} | {f.cost:.2f} | {f.broken:.2%} | {f.worst:.1%} | {f.score:.2f} | {f.seconds:.2f} |" for f in figures),
        "",
        "| must | measured | must | aim | |",
        "|---|---|---|---|---|",
    ]
    scores, held = {f.policy: f.score for f in figures}, True
    for policy, meaning, most, aim in MUSTS:
        holds = scores[policy] <= most
        held = held and holds
        lines.append(f"| {meaning}, score | {scores[policy]:.2f} | <= {most} | {aim} | {'holds' if holds else 'DOES NOT HOLD'} |")
    return [*lines, ""], held


def figures_of(rows: Iterable[dict[str, str]]) -> list[Figures]:
    table = list(rows)
    series = sorted({row["series"] for row in table})
    clairvoyant = {name: total(table, policy="oracle", series=name, column="cost") for name in series}
    found = []
    for policy in sorted({row["policy"] for row in table}):
        costs = [total(table, policy=policy, series=name, column="cost") / clairvoyant[name] for name in series]
        broken = [
            total(table, policy=policy, series=name, column="bad") / total(table, policy=policy, series=name, column="minutes")
            for name in series
        ]
        seconds = median(float(row["seconds"]) for row in table if row["policy"] == policy)
        found.append(Figures(policy, cost=fmean(costs), broken=fmean(broken), worst=max(broken), seconds=seconds))
    return found


def total(table: list[dict[str, str]], *, policy: str, series: str, column: str) -> float:
    return sum(float(row[column]) for row in table if row["policy"] == policy and row["series"] == series)
