"""The inventory: placements, events, team rules, changes by hand, and the reasons for what is missing."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import connection

from monitoring.catalog.records import Entity
from monitoring.catalog.systems import SYSTEMS
from monitoring.ingest import rows_ingest
from monitoring.models import (
    Deployment,
    DeploymentState,
    Event,
    Placement,
    PlacementMethod,
    SeenMetric,
    SeriesIdentity,
    Source,
    TeamRule,
    Version,
)
from monitoring.series import totals_load
from monitoring.sources import (
    deployment_archive,
    deployment_ignore,
    deployment_merge,
    deployment_rename,
    deployment_restore,
    missing_metrics,
    team_assign,
    team_rules_apply,
)
from monitoring.sources.diagnosis import series_missing, when_text
from monitoring.sources.discover import holders_retire
from monitoring.sources.events import deploy_events_record, scale_events_record, steady_changes
from monitoring.sources.facts import facts_of
from monitoring.sources.identity import Facts, ReplicaIdentity, identify
from monitoring.sources.identity import Pod as KnownPod
from monitoring.sources.inventory import workloads_settled
from monitoring.sources.placements import Card, Pod, Spell, Tenant, placements_record, placements_wish
from monitoring.sources.roster import Roster, roster_load
from monitoring.store.records import Rows
from tests.factories import make_cluster, make_deployment, make_team

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
VLLM = SYSTEMS["vllm"]


def at(minutes: float) -> datetime:
    return NOON + minutes * MINUTE


# Facts


def test_facts_follow_the_owners_from_pod_to_replica_set_to_deployment() -> None:
    pod = {"namespace": "chat", "pod": "llama-7d9f8b6c5d-x2x7k"}
    infos = {
        "kube_pod_info": [{**pod, "node": "gpu-1"}],
        "kube_pod_owner": [{**pod, "owner_kind": "ReplicaSet", "owner_name": "llama-7d9f8b6c5d"}],
        "kube_replicaset_owner": [{**pod, "replicaset": "llama-7d9f8b6c5d", "owner_kind": "Deployment", "owner_name": "llama-main"}],
        "kube_pod_container_info": [{**pod, "container": "vllm", "image": "vllm:v1"}],
        "kube_pod_labels": [{**pod, "label_team": "chat", "job": "ksm"}],
        "node_uname_info": [{"instance": "10.0.0.1:9100", "nodename": "gpu-1"}],
    }
    facts = facts_of(infos, requests={("chat", pod["pod"]): 2.0}, cluster="eu")
    found = facts.pods["chat", pod["pod"]]
    assert (found.workload, found.node, found.images, found.accelerators) == ("llama-main", "gpu-1", (("vllm", "vllm:v1"),), 2.0)
    assert found.labels == {"label_team": "chat"} and facts.hosts == {"10.0.0.1": "gpu-1"}


def test_without_the_owner_of_a_replica_set_its_hash_is_cut_off() -> None:
    pod = {"namespace": "chat", "pod": "llama-7d9f8b6c5d-x2x7k"}
    infos = {"kube_pod_owner": [{**pod, "owner_kind": "ReplicaSet", "owner_name": "llama-7d9f8b6c5d"}]}
    assert facts_of(infos, requests={}, cluster="eu").pods["chat", pod["pod"]].workload == "llama"


def test_the_label_of_an_inference_service_is_the_better_workload() -> None:
    pod = {"namespace": "ml", "pod": "iris-predictor-00001-deployment-7d9f8b6c5d-x2x7k"}
    infos = {
        "kube_pod_owner": [{**pod, "owner_kind": "StatefulSet", "owner_name": "iris-predictor-00001"}],
        "kube_pod_labels": [{**pod, "label_serving_kserve_io_inferenceservice": "iris"}],
    }
    assert facts_of(infos, requests={}, cluster="eu").pods["ml", pod["pod"]].workload == "iris"


@pytest.mark.django_db
def test_while_nobody_tells_owners_a_pod_joins_the_workload_it_is_named_after() -> None:
    cluster = make_cluster("eu")
    for workload in ("llama", "llama-chat"):
        make_deployment(workload, cluster=cluster, namespace="chat", workload=workload, model_name="llama-3")
    labels = {"namespace": "chat", "pod": "llama-chat-2-odd", "model_name": "llama-3"}
    learnt(Source.objects.create(name="source", url="http://127.0.0.1:9090", cluster=cluster), labels)
    assert sorted(Deployment.objects.values_list("workload", "replicas__name")) == [("llama", None), ("llama-chat", "llama-chat-2-odd")]


@pytest.mark.django_db
def test_an_owner_that_is_told_counts_more_than_the_name_of_the_pod() -> None:
    cluster = make_cluster("eu")
    make_deployment("llama", cluster=cluster, namespace="chat", workload="llama", model_name="llama-3")
    one = identify(
        {"namespace": "chat", "pod": "llama-b-x2x7k", "model_name": "llama-3"},
        system=VLLM,
        facts=(facts := Facts("eu", pods={("chat", "llama-b-x2x7k"): KnownPod("chat", "llama-b-x2x7k", workload="llama-b")})),
    )
    assert isinstance(one, ReplicaIdentity)
    assert workloads_settled([one], facts=facts) == {one: one}


# Placements

POD_A: Pod = ("eu", "chat", "a")
POD_B: Pod = ("eu", "chat", "b")
HOUR: Spell = (at(0), at(60))


def card(pk: int = 1, *, node: int | None = 7, seen: Spell = HOUR, **pods: Spell) -> Card:
    return Card(pk, node, seen, {("eu", "chat", name): spell for name, spell in pods.items()})


def tenant(pk: int, pod: Pod = POD_A, *, deployment: int = 1, requested: float = 0.0, seen: Spell = HOUR) -> Tenant:
    return Tenant(pk, deployment, pod, 7, seen, requested)


def wished(*cards: Card, tenants: list[Tenant], has_requests: bool = False) -> list[tuple[int, int, float, PlacementMethod]]:
    wishes = placements_wish(cards, tenants=tenants, has_requests=has_requests)
    return [(one.replica, one.accelerator, round(one.share, 3), one.method) for one in wishes]


def test_the_pod_label_of_the_exporter_places_a_replica() -> None:
    assert wished(card(a=HOUR), tenants=[tenant(10)]) == [(10, 1, 1.0, PlacementMethod.POD_LABEL)]


def test_pods_that_hold_a_gpu_together_share_it_evenly_and_it_is_called_estimated() -> None:
    found = wished(card(a=HOUR, b=HOUR), tenants=[tenant(10), tenant(11, POD_B)])
    assert found == [(10, 1, 0.5, PlacementMethod.EQUAL_SPLIT), (11, 1, 0.5, PlacementMethod.EQUAL_SPLIT)]


def test_two_models_in_one_pod_share_its_gpu() -> None:
    found = wished(card(a=HOUR), tenants=[tenant(10), tenant(11, deployment=2)])
    assert [share for _, _, share, _ in found] == [0.5, 0.5]


def test_a_handover_is_not_sharing() -> None:
    wishes = placements_wish([card(a=(at(0), at(30)), b=(at(27), at(60)))], tenants=[tenant(10), tenant(11, POD_B)], has_requests=False)
    assert [(one.share, one.spell, one.ended) for one in wishes] == [(1.0, (at(0), at(27)), True), (1.0, (at(27), at(60)), False)]


def test_without_labels_requests_split_the_gpus_of_a_node() -> None:
    tenants = [tenant(10, requested=1.0), tenant(11, POD_B, requested=2.0), tenant(12, ("eu", "chat", "cpu"))]
    found = wished(card(1), card(2), card(3), card(4), tenants=tenants, has_requests=True)
    assert {(replica, share, method) for replica, _, share, method in found} == {
        (10, 0.25, PlacementMethod.REQUEST),
        (11, 0.5, PlacementMethod.REQUEST),
    }


def test_the_only_deployment_of_a_node_has_its_gpus() -> None:
    assert wished(card(), tenants=[tenant(10)]) == [(10, 1, 1.0, PlacementMethod.NODE_ONLY)]


def test_several_deployments_of_a_node_are_split_evenly_and_it_is_called_estimated() -> None:
    found = wished(card(), tenants=[tenant(10), tenant(11, POD_B, deployment=2)])
    assert found == [(10, 1, 0.5, PlacementMethod.EQUAL_SPLIT), (11, 1, 0.5, PlacementMethod.EQUAL_SPLIT)]


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_a_gpu_never_exceed_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pods = [("eu", "chat", f"p{n}") for n in range(6)]
    tenants = [tenant(n, pods[int(rng.integers(6))], deployment=int(rng.integers(4)), requested=float(rng.integers(4))) for n in range(10)]
    cards = [card(n, **{pod[2]: HOUR for pod in pods if rng.random() < 0.2}) for n in range(8)]
    for has_requests in (False, True):
        totals: dict[int, float] = {}
        for one in placements_wish(cards, tenants=tenants, has_requests=has_requests):
            totals[one.accelerator] = totals.get(one.accelerator, 0.0) + one.share
        assert all(total <= 1 + 1e-9 for total in totals.values())


@pytest.mark.django_db
class TestPlacementsRecord:
    def record(
        self, *cards: Card, tenants: list[Tenant], live: bool = True, start: datetime = NOON, end: datetime = NOON + 60 * MINUTE
    ) -> int:
        wishes = placements_wish(cards, tenants=tenants, has_requests=False)
        return placements_record(wishes, cards=[one.pk for one in cards], start=start, end=end, live=live)

    def world(self) -> tuple[int, int, int]:
        deployment = make_deployment("llama")
        gpu = deployment.cluster.accelerators.create(uuid="GPU-1")
        return gpu.pk, deployment.replicas.create(name="a").pk, deployment.replicas.create(name="b").pk

    def spells(self) -> list[tuple[str, datetime, datetime | None]]:
        rows = Placement.objects.order_by("valid_from", "replica__name")
        return [(row.replica.name, row.valid_from, row.valid_to) for row in rows.select_related("replica")]

    def test_a_placement_stays_open_while_it_is_seen_and_nothing_is_written_twice(self) -> None:
        gpu, a, _ = self.world()
        assert self.record(card(gpu, a=HOUR), tenants=[tenant(a)]) == 1
        assert self.record(card(gpu, a=HOUR), tenants=[tenant(a)]) == 0
        assert self.spells() == [("a", at(0), None)]

    def test_a_placement_is_closed_when_another_pod_holds_the_gpu(self) -> None:
        gpu, a, b = self.world()
        self.record(card(gpu, a=HOUR), tenants=[tenant(a)])
        self.record(card(gpu, b=(at(60), at(65))), tenants=[tenant(b, POD_B)], start=at(60), end=at(65))
        assert self.spells() == [("a", at(0), at(65)), ("b", at(60), None)]

    def test_history_lengthens_a_placement_backwards(self) -> None:
        gpu, a, _ = self.world()
        self.record(card(gpu, a=HOUR), tenants=[tenant(a)])
        yesterday = (at(-1440), at(-5))
        self.record(card(gpu, seen=yesterday, a=yesterday), tenants=[tenant(a)], live=False, start=at(-1440), end=at(0))
        assert self.spells() == [("a", at(-1440), None)]

    def test_history_adds_a_closed_placement_of_a_pod_that_is_gone(self) -> None:
        gpu, a, b = self.world()
        self.record(card(gpu, a=HOUR), tenants=[tenant(a)])
        past = (at(-1440), at(-300))
        self.record(card(gpu, seen=past, b=past), tenants=[tenant(b, POD_B)], live=False, start=at(-1440), end=at(0))
        assert self.spells() == [("b", at(-1440), at(-300)), ("a", at(0), None)]

    def test_a_placement_by_hand_is_left_alone(self) -> None:
        gpu, a, _ = self.world()
        Placement.objects.create(replica_id=a, accelerator_id=gpu, method=PlacementMethod.HAND, valid_from=at(-10))
        self.record(card(gpu), tenants=[])
        assert self.spells() == [("a", at(-10), None)]


# Events


def changes(counts: list[float]) -> list[tuple[float, int, int]]:
    return list(steady_changes(np.arange(len(counts)) * 60.0, counts=np.array(counts)))


def test_a_change_of_the_replica_count_that_holds_is_an_event() -> None:
    assert changes([4] * 10 + [6] * 10) == [(600.0, 4, 6)]


def test_a_surge_of_a_roll_out_and_a_missed_scrape_are_none() -> None:
    assert changes([4] * 10 + [5] * 3 + [4] * 10) == []
    assert changes([4] * 10 + [np.nan] * 3 + [4] * 10) == []


def test_the_first_count_is_no_change() -> None:
    assert changes([4] * 10) == [] and changes([]) == []


@pytest.mark.django_db
def test_a_scale_event_seen_twice_is_kept_once() -> None:
    deployment = make_deployment("llama")
    times, counts = NOON.timestamp() + np.arange(20) * 60.0, np.array([4.0] * 10 + [6.0] * 10)
    assert scale_events_record(deployment.pk, times=times, counts=counts) == 1
    scale_events_record(deployment.pk, times=times[5:], counts=counts[5:])
    event = Event.objects.get()
    assert (event.at, event.detail, event.title) == (at(10), {"from": 4, "to": 6}, "4 → 6 replicas")


@pytest.mark.django_db
def test_each_version_after_the_first_is_a_deploy_and_moves_with_its_first_sight() -> None:
    deployment = make_deployment("llama")
    second = Version.objects.create(deployment=deployment, name="v2", first_seen_at=at(0))
    deploy_events_record([deployment.pk])
    assert not Event.objects.exists()
    first = Version.objects.create(deployment=deployment, name="v1", first_seen_at=at(-100))
    deploy_events_record([deployment.pk])
    Version.objects.filter(pk=second.pk).update(first_seen_at=at(-50))
    deploy_events_record([deployment.pk])
    assert [(event.version, event.at, event.detail["before"]) for event in Event.objects.all()] == [(second, at(-50), "v1")]
    Version.objects.filter(pk=first.pk).update(first_seen_at=at(-20))
    deploy_events_record([deployment.pk])
    assert [event.version for event in Event.objects.all()] == [first]


# Teams


@pytest.mark.django_db
class TestTeams:
    def test_the_first_rule_whose_patterns_all_match_gives_the_team(self) -> None:
        chat, rest = make_team("Chat"), make_team("Rest")
        TeamRule.objects.create(position=2, team=rest)
        TeamRule.objects.create(position=1, namespace="chat-*", workload="llama*", team=chat)
        mine = make_deployment("llama-8b", namespace="chat-prod")
        other = make_deployment("qwen", namespace="chat-prod")
        assert team_rules_apply() == 2
        mine.refresh_from_db()
        other.refresh_from_db()
        assert (mine.team, other.team) == (chat, rest)
        assert team_rules_apply() == 0

    def test_a_rule_with_a_label_needs_the_label(self) -> None:
        team = make_team("Chat")
        TeamRule.objects.create(position=1, label="team", label_value="chat*", team=team)
        mine = make_deployment("a", labels={"team": "chat-eu"})
        make_deployment("b", labels={"team": "search"})
        make_deployment("c")
        team_rules_apply()
        assert list(Deployment.objects.filter(team=team)) == [mine]

    def test_unmatched_deployments_lose_a_team_a_rule_gave(self) -> None:
        rule = TeamRule.objects.create(position=1, team=make_team("Chat"))
        deployment = make_deployment("a")
        team_rules_apply()
        rule.delete()
        team_rules_apply()
        deployment.refresh_from_db()
        assert deployment.team is None

    def test_a_team_given_by_hand_stays_until_it_is_given_back(self) -> None:
        by_rule, by_hand = make_team("Rule"), make_team("Hand")
        TeamRule.objects.create(position=1, team=by_rule)
        deployment = make_deployment("a")
        team_assign(deployment, team=by_hand)
        team_rules_apply()
        deployment.refresh_from_db()
        assert deployment.team == by_hand
        team_assign(deployment, team=None)
        assert (deployment.team, deployment.team_by_hand) == (by_rule, False)


# By hand


def requests_store(deployment: Deployment, *, value: float, version: int = 0) -> None:
    times = NOON.timestamp() + 60.0 * np.arange(1, 6)
    ids = np.full(5, deployment.pk)
    rows = Rows(Entity.DEPLOYMENT, ids, times, {"requests_per_second": np.full(5, value)}, np.full(5, version))
    rows_ingest(rows, overwrite=True, now=at(10))


def requests_mean(deployment: Deployment) -> float | None:
    found = totals_load(Entity.DEPLOYMENT, [deployment.pk], ["requests_per_second"], start=at(0), end=at(5))
    return found[deployment.pk]["requests_per_second"].mean if deployment.pk in found else None


def source_of(deployment: Deployment) -> Source:
    return Source.objects.create(name="source", url="http://127.0.0.1:9090", cluster=deployment.cluster)


def learnt(source: Source, labels: dict[str, str], *, known: Roster | None = None) -> Roster:
    roster = known or roster_load(source, systems=[VLLM], since=at(-60))
    roster.learn(VLLM, [frozenset(labels.items())], facts=Facts(source.cluster.name), at=at(0))
    return roster


LABELS = {"job": "chat", "instance": "a:8000", "model_name": "llama"}


@pytest.mark.django_db
class TestByHand:
    def test_a_new_name_stays_and_an_empty_one_gives_back_the_first(self) -> None:
        deployment = make_deployment("llama")
        deployment_rename(deployment, name="  Chat for everyone ")
        deployment.refresh_from_db()
        assert (deployment.name, deployment.renamed) == ("Chat for everyone", True)
        deployment_rename(deployment, name="")
        assert (deployment.name, deployment.renamed) == ("llama", False)

    def test_discovery_leaves_a_renamed_deployment_alone(self) -> None:
        source = source_of(make_deployment("other"))
        learnt(source, LABELS)
        deployment = Deployment.objects.get(workload="chat")
        deployment_rename(deployment, name="Mine")
        learnt(source, {**LABELS, "instance": "b:8000"})
        deployment.refresh_from_db()
        assert deployment.name == "Mine" and deployment.replicas.count() == 2

    def test_an_ignored_deployment_gets_no_more_rows_and_a_restored_one_does(self) -> None:
        source = source_of(make_deployment("other"))
        learnt(source, LABELS)
        deployment = Deployment.objects.get(workload="chat")
        key = ("vllm", frozenset(LABELS.items()))
        deployment_ignore(deployment)
        assert roster_load(source, systems=[VLLM], since=at(-60)).places[key] is None
        deployment_restore(deployment)
        assert roster_load(source, systems=[VLLM], since=at(-60)).places[key] is not None

    def test_an_archived_deployment_still_gets_its_rows(self) -> None:
        source = source_of(make_deployment("other"))
        learnt(source, LABELS)
        deployment_archive(Deployment.objects.get(workload="chat"))
        assert roster_load(source, systems=[VLLM], since=at(-60)).places["vllm", frozenset(LABELS.items())] is not None

    def test_a_merge_adds_the_history_to_the_target(self) -> None:
        target, merged = make_deployment("new"), make_deployment("old")
        version = Version.objects.create(deployment=merged, name="v1")
        Version.objects.create(deployment=target, name="v1")
        requests_store(target, value=2.0)
        requests_store(merged, value=3.0)
        requests_store(merged, value=1.0, version=version.pk)
        assert deployment_merge(merged, target=target) > 0
        assert requests_mean(target) == pytest.approx(6.0)
        assert sorted(target.versions.values_list("name", flat=True)) == ["old", "v1", "v1 (old)"]
        merged.refresh_from_db()
        assert (merged.state, merged.merged_into) == (DeploymentState.MERGED, target)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM deployment_sample WHERE deployment_id = %s", [merged.pk])
            assert cursor.fetchone() == (0,)

    def test_a_merge_without_unknown_rows_makes_no_version_for_them(self) -> None:
        target, merged = make_deployment("new"), make_deployment("old")
        deployment_merge(merged, target=target)
        assert not target.versions.exists()

    def test_new_label_sets_of_a_merged_deployment_go_to_the_target(self) -> None:
        target = make_deployment("new")
        source = source_of(target)
        learnt(source, LABELS)
        deployment_merge(Deployment.objects.get(workload="chat"), target=target)
        roster = learnt(source, {**LABELS, "instance": "b:8000"})
        places = [roster.places["vllm", frozenset({**LABELS, "instance": name}.items())] for name in ("a:8000", "b:8000")]
        assert {roster.slots[place.slot][0] for place in places if place} == {target.pk}
        assert target.replicas.count() == 2

    def test_a_restored_deployment_is_identified_anew(self) -> None:
        target = make_deployment("new")
        source = source_of(target)
        learnt(source, LABELS)
        merged = Deployment.objects.get(workload="chat")
        deployment_merge(merged, target=target)
        merged.refresh_from_db()
        deployment_restore(merged)
        assert not SeriesIdentity.objects.exists()
        roster = learnt(source, LABELS)
        place = roster.places["vllm", frozenset(LABELS.items())]
        assert place and roster.slots[place.slot][0] == merged.pk

    def test_a_merge_into_itself_or_into_a_merged_one_is_refused(self) -> None:
        target, merged = make_deployment("new"), make_deployment("old")
        with pytest.raises(ValueError, match="another deployment"):
            deployment_merge(target, target=target)
        deployment_merge(merged, target=target)
        merged.refresh_from_db()
        with pytest.raises(ValueError, match="another deployment"):
            deployment_merge(target, target=merged)
        with pytest.raises(ValueError, match="restore it first"):
            deployment_archive(merged)

    def test_a_holder_of_gpus_becomes_part_of_the_model_it_turns_out_to_serve(self) -> None:
        cluster = make_cluster("eu")
        holder = make_deployment("x", cluster=cluster, workload="llama", model_name="", workload_kind="other")
        serving = make_deployment("y", cluster=cluster, workload="llama", model_name="llama-3")
        assert holders_retire([serving.pk]) == 1
        holder.refresh_from_db()
        assert (holder.state, holder.merged_into) == (DeploymentState.MERGED, serving)


# Missing metrics


def texts(present: set[str], seen: dict[str, datetime]) -> dict[str, str]:
    return {one.column: one.text for one in series_missing(VLLM, present=present, seen=seen, now=NOON)}


def test_a_missing_metric_says_which_names_were_asked_and_when_one_was_last_seen() -> None:
    text = texts(set(), {"vllm:gpu_cache_usage_perc": NOON - timedelta(days=3)})["kv_cache_usage_ratio"]
    assert text.startswith(
        "Asked for vllm:kv_cache_usage_perc and vllm:gpu_cache_usage_perc; vllm:gpu_cache_usage_perc was last seen on Tuesday."
    )


def test_a_metric_never_seen_says_so_and_what_to_do() -> None:
    text = texts(set(), {})["requests_waiting"]
    assert text == "Asked for vllm:num_requests_waiting; never seen on this source. Scrape /metrics of the API port of every vLLM server."


def test_a_metric_under_its_older_name_is_not_missing() -> None:
    assert "kv_cache_usage_ratio" not in texts({"vllm:gpu_cache_usage_perc"}, {})


@pytest.mark.parametrize(("days", "words"), [(0, "today at 12:00 UTC"), (1, "yesterday"), (3, "on Tuesday"), (40, "on 11 October 2026")])
def test_the_last_sight_is_told_as_people_say_it(days: int, words: str) -> None:
    assert when_text(NOON - timedelta(days=days), now=NOON) == words


@pytest.mark.django_db
def test_the_diagnosis_of_a_deployment_asks_the_sources_of_its_cluster() -> None:
    deployment = make_deployment("llama", system="vllm", providers={"cpu_usage_cores": "cadvisor"})
    source = source_of(deployment)
    for name, seen in (("vllm:num_requests_running", NOON), ("vllm:num_requests_waiting", NOON - timedelta(days=1))):
        SeenMetric.objects.create(source=source, system="vllm", name=name, last_seen_at=seen)
    found = {one.column: one for one in missing_metrics(deployment, now=NOON)}
    assert "requests_running" not in found
    assert "was last seen yesterday" in found["requests_waiting"].text
    assert found["requests_waiting"].costs == "no queue on the page; saturation is found late"


@pytest.mark.django_db
def test_what_a_system_never_tells_is_said_with_the_reason() -> None:
    found = {one.column: one.text for one in missing_metrics(make_deployment("iris", system="kserve"), now=NOON)}
    assert found["errors_per_second"] == "KServe does not tell it: no error counter in the SDK; the gateway or Knative has it."
