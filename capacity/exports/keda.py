"""A plan as a KEDA ScaledObject: Prometheus for the load, cron for the floor of each hour."""

import math

import yaml

from capacity.analysis.plan_records import Floor, PlanResult
from capacity.exports.names import Names, behavior, floor_of, head
from capacity.exports.windows import Windows, windows_of

FALLBACK_FAILURES = 3  # readings of Prometheus missing in a row
TOLERANCE_FROM = 10  # from so many replicas on, one more lies within the autoscaler's tolerance of 10 %


def keda_yaml(result: PlanResult, *, names: Names) -> str:
    """ValueError with a sentence where the plan has no floor.

    KEDA runs the most that any trigger asks for; outside all windows of cron the least is `minReplicaCount`.
    """
    floor = floor_of(result)
    counts = [max(1, count) for count in floor.replicas]
    windows = windows_of(counts, lead_minutes=math.ceil(floor.startup_seconds / 60.0))
    body = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": names.workload, "namespace": names.namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": names.api_version, "kind": names.kind, "name": names.workload},
            "pollingInterval": 30,
            "minReplicaCount": windows.least,
            "maxReplicaCount": max(floor.most, *counts),
            "fallback": {"failureThreshold": FALLBACK_FAILURES, "replicas": max(counts)},
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior(floor)}},
            "triggers": [load(floor, names=names), *hours(windows)],
        },
    }
    return head(result, names=names, notes=notes(floor, windows=windows, names=names)) + yaml.safe_dump(body, sort_keys=False, width=140)


def load(floor: Floor, *, names: Names) -> dict[str, object]:
    if not floor.running_per_replica > 0:
        raise ValueError(f"needed a target above 0 requests running per replica, got {floor.running_per_replica}")
    metadata = {
        "serverAddress": names.server_address,
        "query": names.promql,
        "threshold": f"{floor.running_per_replica:.3f}".rstrip("0").rstrip("."),
    }
    return {"type": "prometheus", "name": "load", "metricType": "AverageValue", "metadata": metadata}


def hours(windows: Windows) -> list[dict[str, object]]:
    return [
        {
            "type": "cron",
            "name": f"floor-{number}",
            "metadata": {"timezone": "Etc/UTC", "start": window.start, "end": window.end, "desiredReplicas": str(window.replicas)},
        }
        for number, window in enumerate(windows.windows, start=1)
    ]


def notes(floor: Floor, *, windows: Windows, names: Names) -> tuple[str, ...]:
    lines = [
        f"Check serverAddress and the query: {names.promql} must be the requests running in all replicas together.",
        f"Target: {floor.running_per_replica:g} requests running per replica ({floor.target_ratio:.0%} of what one holds).",
        f"Times are UTC; a window starts {math.ceil(floor.startup_seconds / 60.0)} min early, the time a replica takes to start.",
        f"Without readings of Prometheus KEDA keeps {max(1, *floor.replicas)} replicas, the highest floor.",
    ]
    if windows.added_hours > 0:
        lines.append(f"Neighbouring hours are joined to have few triggers: {windows.added_hours:.1f} replica-hours a day over the plan.")
    if max((window.replicas for window in windows.windows), default=0) >= TOLERANCE_FROM:
        lines.append(
            "The autoscaler behind KEDA ignores differences up to its tolerance of 10 %: with 10 running a floor of 11 may not be raised. "
            "Kubernetes 1.33 and later can set tolerance in behavior.scaleUp."
        )
    return tuple(lines)
