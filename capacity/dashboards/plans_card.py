"""The plan on the page of a deployment: how long it holds, what is needed, where the rest stands."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models.fields.json import KT

from capacity.dashboards.plans import state_of
from capacity.dashboards.plans_rows import STALE
from capacity.dashboards.plans_words import amount, date_words, until_words
from capacity.models import PlanRun
from monitoring.models import Deployment, WorkloadKind

COLUMNS = ("made_at", "refusal", "verdict", "headline", "runs_out_on", "runs_out_early_on", "order_by", "replicas_now", "replicas_needed")


@dataclass(frozen=True)
class PlanCard:
    """`facts` are pairs of a word and a fact; without a plan there are none and the headline says when one comes."""

    headline: str
    state: str
    word: str
    now: str
    needed: str
    facts: tuple[tuple[str, str], ...]
    headroom: str
    made_at: datetime | None
    stale: bool


def plan_card(deployment: Deployment, *, now: datetime) -> PlanCard | None:
    """One query, without the long result; None for what does not serve."""
    if deployment.workload_kind != WorkloadKind.SERVING:
        return None
    runs = PlanRun.objects.filter(deployment=deployment, scenario=None)
    found = runs.annotate(held=KT("result__capacity__sentence")).values(*COLUMNS, "held").first()
    if found is None:
        return PlanCard("No plan was made yet; the next night makes one.", "new", "No plan yet", "", "", (), "", None, False)
    state, word, _ = state_of(found, today=now.date())
    out, early, order = found["runs_out_on"], found["runs_out_early_on"], found["order_by"]
    facts = []
    if out is not None:
        facts.append(("Runs out", f"{date_words(out, now=now)}, {until_words((out - now.date()).days)}"))
    if early is not None and early != out:
        facts.append(("In 1 of 10 courses", date_words(early, now=now)))
    if order is not None:
        facts.append(("Order by", f"{date_words(order, now=now)}, {until_words((order - now.date()).days)}"))
    return PlanCard(
        headline=found["refusal"] or found["headline"] or "",
        state=state,
        word=word,
        now="" if found["replicas_now"] is None else amount(found["replicas_now"]),
        needed="" if found["replicas_needed"] is None else amount(found["replicas_needed"]),
        facts=tuple(facts),
        headroom=found["held"] or "",
        made_at=found["made_at"],
        stale=now - found["made_at"] > STALE,
    )
