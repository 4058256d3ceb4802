"""The finding "runs out": raised while an order is due, ended when it no longer holds."""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal

from capacity.analysis.forecast_missed import labels_of
from capacity.analysis.plan_records import PlanResult, RunOut
from capacity.analysis.plan_texts import date_words, days_between, days_words, minutes_words, money_words, replicas_words
from capacity.engine.grid import DAY_SECONDS
from monitoring.alerts.findings import Finding, alert_raise, alert_resolve
from monitoring.alerts.record import identity_of
from monitoring.models import Alert, Deployment, Severity

RULE = "capacity-runs-out"
NEAR_DAYS = 14.0  # before the day to order
URGENT_DAYS = 1  # today or tomorrow: nothing that is ordered comes in time, so somebody must act at once
URGENT_NOTE = "it runs out within a day now: told anew as critical"


def run_out_tell(deployment: Deployment, result: PlanResult, *, now: datetime) -> Alert | None:
    """Raise it, or end the one before. What cannot be told raises nothing."""
    out = result.run_out
    if out is None or not is_due(out, now=now.timestamp()):
        return alert_resolve(RULE, labels_of(deployment), now=now, note=ended_words(result))
    finding = finding_of(deployment, result, out=out, now=now.timestamp())
    if finding.severity == Severity.CRITICAL and was_warning(finding):
        alert_resolve(RULE, finding.labels, now=now, note=URGENT_NOTE)  # words put into an open alert tell nobody
    return alert_raise(deployment, finding, now=now)


def was_warning(finding: Finding) -> bool:
    rows = Alert.objects.open().filter(identity=identity_of(finding.rule, finding.labels), finding=True)
    return rows.filter(severity=Severity.WARNING).exists()


def run_out_sweep(subjects: Collection[str], *, now: datetime) -> int:
    """End those of deployments that are planned no more. One query while there is none."""
    rows = Alert.objects.open().filter(rule_name=RULE, finding=True, deployment__isnull=False)
    gone = [labels for pk, labels in rows.values_list("deployment_id", "labels") if f"deployment:{pk}" not in subjects]
    for labels in gone:
        alert_resolve(RULE, labels, now=now, note="it is not planned any more")
    return len(gone)


def is_due(out: RunOut, *, now: float) -> bool:
    return out.early_time is not None and out.order_time is not None and out.order_time - now <= NEAR_DAYS * DAY_SECONDS


def ended_words(result: PlanResult) -> str:
    if result.run_out is None:
        return "it cannot be planned any more"
    return "capacity holds for now" if result.run_out.early_time is None else "there is time to order"


def finding_of(deployment: Deployment, result: PlanResult, *, out: RunOut, now: float) -> Finding:
    assert out.early_time is not None and out.order_time is not None
    days = max(0, days_between(out.early_time, now=now))
    when = "today" if days == 0 else f"in {days_words(days)}"
    runs = "may run" if out.median_time is None else "runs"
    median = f", by the median on {date_words(out.median_time)}" if out.median_time is not None else ""
    return Finding(
        rule=RULE,
        labels=labels_of(deployment),
        summary=f"Capacity {runs} out {when} (90 % quantile of demand){median}",  # whose is said before it
        severity=severity_of(out, now=now),
        consequence=consequence_of(result),
        first_action=action_of(result, out=out, now=now),
        value=float(days),
        money=None if result.risk is None or result.risk.cost is None else Decimal(result.risk.cost).quantize(Decimal("0.01")),
        currency=result.cost.currency if result.cost and result.risk and result.risk.cost is not None else "",
    )


def severity_of(out: RunOut, *, now: float) -> str:
    """Critical pages: only where the median runs out today or tomorrow. An order, also a late one, waits for the morning."""
    urgent = out.median_time is not None and days_between(out.median_time, now=now) <= URGENT_DAYS
    return Severity.CRITICAL if urgent else Severity.WARNING


def consequence_of(result: PlanResult) -> str:
    if result.risk is None:
        return ""
    budget = f"; the SLO allows {result.risk.budget_minutes:,.0f}" if result.risk.budget_minutes is not None else ""
    return f"Doing nothing, {minutes_words(result.risk.lost_minutes)} are expected in {days_words(result.horizon_days)}{budget}."


def action_of(result: PlanResult, *, out: RunOut, now: float) -> str:
    count = replicas_words(out.replicas_to_order)
    assert out.order_time is not None
    days = days_between(out.order_time, now=now)
    when = f"now, {days_words(-days)} late" if days < 0 else "today" if days == 0 else f"by {date_words(out.order_time)}"
    words = f"Order {count} {when}; lead time {days_words(out.lead_time_days)}, approval {days_words(out.approval_days)}."
    cost = result.cost
    if cost is not None and cost.hourly_rate is not None:
        words = f"{words} They cost {money_words(out.replicas_to_order * cost.hourly_rate * 730.0, cost.currency)} a month."
    helpless = days < 0 and severity_of(out, now=now) == Severity.CRITICAL
    return f"Take load off it, or give it accelerators of others: what is ordered comes too late. {words}" if helpless else words
