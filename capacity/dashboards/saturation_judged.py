"""What was found to limit it, in lines: now and at its peaks, how sure, by which figures against which thresholds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from capacity.analysis.limits import SHOWN_BY
from capacity.analysis.saturation import SURE, compute_or_network, is_fresh, limit_now, saturation_of
from capacity.analysis.saturation_signals import STEP_SECONDS
from capacity.dashboards.pages import Page
from capacity.dashboards.words import moment, span
from capacity.engine.saturation import (
    LABELS,
    NAMES,
    Evidence,
    Limit,
    Verdict,
    limit_words,
    missing_words,
    skew_words,
    threshold_words,
    value_words,
)
from capacity.models import SaturationRun
from monitoring.models import Deployment, WorkloadKind

SIGNS_MOST = 5
IDLE = "Upstream, little arrives"


@dataclass(frozen=True)
class Sign:
    """One figure that speaks for the answer."""

    name: str
    value: str
    threshold: str


@dataclass(frozen=True)
class Line:
    """One part of the window: "Now", "At its peaks"."""

    when: str
    answer: str
    sure: str
    signs: Sequence[Sign]
    rest: str


@dataclass(frozen=True)
class Judged:
    """The stored answer as the page shows it. Without lines: why there is none, in `instead`."""

    answer: str = ""  # one sentence; empty: by the means of the last minutes
    limit: str = ""  # what is at its limit now, as part of a sentence
    columns: Sequence[str] = ()  # the ceilings that show it
    balance: str = ""
    lines: Sequence[Line] = ()
    question: str = ""  # compute or network?
    window: str = ""
    instead: str = ""


def judged(run: SaturationRun | None, deployment: Deployment, *, page: Page) -> Judged:
    if not page.range.live:
        return Judged(instead="What limits it is judged for now only; this is the nearest ceiling by means at the end of the range.")
    if run is None or not is_fresh(run, now=page.now):
        return Judged(instead=instead_words(run, deployment, page=page))
    found = saturation_of(run)
    limit = limit_now(run)
    return Judged(
        answer=answer_words(found.now, found.peaks),
        limit=LABELS[limit] if limit and run.confidence_now >= SURE else "",
        columns=SHOWN_BY[limit] if limit else (),
        balance=skew_words(found.skew) + (f" It is {run.skew_replica}." if found.skew and run.skew_replica else ""),
        lines=[line("Now", found.now), line("At its peaks", found.peaks)],
        question=compute_or_network(found),
        window=window_words(run, page=page),
    )


def instead_words(run: SaturationRun | None, deployment: Deployment, *, page: Page) -> str:
    if deployment.workload_kind != WorkloadKind.SERVING:
        return "Only what serves requests is judged; this is the nearest ceiling by means."
    if run is None:
        return "What limits it is not judged yet, which takes a quarter of an hour at most; this is the nearest ceiling by means."
    ago = span((page.now - run.made_at).total_seconds())
    return f"What limits it was judged {ago} ago, too long to speak of now; this is the nearest ceiling by means."


def answer_words(now: Verdict, peaks: Verdict) -> str:
    """Now first; the peaks where they say something else."""
    text = verdict_answer(now)
    if peaks.limit not in (None, now.limit, Limit.UPSTREAM) and peaks.confidence >= SURE:
        return f"{text} At its peaks {lowered(verdict_answer(peaks))}"
    return text


def verdict_answer(verdict: Verdict) -> str:
    if verdict.cannot_tell:
        return f"Cannot tell: {verdict.cannot_tell}."
    if verdict.limit is None:
        return "Nothing." if verdict.confidence >= SURE else "Nothing, as far as it is measured."
    name = limit_words(verdict)
    if name == IDLE:
        return "Nothing here, little arrives."
    return f"{name}." if verdict.confidence >= SURE else f"Perhaps {lowered(name)}."


def lowered(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def line(when: str, verdict: Verdict) -> Line:
    sure = "" if verdict.cannot_tell else f"{verdict.confidence * 100:.0f} % sure"
    share = f"in {verdict.share * 100:.0f} % of the window" if math.isfinite(verdict.share) else ""
    unseen = f"Not measured: {missing_words(verdict.missing)}." if verdict.missing and not verdict.cannot_tell else ""
    near = [LABELS[each] for each in verdict.beside if each is not verdict.limit]
    beside = f"Near a limit{' too' if verdict.limit else ''}: {', '.join(lowered(name) for name in near)}." if near else ""
    signs = [sign(each) for each in verdict.evidence if math.isfinite(each.value)][:SIGNS_MOST]
    rest = " ".join(part for part in (f"Reached {share}." if share else "", beside, unseen) if part)
    return Line(when, verdict_answer(verdict), sure, signs, rest)


def sign(evidence: Evidence) -> Sign:
    return Sign(NAMES[evidence.name], value_words(evidence.value, evidence.unit), threshold_words(evidence))


def window_words(run: SaturationRun, *, page: Page) -> str:
    """Over which window, at which steps, as of when."""
    as_of = clock(run.as_of, page=page) if run.as_of else "no sample"
    steps = f"{STEP_SECONDS / 60:.0f} min"
    return (
        f"24 h in steps of {steps}, as of {as_of}. Now: the last 15 min; peaks: the tenth of the steps with the most load. "
        f"Judged {clock(run.made_at, page=page)} {page.zone_name}, every 5 to 15 min."
    )


def clock(at: datetime, *, page: Page) -> str:
    return moment(at, now=page.now, zone=page.zone)
