"""Two teams that must not see each other, everything they own, and everybody who may knock."""

import json
from dataclasses import dataclass
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from capacity.models import (
    CurrencyRate,
    DeploymentStatus,
    ForecastRun,
    PlannedEvent,
    PlanRun,
    PlanSettings,
    Price,
    SaturationRun,
    Scenario,
    SupplyOrder,
    Verdict,
)
from capacity.models import (
    Scope as Subject,
)
from monitoring.access import audit, invite_create, key_create, secret_encrypt
from monitoring.models import (
    AcceleratorProcess,
    Agent,
    AgentGap,
    Alert,
    AlertTransition,
    AllowedAddress,
    Channel,
    Deployment,
    Event,
    ImportRun,
    Membership,
    Notification,
    Role,
    Scope,
    Silence,
    Slo,
    Source,
    Team,
    TeamRule,
    User,
    Version,
)
from tests.factories import (
    make_accelerator,
    make_admin,
    make_alert,
    make_cluster,
    make_deployment,
    make_member,
    make_node,
    make_placement,
    make_replica,
    make_rule,
    make_source,
    make_team,
)

OWN, RIVAL, INSTALL = "zqown", "zqrival", "zqinstall"
SECRET = "zqsecret-of-the-source-1234"
CHANNEL_SECRET = "zqsecret-of-the-channel-5678"
# Ids nobody else has, so that they can be looked for in a body.
OWN_IDS, RIVAL_IDS, INSTALL_IDS = 710_000_000, 820_000_000, 930_000_000
PEOPLE = ("foreign viewer", "foreign editor", "foreign admin", "own viewer", "own editor", "own admin", "root")
KEYS = ("ingest key", "foreign ro key", "foreign rw key", "own ro key", "own rw key", "install ro key", "install rw key")
ROLES = ("nobody", *PEOPLE, *KEYS)


@dataclass(frozen=True)
class Side:
    """A team with one of everything."""

    team: Team
    ids: dict[str, int]
    people: dict[str, User]


