"""Demand above what was foreseen: for 30 minutes above the 99 % quantile that was forecast before those minutes began."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from capacity.analysis.forecast_series import DAY_SECONDS, DEMAND, Floats, Window, series_load, window_until
from capacity.analysis.words import percent_words, trimmed
from capacity.models import ForecastRun, Horizon
from monitoring.alerts.findings import Finding, alert_raise, alert_resolve
from monitoring.catalog.records import Entity
from monitoring.models import Alert, Deployment, DeploymentState, Severity

RULE = "forecast-missed"
STEP, STEPS = 300.0, 6  # 30 minutes
REQUESTS_LEAST = 30.0  # in those minutes: below that a few more are no surge
CALM_STEPS = 3  # of the six at or below the quantile: it is over
CONSEQUENCE = "What was planned for the forecast is too small: waiting times grow if the autoscaler does not follow."
ACTION = "Open the deployment: a launch, a new customer, or callers that try again? Add replicas, and enter it as an event if it will last."


def forecasts_missed(*, now: datetime) -> str:
    """Raise and end the alerts of all deployments. Four queries while all is well, however many; one line, empty when nothing changed."""
    window = window_until(now, days=STEPS * STEP / DAY_SECONDS, step=STEP)
    runs = ForecastRun.objects.filter(quantity=DEMAND, horizon=Horizon.HOUR, deployment__state=DeploymentState.ACTIVE)
    said = {pk: told for pk, told in runs.values_list("deployment_id", "said") if pk is not None and told}
    came = series_load(Entity.DEPLOYMENT, sorted(said), (DEMAND,), window=window)
    opened = {pk: dict(labels) for pk, labels in open_alerts()}
    over = {pk: found for pk, told in said.items() if (found := steps_over(told, came[pk][DEMAND], window=window)) is not None}
    surged = [pk for pk, (above, rate, _) in over.items() if above == STEPS and rate * STEPS * STEP >= REQUESTS_LEAST]
    calm = [pk for pk in opened if pk not in said or (pk in over and over[pk][0] <= STEPS - CALM_STEPS)]
    for deployment in Deployment.objects.filter(pk__in=surged).select_related("cluster", "team"):
        _, rate, quantile = over[deployment.pk]
        labels = opened.get(deployment.pk) or labels_of(deployment)
        alert_raise(deployment, finding_of(labels, rate=rate, quantile=quantile), now=now)
    for pk in calm:
        alert_resolve(
            RULE, opened[pk], now=now, note="demand is within its forecast again" if pk in said else "it is not forecast any more"
        )
    fresh, ended = len(set(surged) - set(opened)), len(calm)
    return f"{fresh} forecasts missed, {ended} held again" if fresh or ended else ""


def open_alerts() -> list[tuple[int, dict[str, str]]]:
    rows = Alert.objects.open().filter(rule_name=RULE, finding=True, deployment__isnull=False)
    return [(pk, labels) for pk, labels in rows.values_list("deployment_id", "labels") if pk is not None]


def steps_over(said: Mapping[str, Any], came: Floats, *, window: Window) -> tuple[int, float, float] | None:
    """How many of the steps were above their 99 % quantile, the mean rate and the mean quantile; None where something is not known."""
    first = round((window.start - said["start"]) / window.step)
    told = np.asarray(said["p99"][first : first + window.size] if first >= 0 else [], dtype=np.float64)
    if said["step"] != window.step or told.size < window.size or not np.isfinite(came).all():
        return None
    return int((came > told).sum()), float(came.mean()), float(told.mean())


def labels_of(deployment: Deployment) -> dict[str, str]:
    """As rules of deployments name them."""
    return {
        "deployment": deployment.name,
        "cluster": deployment.cluster.name,
        "namespace": deployment.namespace,
        "workload": deployment.workload,
        "model": deployment.model_name,
        "environment": deployment.environment,
        "team": deployment.team.slug if deployment.team else "",
    }


def finding_of(labels: Mapping[str, str], *, rate: float, quantile: float) -> Finding:
    more = percent_words(rate / quantile - 1) + " above" if quantile > 0 else "above"
    compared = f"{trimmed(rate, decimals=2)} req/s, {more} the {trimmed(quantile, decimals=2)} req/s that only 1 % of forecasts exceed"
    return Finding(
        rule=RULE,
        labels=labels,
        summary="Forecast missed: demand above its 99 % quantile for 30 min",
        severity=Severity.WARNING,
        consequence=f"{compared}. {CONSEQUENCE}",
        first_action=ACTION,
        value=rate,
    )
