"""`make bench-saturation`: the engine's answers on planted fleets whose truth was found by experiment."""

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.saturation_fleet import Observed, Telemetry, fleet_make
from bench.saturation_world import LIMITS, NOTHING
from capacity.engine.saturation import Saturation, Signals, Verdict, saturation_find, verdict_words

REPORT = Path(__file__).resolve().parents[1] / "docs" / "measured" / "bench-saturation.md"
UNTOLD = "cannot_tell"
RIGHT_LEAST, WRONG_MOST = 0.90, 0.02
CONFIDENT = 0.7
SHORT = {
    "queue": "queue",
    "compute": "comp",
    "memory_bandwidth": "bandw",
    "kv_cache": "kv",
    "accelerator_memory": "mem",
    "throttling": "throt",
    "cpu": "cpu",
    "network": "net",
    "upstream": "upstr",
    NOTHING: "none",
    UNTOLD: "untold",
}


@dataclass(frozen=True)
class Judged:
    observed: Observed
    answer: Saturation

    @property
    def expected(self) -> str:
        return UNTOLD if self.observed.removed else self.observed.truth

    @property
    def said(self) -> str:
        return said(self.answer.peaks)

    @property
    def right(self) -> bool:
        return self.said == self.expected

    @property
    def confidently_wrong(self) -> bool:
        """Named, surely, and not so. Naming the true limit where its deciding signal is gone is not wrong, only not asked for."""
        return self.said not in (self.observed.truth, UNTOLD) and self.answer.peaks.confidence >= CONFIDENT


def said(verdict: Verdict) -> str:
    if verdict.cannot_tell:
        return UNTOLD
    return verdict.limit.value if verdict.limit else NOTHING


def signals_of(telemetry: Telemetry) -> Signals:
    return Signals(
        telemetry.step_seconds,
        link_bytes_per_second=telemetry.link_bytes_per_second,
        replica_running=telemetry.replica_running,
        **telemetry.columns,
    )


def fleet_judge(fleet: Sequence[Observed]) -> list[Judged]:
    return [Judged(observed, saturation_find(signals_of(observed.telemetry))) for observed in fleet]


@dataclass(frozen=True)
class Score:
    """What is counted of one seed. The nine limits are the must; healthy deployments stand beside."""

    cases: int
    right: int
    confidently_wrong: int
    untold_cases: int
    untold_right: int
    healthy: int
    healthy_right: int
    healthy_confidently_wrong: int
    now_cases: int
    now_right: int

    @property
    def held(self) -> bool:
        """Both shares hold with and without the healthy ones."""
        everything, good = self.cases + self.healthy, self.right + self.healthy_right
        bad = self.confidently_wrong + self.healthy_confidently_wrong
        return (
            self.right >= RIGHT_LEAST * self.cases
            and self.confidently_wrong <= WRONG_MOST * self.cases
            and good >= RIGHT_LEAST * everything
            and bad <= WRONG_MOST * everything
        )


def score_of(judged: Sequence[Judged]) -> Score:
    limited = [each for each in judged if each.observed.truth != NOTHING]
    healthy = [each for each in judged if each.observed.truth == NOTHING]
    removed = [each for each in limited if each.observed.removed]
    # The last minutes stand at the peak in these.
    now = [each for each in limited if each.observed.ends_at_peak and not each.observed.removed]
    return Score(
        len(limited),
        sum(each.right for each in limited),
        sum(each.confidently_wrong for each in limited),
        len(removed),
        sum(each.right for each in removed),
        len(healthy),
        sum(each.right for each in healthy),
        sum(each.confidently_wrong for each in healthy),
        len(now),
        sum(said(each.answer.now) == each.expected for each in now),
    )