class World:
    """Built once; each knock is rolled back by the test."""

    def __init__(self) -> None:
        self.cluster = make_cluster("shared-cluster")
        self.node = make_node("shared-node", cluster=self.cluster)
        self.gpu = make_accelerator(self.node, uuid="GPU-shared")
        uuids = ("GPU-shared", f"GPU-{OWN}", f"GPU-{RIVAL}")
        told = {f"{uuid} rows_remapping_failed": 1.0 for uuid in uuids}
        Agent.objects.create(node=self.node, host=told, capabilities={uuid: {"nvmlGpmSampleGet": f"{uuid} cannot"} for uuid in uuids})
        self.root = make_admin("root@example.com")  # pages that refuse name the admins on purpose
        self.own = self.side(OWN, OWN_IDS)
        self.rival = self.side(RIVAL, RIVAL_IDS)
        self.ids = self.own.ids | self.install(self.own.team)
        self.doors = {"nobody": Door()} | self.person_doors() | self.key_doors()

    def side(self, word: str, first: int) -> Side:
        team = make_team(f"{word}-team", pk=first + 1)
        deployment = make_deployment(f"{word}-model", pk=first + 2, team=team, cluster=self.cluster, namespace=f"{word}-space")
        version = Version.objects.create(pk=first + 3, deployment=deployment, name=f"{word}-version")
        node = make_node(f"{word}-node", cluster=self.cluster, pk=first + 4)
        gpu = make_accelerator(node, pk=first + 5, uuid=f"GPU-{word}")
        now = timezone.now()
        replica = make_replica(deployment, pk=first + 6, name=f"{word}-replica", version=version, node=node, last_seen_at=now)
        make_placement(replica, accelerator=gpu)
        shared = make_replica(deployment, name=f"{word}-replica-2", version=version, node=self.node, last_seen_at=now)
        make_placement(shared, accelerator=self.gpu, share=0.5)
        DeploymentStatus.objects.create(
            deployment=deployment, verdict=Verdict.BREAKS, text=f"{word}-text", since=now, requests_per_second=1
        )
        Slo.objects.create(deployment=deployment, latency=1, threshold_seconds=0.5)
        agent = Agent.objects.create(
            pk=first + 8, node=node, trouble=f"{word}-trouble", rejected_count=1, rejected_text=f"{INSTALL}-refusal", host={"kernel": word}
        )
        AgentGap.objects.create(agent=agent, count=4, start_at=now - timedelta(hours=2), end_at=now - timedelta(hours=1))
        for accelerator, name in ((gpu, f"{word}-program"), (self.gpu, f"{word}-shared-program")):
            AcceleratorProcess.objects.create(
                accelerator=accelerator, pid=first + 9, started_at=now - timedelta(days=1), name=name, model_name=f"{word}-model"
            )
        Event.objects.create(
            kind="incident", at=now - timedelta(hours=1), title=f"{word}-xid", dedup_key=f"xid {gpu.pk} 79",
            detail={"accelerator": gpu.uuid, "code": 79, "node_id": node.pk},
        )  # fmt: skip
        event = Event.objects.create(
            pk=first + 7, deployment=deployment, kind="note", at=now - timedelta(hours=1), title=f"{word}-event", dedup_key=f"hand {word}"
        )
        people = {role: make_member(team, role=role, email=f"{word}-{role}@example.com") for role in Role.values}
        invite, _ = invite_create(f"{word}-guest@example.com", invited_by=people["admin"], team=team)
        key, _ = key_create(f"{word}-key", scope=Scope.READ, created_by=people["admin"], team=team)
        audit(f"{word}-editor@example.com", "deployment.change", f"deployment {word}-model")
        told = self.alerts_of(word, first, deployment)
        price = Price.objects.create(
            pk=first + 30, kind="node", name=node.name, node=node, hourly_rate=1, valid_from=now.date(), source=f"{word}-contract"
        )
        told["price"] = price.pk
        ids = {"team": team.pk, "deployment": deployment.pk, "accelerator": gpu.pk, "node": node.pk, "event": event.pk, "agent": agent.pk}
        told |= self.plans_of(word, first, deployment)
        membership = Membership.objects.get(team=team, role=Role.VIEWER)
        return Side(team, ids | told | {"membership": membership.pk, "invite": invite.pk, "key": key.pk}, people)

    def plans_of(self, word: str, first: int, deployment: Deployment) -> dict[str, int]:
        """A forecast, what limits it, what people set, a scenario with its event, and the plans of both."""
        now = timezone.now()
        ForecastRun.objects.create(deployment=deployment, quantity="requests_per_second", horizon="day", refusal=f"{word}-refusal")
        SaturationRun.objects.create(deployment=deployment, window_start=now, window_end=now, sentence=f"{word}-sentence")
        PlanSettings.objects.create(deployment=deployment, slots=first, set_by=f"{word}-setter")
        scenario = Scenario.objects.create(pk=first + 40, name=f"{word}-scenario", deployment=deployment)
        event = PlannedEvent.objects.create(pk=first + 41, deployment=deployment, name=f"{word}-launch", start_at=now, factor=2)
        PlannedEvent.objects.create(pk=first + 42, scenario=scenario, name=f"{word}-customer", start_at=now, factor=2)
        PlanRun.objects.create(pk=first + 43, deployment=deployment, refusal=f"{word}-unplanned")
        PlanRun.objects.create(pk=first + 44, scenario=scenario, refusal=f"{word}-unplanned")
        return {"scenario": scenario.pk, "planned_event": event.pk}

    def alerts_of(self, word: str, first: int, deployment: Deployment) -> dict[str, int]:
        """An alert with what it went through, its rule, a silence, a channel and what that was told."""
        now, team = timezone.now(), deployment.team
        rule = make_rule(f"{word}-rule", pk=first + 20, team=team, signal="requests_waiting", summary=f"{word}-summary")
        labels = {"deployment": deployment.name, "team": f"{word}-team"}
        alert = make_alert(rule, pk=first + 21, deployment=deployment, team=team, labels=labels, step_number=1)
        AlertTransition.objects.create(alert=alert, number=1, at=now, from_state="ok", to_state="firing", note=f"{word}-note")
        silence = Silence.objects.create(
            pk=first + 22,
            team=team,
            matchers={"deployment": deployment.name},
            start_at=now - timedelta(hours=2),
            end_at=now + timedelta(hours=1),
        )
        channel = Channel.objects.create(
            pk=first + 23,
            team=team,
            name=f"{word}-channel",
            kind="email",
            options={"to": [f"{word}-ops@example.com"]},
            owner=f"{word}-own@example.com",
        )
        sent = Notification.objects.create(
            pk=first + 24, alert=alert, channel=channel, edge="fire", edge_number=1, dedup_key=f"{word}-key", state="dead", run_after=now,
            created_at=now, last_error=f"{word}-error",
        )  # fmt: skip
        return {"alert": alert.pk, "alert_rule": rule.pk, "silence": silence.pk, "channel": channel.pk, "delivery": sent.pk}

    def install(self, team: Team) -> dict[str, int]:
        source = make_source(
            "prod-eu",  # its name is on Status for everybody; address, state and secret are not
            pk=INSTALL_IDS + 1,
            url=f"http://{INSTALL}.example.com:9090",
            cluster=self.cluster,
            secret=secret_encrypt(SECRET),
        )
        Source.objects.filter(pk=source.pk).update(
            auth="bearer", state_text=f"{INSTALL}-state", next_poll_at=timezone.now() + timedelta(days=1)
        )
        run = ImportRun.objects.create(pk=INSTALL_IDS + 2, source=source, days=1, end_at=timezone.now())
        rule = TeamRule.objects.create(pk=INSTALL_IDS + 3, position=1, namespace=f"{INSTALL}-*", team=team)
        allowed = AllowedAddress.objects.create(pk=INSTALL_IDS + 4, network="10.99.0.0/16", reason=f"{INSTALL}-reason")
        make_deployment(f"{INSTALL}-unassigned", pk=INSTALL_IDS + 5, cluster=self.cluster)
        self.install_alerts(team)
        rate = CurrencyRate.objects.create(currency="EUR", into="CHF", rate=1, valid_from=timezone.now().date())
        self.install_plans()
        order = SupplyOrder.objects.create(
            cluster=self.cluster, accelerator_model="H200", accelerators=8
        )  # seen by who has something there
        return {"supply_order": order.pk, "rate": rate.pk, "source": source.pk, "import": run.pk, "rule": rule.pk, "allowed": allowed.pk}

    def install_plans(self) -> None:
        """About more than one team: a group of both, a cluster that both share, and hardware where neither has anything."""
        elsewhere = make_cluster(f"{INSTALL}-cluster")
        SupplyOrder.objects.create(cluster=elsewhere, accelerator_model="H200", accelerators=8, note=f"{INSTALL}-order")
        group = Scenario.objects.create(pk=INSTALL_IDS + 10, name=f"{INSTALL}-group", scope=Subject.GROUP)
        group.members.set([self.own.ids["deployment"], self.rival.ids["deployment"]])
        whole = Scenario.objects.create(pk=INSTALL_IDS + 11, name=f"{INSTALL}-whole", scope=Subject.CLUSTER, cluster=self.cluster)
        for scenario in (group, whole):
            PlannedEvent.objects.create(scenario=scenario, name=f"{INSTALL}-launch", start_at=timezone.now(), factor=2)
            PlanRun.objects.create(pk=scenario.pk + 10, scenario=scenario, refusal=f"{INSTALL}-unplanned")

    def install_alerts(self, team: Team) -> None:
        """What is of no team, and what the install's own channel was told of a team's alert."""
        now = timezone.now()
        make_alert(make_rule("source-silent", entity="source", shipped=True), labels={"source": f"{INSTALL}-source"})
        Silence.objects.create(matchers={"node": f"{INSTALL}-node"}, start_at=now - timedelta(hours=2), end_at=now + timedelta(hours=1))
        secret = secret_encrypt(json.dumps({"url": f"https://{INSTALL}.example.com/{CHANNEL_SECRET}"}))
        channel = Channel.objects.create(name=f"{INSTALL}-channel", kind="slack", secret=secret, test_ok=True, test_said=f"{INSTALL}-said")
        for alert in Alert.objects.filter(team__isnull=False):
            Notification.objects.create(
                alert=alert, channel=channel, edge="fire", edge_number=1, dedup_key=f"{INSTALL}-{alert.pk}", state="dead", run_after=now,
                created_at=now, last_error=f"{INSTALL}-error",
            )  # fmt: skip

    def person_doors(self) -> dict[str, "Door"]:
        sides = {"own": self.own, "foreign": self.rival}
        people = {f"{name} {role}": side.people[role] for name, side in sides.items() for role in Role.values}
        return {name: Door(user=user) for name, user in (people | {"root": self.root}).items()}

    def key_doors(self) -> dict[str, "Door"]:
        kinds = {"ro": Scope.READ, "rw": Scope.ADMIN}
        teams = {"own": self.own.team, "foreign": self.rival.team, "install": None}
        keys = {f"{name} {kind} key": (scope, team) for name, team in teams.items() for kind, scope in kinds.items()}
        made = {name: key_create("door", scope=scope, created_by=None, team=team)[1] for name, (scope, team) in keys.items()}
        return {
            name: Door(key=text)
            for name, text in (made | {"ingest key": key_create("door", scope=Scope.INGEST, created_by=None)[1]}).items()
        }

    def hidden_from(self, role: str) -> list[str]:
        """Words and ids that must not stand in any answer to this role."""
        own, rival = [OWN, str(OWN_IDS)[:6]], [RIVAL, str(RIVAL_IDS)[:6]]
        install = [INSTALL, str(INSTALL_IDS)[:6], "10.99."]
        if role in ("root", "install rw key"):
            return [SECRET, CHANNEL_SECRET]
        if role == "install ro key":  # reads every team, but neither sources nor the audit trail
            return [SECRET, CHANNEL_SECRET, f"{INSTALL}.example.com", f"{INSTALL}-state", "10.99."]
        if role.startswith("own"):
            return [SECRET, CHANNEL_SECRET, *rival, *install]
        return [SECRET, CHANNEL_SECRET, *own, *install] if role.startswith("foreign") else [SECRET, CHANNEL_SECRET, *own, *rival, *install]


class Door:
    """How one of them knocks: by session, by key, or as nobody."""

    def __init__(self, *, user: User | None = None, key: str = "") -> None:
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.cookies: SimpleCookie = SimpleCookie()
        if user:
            client = Client()
            client.force_login(user)
            self.cookies = client.cookies

    def knock(self, method: str, path: str, **headers: str) -> HttpResponse:
        client = Client(headers=self.headers | headers, raise_request_exception=False, REMOTE_ADDR="203.0.113.7")
        client.cookies = SimpleCookie({name: morsel.value for name, morsel in self.cookies.items()})
        extra: dict[str, Any] = {"data": "", "content_type": "application/json"} if path.startswith("/api/") and method != "get" else {}
        return getattr(client, method)(path, **extra)  # type: ignore[no-any-return]


def bodies_of(answer: HttpResponse) -> str:
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]
    return body.decode("utf-8", "replace") + " ".join(f"{name}: {value}" for name, value in answer.items() if name != "Location")
