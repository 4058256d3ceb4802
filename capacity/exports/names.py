"""What an exported plan is for: the workload, its metric, and how a plan's own words stand in a file."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from capacity.analysis.plan_records import Floor, PlanResult

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
API_VERSION = re.compile(r"([a-z0-9][-a-z0-9.]*/)?v[0-9][a-z0-9]*")
METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
SERVER = "http://prometheus-server.monitoring.svc:80"


@dataclass(frozen=True)
class Names:
    """A workload of a cluster and the metric its autoscaler follows."""

    namespace: str
    workload: str
    metric: str  # requests running, by the name the source system gives it, e.g. vllm:num_requests_running
    kind: str = "Deployment"
    api_version: str = "apps/v1"
    query: str = ""  # PromQL: requests running of all replicas together; empty: the sum of the metric over the namespace
    server_address: str = SERVER  # of the Prometheus KEDA asks

    def __post_init__(self) -> None:
        checks = (
            ("namespace", self.namespace, LABEL, "lower-case letters, digits and dashes, at most 63"),
            ("workload", self.workload, SUBDOMAIN, "lower-case letters, digits, dashes and dots, at most 253"),
            ("metric", self.metric, METRIC, "the metric's name in Prometheus, such as vllm:num_requests_running"),
            ("kind", self.kind, KIND, "a kind such as Deployment or StatefulSet"),
            ("API version", self.api_version, API_VERSION, "a version such as apps/v1"),
        )
        for what, given, pattern, needed in checks:
            if not pattern.fullmatch(given):
                raise ValueError(f"the {what} {given!r} cannot stand in the file; needed {needed}")
        if not re.fullmatch(r"https?://[^\s]+", self.server_address):
            raise ValueError(f"the address {self.server_address!r} of Prometheus cannot stand in the file; needed http(s)://host")

    @property
    def promql(self) -> str:
        return self.query or f'sum({self.metric}{{namespace="{self.namespace}"}})'


def floor_of(result: PlanResult) -> Floor:
    """The plan's floor; ValueError with the plan's own reason where it has none."""
    if result.floor is None:
        why = result.gaps.get("floor") or "The plan has no floor of replicas."
        raise ValueError(f"There is nothing to export yet. {why}")
    return result.floor


def head(result: PlanResult, *, names: Names, notes: tuple[str, ...]) -> str:
    """Comment lines: where the file comes from, what the backtest said, what to know before it is used."""
    lines = [f"{names.kind} {names.workload} in {names.namespace}. Made by Headroom, {moment(result.made_at)}.", result.headline]
    if result.as_of is not None:
        lines.append(f"Rests on samples up to {moment(result.as_of)}.")
    floor = floor_of(result)
    lines.append(f"A replica takes {floor.startup_seconds:g} s to start ({floor.startup_basis}).")
    return "".join(f"# {' '.join(line.split())}\n" for line in (*lines, *backtest(result), *notes) if line.strip())


def backtest(result: PlanResult) -> list[str]:
    """One line a policy, or why there is no backtest."""
    replayed = result.replayed
    if replayed is None:
        return [f"Not backtested: {result.gaps.get('replayed', 'no past to replay')}"]
    first, last = moment(replayed.start), moment(replayed.end)
    lines = [f"Backtest over {replayed.days:g} days, {first} to {last}; SLO minutes lost and replica-hours:"]
    lines += [
        f"  {policy.label}: {policy.lost_minutes:,.0f} min, {policy.replica_hours:,.0f} replica-hours" for policy in replayed.policies
    ]
    return lines


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def quantity(value: float) -> str:
    """As Kubernetes writes numbers: whole, or in thousandths."""
    if not value > 0:
        raise ValueError(f"needed a target above 0 requests running per replica, got {value}")
    thousandths = max(1, round(value * 1000))
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"


def behavior(floor: Floor) -> dict[str, object]:
    """How fast it scales, as the backtest's loop does: up by 100 % or 4 a minute, down to the highest wish of the window."""
    up = [{"type": "Percent", "value": 100, "periodSeconds": 60}, {"type": "Pods", "value": 4, "periodSeconds": 60}]
    return {
        "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": up},
        "scaleDown": {
            "stabilizationWindowSeconds": min(3600, floor.stabilisation_minutes * 60),
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}],
        },
    }