def score_lines(scores: dict[int, Score]) -> list[str]:
    lines = [
        "| seed | right | confidently wrong | cannot tell, where it cannot | healthy: right | healthy: confidently wrong "
        "| now, where now is the peak | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for seed, s in scores.items():
        cells = (
            f"{s.right} of {s.cases} = {s.right / s.cases:.1%}",
            f"{s.confidently_wrong} = {s.confidently_wrong / s.cases:.1%}",
            f"{s.untold_right} of {s.untold_cases}",
            f"{s.healthy_right} of {s.healthy}",
            str(s.healthy_confidently_wrong),
            f"{s.now_right} of {s.now_cases}",
            "yes" if s.held else "NO",
        )
        lines.append(f"| {seed} | " + " | ".join(cells) + " |")
    return lines


def confusion_lines(judged: Sequence[Judged], *, removed: bool) -> list[str]:
    answers = (*LIMITS, NOTHING, UNTOLD)
    counts = Counter((each.observed.truth, each.said) for each in judged if bool(each.observed.removed) == removed)
    lines = ["| truth | " + " | ".join(SHORT[name] for name in answers) + " |", "|---|" + "---|" * len(answers)]
    for truth in (*LIMITS, NOTHING):
        if any(counts[truth, name] for name in answers):
            lines.append(f"| {truth} | " + " | ".join(str(counts[truth, name] or "") for name in answers) + " |")
    return lines


def mistakes(judged: Sequence[Judged]) -> list[str]:
    out = []
    for each in judged:
        if not each.right:
            case = each.observed.planted.case
            mark = "!" if each.confidently_wrong else " "
            lacks = ", ".join((*each.observed.removed, *each.observed.beside))
            what = (
                f"{each.observed.truth}{' (removed)' if each.observed.removed else ''}, without [{lacks}], {case.kind} on {case.card.name}"
            )
            out.append(f"{mark} {what}: {verdict_words(each.answer.peaks)}")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.saturation")
    parser.add_argument("--seeds", default="", help="comma-separated; without: five fresh ones, printed")
    parser.add_argument("--cases", type=int, default=20, help="of each limit; three in ten lack what decides")
    parser.add_argument("--mistakes", action="store_true", help="print each answer that is not right")
    parser.add_argument("--write", action="store_true", help=f"keep the tables in docs/measured/{REPORT.name}")
    options = parser.parse_args()
    seeds = (
        [int(seed) for seed in options.seeds.split(",")]
        if options.seeds
        else [int(s) for s in np.random.default_rng().integers(1000, 10**6, 5)]
    )
    began, scores, judged = time.monotonic(), {}, []
    removed = round(options.cases * 0.3)
    for seed in seeds:
        part = fleet_judge(fleet_make(seed, seen=options.cases - removed, removed=removed))
        scores[seed] = score_of(part)
        judged += part
        print(score_lines({seed: scores[seed]})[-1], f"{time.monotonic() - began:.0f} s", flush=True)
        if options.mistakes:
            print("\n".join(mistakes(part)), flush=True)
    text = "\n".join(report(seeds, scores, judged))
    print(text)
    if options.write:
        REPORT.write_text(text + "\n")
    held = all(score.held for score in scores.values())
    print("All musts hold." if held else "A MUST DOES NOT HOLD.")
    return 0 if held else 1


def report(seeds: Sequence[int], scores: dict[int, Score], judged: Sequence[Judged]) -> list[str]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return [
        "# Saturation on planted fleets",
        "",
        f"`make bench-saturation` on {datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, seeds {', '.join(map(str, seeds))}.",
        "",
        f"Must, for each seed: right in {RIGHT_LEAST:.0%} of the cases, confidently wrong (wrong at {CONFIDENT:.0%} confidence or more)",
        f"in at most {WRONG_MOST:.0%}.",
        "Each deployment is simulated request by request. What limits it was found by experiment: each resource in turn was made",
        "1.6 times as large, and the throughput counted. Where what decides was taken away, only `cannot tell` is right.",
        "",
        *score_lines(scores),
        "",
        "All that decides is measured (all seeds together; rows: truth, columns: answer):",
        "",
        *confusion_lines(judged, removed=False),
        "",
        "What decides was taken away:",
        "",
        *confusion_lines(judged, removed=True),
    ]


if __name__ == "__main__":
    sys.exit(main())
