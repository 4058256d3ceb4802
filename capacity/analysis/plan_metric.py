"""Which metric an exported autoscaler follows: requests running, by the name the deployment's own server gives it."""

from dataclasses import dataclass

from monitoring.catalog.systems import SYSTEMS
from monitoring.models import Deployment

FOLLOWED = "requests_running"


@dataclass(frozen=True)
class FollowedMetric:
    """`metric` empty: nothing to follow, and `why` says so. `query` is PromQL: requests running of all replicas together."""

    metric: str
    query: str
    why: str = ""


def followed_metric(deployment: Deployment) -> FollowedMetric:
    system = SYSTEMS.get(deployment.system)
    if system is None:
        return FollowedMetric("", "", "Which server runs it is not known, so neither is the metric its autoscaler could follow.")
    series = next((each for each in system.series if each.target == FOLLOWED and each.names), None)
    if series is None:
        why = f"{system.name} does not tell how many requests run, so an autoscaler has nothing to follow."
        return FollowedMetric("", "", f"{why} The JSON has the plan all the same.")
    labels = [f'namespace="{deployment.namespace}"'] if deployment.namespace else []
    labels += [f'{system.model_label}="{deployment.model_name}"'] if system.model_label and deployment.model_name else []
    labels += [series.matchers] if series.matchers else []
    return FollowedMetric(series.names[0], f"sum({series.names[0]}{{{','.join(labels)}}})")
