"""The shipped rules over the demo fleet's 28 days, loaded at five moments: its noise is a function of time, so each is a fresh draw."""

from datetime import UTC, datetime, timedelta

import numpy as np

from bench.timing import progress
from capacity.demo import demo_load, demo_remove
from tests.demo_incidents import INCIDENTS, Verdict, demo_judge
from tests.telemetry import store_clear

FLEETS, DAYS, DEPLOYMENTS = 5, 28, 12
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
A_WEEK_MOST = 1.0


def verdict_of(now: datetime) -> Verdict:
    store_clear()
    demo_load(now=now, days=DAYS)
    try:
        return demo_judge(now=now, days=DAYS)
    finally:
        demo_remove()


def table(seed: int) -> tuple[list[str], bool]:
    seeds = [int(part.generate_state(1)[0]) for part in np.random.SeedSequence(seed).spawn(FLEETS)]
    verdicts = []
    for fresh in seeds:
        now = FIRST + timedelta(minutes=int(np.random.default_rng(fresh).integers(300 * 1440)))
        progress(f"demo fleet of {now:%Y-%m-%d %H:%M}, seed {fresh}")
        verdicts.append(verdict_of(now))
    head = [
        f"The shipped rules over {DAYS} days of the demo fleet ({DEPLOYMENTS} deployments), loaded at {FLEETS} moments (seeds"
        f" {', '.join(map(str, seeds))}). Planted: {'; '.join(incident.words for incident in INCIDENTS)}.",
        "",
        "| loaded at | firings | for something planted | planted ones not paged | false pages | a week | all that was not planted |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows = [row_of(verdict) for verdict in verdicts]
    held = all(one.false_pages_a_week <= A_WEEK_MOST and not one.missed for one in verdicts)
    answer = f"At most {A_WEEK_MOST:g} false page a week, and each planted one paged: {'yes' if held else 'NO'}."
    return [*head, *rows, "", answer, ""], held


def row_of(verdict: Verdict) -> str:
    strange = "; ".join(one.words(verdict.anchor) for one in verdict.strange) or "nothing"
    planted = len(verdict.fired) - len(verdict.strange)
    return (
        f"| {verdict.anchor:%Y-%m-%d %H:%M} | {len(verdict.fired)} | {planted} | {len(verdict.missed)} |"
        f" **{len(verdict.false_pages)}** | {verdict.false_pages_a_week:.2f} | {strange} |"
    )
