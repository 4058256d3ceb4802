"""A plan as a HorizontalPodAutoscaler (autoscaling/v2)."""

import yaml

from capacity.analysis.plan_records import PlanResult
from capacity.exports.names import Names, behavior, floor_of, head, quantity


def hpa_yaml(result: PlanResult, *, names: Names) -> str:
    """ValueError with a sentence where the plan has no floor.

    An HPA knows one minimum for all hours: the highest of the plan's, so that no hour is below what the plan asks for.
    """
    floor = floor_of(result)
    least = max(1, *floor.replicas)
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": names.workload, "namespace": names.namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": names.api_version, "kind": names.kind, "name": names.workload},
            "minReplicas": least,
            "maxReplicas": max(least, floor.most),
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": names.metric},
                        "target": {"type": "AverageValue", "averageValue": quantity(floor.running_per_replica)},
                    },
                }
            ],
            "behavior": behavior(floor),
        },
    }
    mean = sum(max(1, count) for count in floor.replicas) / len(floor.replicas)
    notes = (
        f"An HPA has one minimum for all hours: {least}, the highest of the plan's floors by hour (mean {mean:.1f}). "
        "The KEDA export keeps the floor of each hour and costs less.",
        f"Needs an adapter that serves {names.metric} of each pod by the custom metrics API, for example prometheus-adapter.",
        f"Target: {floor.running_per_replica:g} requests running per replica ({floor.target_ratio:.0%} of what one holds).",
    )
    return head(result, names=names, notes=notes) + yaml.safe_dump(body, sort_keys=False, width=140)
