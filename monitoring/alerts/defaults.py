"""The rules Headroom ships, as records. They are made once; what an install changes in them stays as it was changed."""

from typing import Any

from monitoring.models import Rule

CRITICAL, WARNING = "critical", "warning"
HOUR = 3600
SLO = {"entity": "deployment", "keep_firing_seconds": 300}
LATENCY_CONSEQUENCE = "Users wait longer than promised; at this rate the promise of the whole window is broken before it ends."
LATENCY_ACTION = "Open the deployment: did requests, prompt length or the version change? Add a replica, or roll the version back."
ERROR_CONSEQUENCE = "Requests fail more often than promised; at this rate the promise of the whole window is broken before it ends."
ERROR_ACTION = "Open the deployment: is it one version or one replica? Roll back or restart it, then read the server's log."


def burn_rules(family: str, signal: str, *, what: str, consequence: str, action: str) -> list[dict[str, Any]]:
    """Three speeds: 2 % of a 28-day allowance in an hour, 5 % in six hours, 10 % in a day."""
    speeds = (("fast", HOUR, 14.4, CRITICAL, 0), ("medium", 6 * HOUR, 6.0, CRITICAL, 0), ("slow", 24 * HOUR, 3.0, WARNING, 900))
    return [
        SLO
        | {
            "name": f"{family}-{speed}",
            "family": family,
            "signal": signal,
            "window_seconds": window,
            "threshold": rate,
            "for_seconds": waits,
            "severity": severity,
            "summary": f"{what} {rate:g} times as fast as promised",
            "consequence": consequence,
            "first_action": action,
        }
        for speed, window, rate, severity, waits in speeds
    ]


DEFAULTS: tuple[dict[str, Any], ...] = (
    *burn_rules(
        "slo-latency",
        "slo_latency_burn",
        what="Latency allowance is spent",
        consequence=LATENCY_CONSEQUENCE,
        action=LATENCY_ACTION,
    ),
    *burn_rules("slo-errors", "slo_error_burn", what="Error allowance is spent", consequence=ERROR_CONSEQUENCE, action=ERROR_ACTION),
    {
        "name": "queue-growth",
        "entity": "deployment",
        "signal": "queue_growth",
        "window_seconds": 1200,
        "threshold": 5.0,
        "for_seconds": 900,
        "severity": WARNING,
        "summary": "The queue keeps growing",
        "consequence": "More arrives than is served: waiting times grow until callers give up.",
        "first_action": "Add a replica, or send less; look whether one replica stopped answering.",
    },
    {
        "name": "kv-cache-full",
        "entity": "deployment",
        "signal": "kv_cache_usage_ratio",
        "window_seconds": 300,
        "threshold": 0.95,
        "for_seconds": 900,
        "severity": WARNING,
        "summary": "The KV cache is full",
        "consequence": "Requests are pushed out and computed again: throughput falls while the GPU looks busy.",
        "first_action": "Add a replica, shorten the longest contexts, or give the cache more memory.",
    },
    {
        "name": "replica-skew",
        "entity": "deployment",
        "signal": "replica_skew",
        "window_seconds": 900,
        "threshold": 1.5,
        "for_seconds": 900,
        "severity": WARNING,
        "summary": "One replica works much more than the others",
        "consequence": "Its callers wait while the others have room: the fleet looks too small and is not.",
        "first_action": "Balance first: is it the router's policy, sticky sessions, or one sick replica? Only then add replicas.",
    },
    {
        "name": "deployment-silent",
        "entity": "deployment",
        "signal": "deployment_silent_seconds",
        "threshold": 1800.0,
        "for_seconds": 0,
        "keep_firing_seconds": 0,
        "severity": WARNING,
        "summary": "No source tells of the deployment any more",
        "consequence": "It is down, or no longer scraped: none of its other rules can fire.",
        "first_action": "Does it run? Then look at its target in Prometheus. If it was taken away on purpose, archive it.",
    },
    {
        "name": "gpu-throttled-by-heat",
        "entity": "accelerator",
        "signal": "throttle_thermal_ratio",
        "window_seconds": 600,
        "threshold": 0.1,
        "for_seconds": 900,
        "severity": WARNING,
        "summary": "A GPU is slowed down by heat",
        "consequence": "It serves less than it is paid for, and may shut down.",
        "first_action": "Check fans, inlet temperature and neighbours of the node.",
    },
    {
        "name": "gpu-throttled-by-power",
        "entity": "accelerator",
        "signal": "throttle_power_ratio",
        "window_seconds": 600,
        "threshold": 0.9,
        "for_seconds": 1800,
        "severity": "info",
        "summary": "A GPU runs at its power limit",
        "consequence": "Its clocks are lowered; often wanted, but it caps what the deployment can serve.",
        "first_action": "Compare the power limit with that of its neighbours.",
    },
    {
        "name": "gpu-memory-errors",
        "entity": "accelerator",
        "signal": "ecc_errors_new",
        "window_seconds": 900,
        "threshold": 0.0,
        "for_seconds": 0,
        "keep_firing_seconds": HOUR,
        "severity": CRITICAL,
        "summary": "A GPU has uncorrected memory errors",
        "consequence": "Answers computed there may be wrong, and the next error can end its server.",
        "first_action": "Drain the GPU, reset it, and ask for its replacement if they come back.",
    },
    {
        "name": "gpu-xid",
        "entity": "accelerator",
        "signal": "xid_changed",
        "window_seconds": 900,
        "threshold": 0.0,
        "for_seconds": 0,
        "keep_firing_seconds": HOUR,
        "severity": WARNING,
        "summary": "A GPU reported a new Xid error",
        "consequence": "Its process may have died or hang.",
        "first_action": "Read the code on the accelerator's page and the kernel log of the node.",
    },
    {
        "name": "agent-silent",
        "entity": "agent",
        "signal": "agent_silent_seconds",
        "threshold": 900.0,
        "for_seconds": 0,
        "keep_firing_seconds": 0,
        "severity": WARNING,
        "summary": "An agent is silent",
        "consequence": "Its node and GPUs are not seen; the node may be down.",
        "first_action": "Is the node up? Then: systemctl status headroom-agent.",
    },
    {
        "name": "source-silent",
        "entity": "source",
        "signal": "source_silent_seconds",
        "threshold": 900.0,
        "for_seconds": 0,
        "keep_firing_seconds": 0,
        "severity": CRITICAL,
        "summary": "A source gives nothing new",
        "consequence": "No deployment of its cluster is watched; their alerts stand still.",
        "first_action": "Press Test on the source's page and follow its sentence.",
    },
    {
        "name": "clock-skew",
        "entity": "agent",
        "signal": "clock_skew_seconds",
        "threshold": 60.0,
        "for_seconds": 900,
        "severity": WARNING,
        "summary": "The clock of a node is off",
        "consequence": "Its samples stand at the wrong time, or are refused.",
        "first_action": "Start time synchronisation (chrony or systemd-timesyncd) on the node.",
    },
)


def rules_ship(known: set[str]) -> int:
    """Make the shipped rules whose names are not known; how many."""
    missing = [Rule(shipped=True, **fields) for fields in DEFAULTS if fields["name"] not in known]
    return len(Rule.objects.bulk_create(missing, ignore_conflicts=True)) if missing else 0
