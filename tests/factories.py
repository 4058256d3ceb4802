"""Plain builders with good defaults. Append; keep each small."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

from django.utils import timezone
from django.utils.text import slugify

from monitoring.models import (
    Accelerator,
    Agent,
    Alert,
    AlertState,
    Cluster,
    Deployment,
    Membership,
    Node,
    Placement,
    PlacementMethod,
    Replica,
    Role,
    Rule,
    Source,
    Team,
    User,
)

NUMBER = count(1)
PASSWORD = "correct horse battery staple"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def make_user(email: str = "", *, password: str | None = None, **fields: Any) -> User:
    """Without a password nobody can sign in by form (Argon2 costs 50 ms); tests use `client.force_login`."""
    return User.objects.create_user(email or f"user{next(NUMBER)}@example.com", password, **fields)


def make_admin(email: str = "", *, password: str | None = None) -> User:
    return User.objects.create_superuser(email or f"admin{next(NUMBER)}@example.com", password)


def make_team(name: str = "", **fields: Any) -> Team:
    name = name or f"Team {next(NUMBER)}"
    return Team.objects.create(name=name, slug=slugify(name), **fields)


def make_member(team: Team, *, role: str = Role.VIEWER, email: str = "") -> User:
    user = make_user(email)
    Membership.objects.create(user=user, team=team, role=role)
    return user


def make_cluster(name: str = "", **fields: Any) -> Cluster:
    return Cluster.objects.create(name=name or f"cluster-{next(NUMBER)}", **fields)


def make_deployment(name: str = "", **fields: Any) -> Deployment:
    name = name or f"model-{next(NUMBER)}"
    fields.setdefault("cluster", None)
    cluster = fields.pop("cluster") or Cluster.objects.get_or_create(name="test")[0]
    return Deployment.objects.create(
        **{"cluster": cluster, "namespace": "prod", "workload": name, "model_name": name, "name": name} | fields
    )


def make_node(name: str = "", *, cluster: Cluster | None = None, **fields: Any) -> Node:
    cluster = cluster or Cluster.objects.get_or_create(name="test")[0]
    return Node.objects.create(cluster=cluster, name=name or f"node-{next(NUMBER)}", **fields)


def make_accelerator(node: Node, **fields: Any) -> Accelerator:
    return Accelerator.objects.create(
        **{"cluster": node.cluster, "node": node, "uuid": f"GPU-{next(NUMBER):08d}", "model_name": "H200"} | fields
    )


def make_agent(name: str = "", *, cluster: Cluster | None = None, **fields: Any) -> Agent:
    """One that was heard of just now."""
    now = timezone.now()
    node = make_node(name, cluster=cluster)
    return Agent.objects.create(**{"node": node, "version": "0.1.0", "last_seen_at": now, "newest_sample_at": now} | fields)


def make_replica(deployment: Deployment, **fields: Any) -> Replica:
    return Replica.objects.create(deployment=deployment, **{"name": f"{deployment.name}-{next(NUMBER)}"} | fields)


def make_placement(replica: Replica, *, accelerator: Accelerator | None = None, node: Node | None = None, **fields: Any) -> Placement:
    defaults = {"share": 1.0, "method": PlacementMethod.POD_LABEL, "valid_from": LONG_AGO}
    return Placement.objects.create(replica=replica, accelerator=accelerator, node=node, **defaults | fields)


def make_source(name: str = "", *, cluster: Cluster | None = None, **fields: Any) -> Source:
    cluster = cluster or Cluster.objects.get_or_create(name="test")[0]
    return Source.objects.create(
        **{"name": name or f"source-{next(NUMBER)}", "url": "http://prometheus.example.com:9090", "cluster": cluster} | fields
    )


def make_rule(name: str = "", **fields: Any) -> Rule:
    return Rule.objects.create(**{"name": name or f"rule-{next(NUMBER)}", "summary": "Too many requests wait"} | fields)


def make_alert(rule: Rule | None = None, **fields: Any) -> Alert:
    """One that fires since long ago."""
    rule = rule or make_rule()
    times = dict.fromkeys(("state_since", "started_at", "fired_at", "known_at", "flipped_at"), LONG_AGO)
    copied = {"rule_name": rule.name, "severity": rule.severity, "summary": rule.summary}
    state = {"identity": f"identity-{next(NUMBER)}", "state": AlertState.FIRING, "fired": True}
    return Alert.objects.create(rule=rule, **times | copied | state | fields)
