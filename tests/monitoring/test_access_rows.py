from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404
from django.test.utils import CaptureQueriesContext

from monitoring.access import (
    Actor,
    accelerator_get,
    accelerator_shares,
    accelerators_for,
    audit_for,
    can_edit,
    can_manage,
    deployment_edit_get,
    deployment_get,
    deployments_for,
    editable_for,
    events_for,
    invites_for,
    key_actor,
    key_create,
    keys_for,
    node_get,
    node_shares,
    nodes_for,
    rules_for,
    source_get,
    sources_for,
    team_manage_get,
    teams_for,
    user_actor,
)
from monitoring.access.actors import NOBODY
from monitoring.models import DeploymentState, Event, PlacementMethod, Role, Scope, TeamRule, User
from tests.factories import (
    make_accelerator,
    make_admin,
    make_cluster,
    make_deployment,
    make_member,
    make_node,
    make_placement,
    make_replica,
    make_source,
    make_team,
)

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 3, 12, tzinfo=UTC)


class TestDeployments:
    def test_a_member_sees_active_and_archived_ones_of_the_own_teams(self) -> None:
        team = make_team()
        actor = user_actor(make_member(team))
        names = {state: make_deployment(state, team=team, state=state).name for state in DeploymentState.values}
        make_deployment("foreign", team=make_team())
        make_deployment("unassigned")
        assert set(deployments_for(actor).values_list("name", flat=True)) == {names["active"], names["archived"]}
        assert set(deployments_for(actor, hidden=True).values_list("name", flat=True)) == set(names.values())

    def test_an_admin_sees_all_and_the_unassigned(self) -> None:
        make_deployment("a", team=make_team())
        make_deployment("b")
        assert deployments_for(user_actor(make_admin())).count() == 2

    def test_nobody_sees_nothing(self) -> None:
        make_deployment("a", team=make_team())
        make_deployment("b")
        assert not deployments_for(NOBODY).exists()

    def test_a_disabled_person_is_nobody(self) -> None:
        admin = make_admin()
        User.objects.filter(pk=admin.pk).update(is_active=False)
        admin.refresh_from_db()
        assert user_actor(admin) is NOBODY

    @pytest.mark.parametrize("pk", ["0", "-1", "x", "9" * 30, "1.0", "²", None, ""])
    def test_an_id_that_is_none_is_not_found(self, pk: str | None) -> None:
        with pytest.raises(Http404):
            deployment_get(user_actor(make_admin()), pk)

    def test_a_foreign_one_is_not_found(self) -> None:
        foreign = make_deployment(team=make_team())
        actor = user_actor(make_member(make_team(), role=Role.ADMIN))
        for get in (deployment_get, deployment_edit_get):
            with pytest.raises(Http404):
                get(actor, foreign.pk)

    @pytest.mark.parametrize(("role", "allowed"), [(Role.VIEWER, False), (Role.EDITOR, True), (Role.ADMIN, True)])
    def test_editors_edit_and_viewers_do_not(self, role: Role, allowed: bool) -> None:
        team = make_team()
        deployment = make_deployment(team=team)
        actor = user_actor(make_member(team, role=role))
        assert can_edit(actor, deployment) is allowed
        assert editable_for(actor).exists() is allowed
        if allowed:
            assert deployment_edit_get(actor, deployment.pk) == deployment
        else:
            with pytest.raises(PermissionDenied):
                deployment_edit_get(actor, deployment.pk)

    def test_an_ignored_one_can_be_restored_by_an_editor_and_is_not_found_by_a_viewer(self) -> None:
        team = make_team()
        hidden = make_deployment(team=team, state=DeploymentState.IGNORED)
        assert deployment_edit_get(user_actor(make_member(team, role=Role.EDITOR)), hidden.pk) == hidden
        with pytest.raises(Http404):
            deployment_edit_get(user_actor(make_member(team)), hidden.pk)


class TestKeys:
    def test_a_key_of_a_team_sees_that_team_only(self) -> None:
        team = make_team()
        own = make_deployment(team=team)
        make_deployment(team=make_team())
        key, _ = key_create("ci", scope=Scope.READ, created_by=None, team=team)
        actor = key_actor(key)
        assert list(deployments_for(actor)) == [own]
        assert not can_edit(actor, own)

    def test_a_key_of_a_cluster_sees_that_cluster_only_and_is_no_admin(self) -> None:
        cluster = make_cluster("eu")
        own = make_deployment(cluster=cluster)
        node = make_node("n1", cluster=cluster)
        make_placement(make_replica(own), node=node)
        make_deployment(cluster=make_cluster("us"))
        make_node("n2", cluster=make_cluster("asia"))
        actor = key_actor(key_create("ci", scope=Scope.ADMIN, created_by=None, cluster=cluster)[0])
        assert list(deployments_for(actor)) == [own]
        assert list(nodes_for(actor)) == [node]
        assert not actor.admin

    def test_an_ingest_key_sees_nothing(self) -> None:
        make_deployment()
        actor = key_actor(key_create("agent", scope=Scope.INGEST, created_by=None)[0])
        assert not deployments_for(actor).exists()
        assert not nodes_for(actor).exists()

    def test_no_key_makes_keys(self) -> None:
        team = make_team()
        actor = key_actor(key_create("ci", scope=Scope.ADMIN, created_by=None, team=team)[0])
        with pytest.raises(PermissionDenied):
            team_manage_get(actor, team.pk)


class TestInstall:
    def rows(self, actor: Actor) -> list[int]:
        return [rows.count() for rows in (sources_for(actor), rules_for(actor), audit_for(actor))]

    def test_sources_and_rules_are_the_admins(self) -> None:
        source = make_source()
        team = make_team()
        TeamRule.objects.create(position=1, team=team)
        member = user_actor(make_member(team, role=Role.ADMIN))
        assert self.rows(member) == [0, 0, 0]
        assert self.rows(user_actor(make_admin())) == [1, 1, 0]
        for pk in (source.pk, source.pk + 1):
            with pytest.raises(PermissionDenied):
                source_get(member, pk)

    def test_a_team_admin_manages_the_own_team_only(self) -> None:
        team, other = make_team(), make_team()
        admin = user_actor(make_member(team, role=Role.ADMIN))
        own, _ = key_create("own", scope=Scope.READ, created_by=None, team=team)
        key_create("foreign", scope=Scope.READ, created_by=None, team=other)
        key_create("install", scope=Scope.READ, created_by=None)
        assert list(keys_for(admin)) == [own]
        assert list(teams_for(admin)) == [team]
        assert can_manage(admin, team) and not can_manage(admin, other)
        assert not keys_for(user_actor(make_member(team, role=Role.EDITOR))).exists()
        assert not invites_for(user_actor(make_member(team, role=Role.EDITOR))).exists()

    def test_events_of_no_deployment_are_the_admins(self) -> None:
        team = make_team()
        own = Event.objects.create(deployment=make_deployment(team=team), kind="note", at=NOW, title="own", dedup_key="1")
        Event.objects.create(deployment=make_deployment(team=make_team()), kind="note", at=NOW, title="foreign", dedup_key="2")
        Event.objects.create(kind="incident", at=NOW, title="install", dedup_key="3")
        assert list(events_for(user_actor(make_member(team)))) == [own]
        assert events_for(user_actor(make_admin())).count() == 3


class TestPlaces:
    def test_a_place_is_seen_when_a_visible_deployment_lies_on_it(self) -> None:
        team = make_team()
        actor = user_actor(make_member(team))
        node, foreign = make_node(), make_node()
        gpu, other = make_accelerator(node), make_accelerator(foreign)
        make_placement(make_replica(make_deployment(team=team)), accelerator=gpu)
        make_placement(make_replica(make_deployment(team=make_team())), accelerator=other)
        assert list(accelerators_for(actor)) == [gpu]
        assert list(nodes_for(actor)) == [node]
        assert accelerator_get(actor, gpu.pk) == gpu and node_get(actor, node.pk) == node
        with pytest.raises(Http404):
            accelerator_get(actor, other.pk)
        with pytest.raises(Http404):
            node_get(actor, foreign.pk)

    def test_the_gpu_of_a_slice_is_seen_and_its_other_slices_are_not(self) -> None:
        team = make_team()
        gpu = make_accelerator(make_node())
        own, other = (make_accelerator(gpu.node, parent=gpu, mig_profile="3g.71gb") for _ in range(2))
        make_placement(make_replica(make_deployment(team=team)), accelerator=own)
        make_placement(make_replica(make_deployment(team=make_team())), accelerator=other)
        assert set(accelerators_for(user_actor(make_member(team)))) == {gpu, own}

    def test_a_place_left_long_ago_is_no_longer_seen(self) -> None:
        team = make_team()
        actor = user_actor(make_member(team))
        gpu = make_accelerator(make_node())
        make_placement(make_replica(make_deployment(team=team)), accelerator=gpu, valid_to=NOW)
        assert accelerators_for(actor, now=NOW + timedelta(days=27)).exists()
        assert not accelerators_for(actor, now=NOW + timedelta(days=29)).exists()

    def test_a_replica_without_a_placement_shows_its_node(self) -> None:
        team = make_team()
        node = make_node()
        make_replica(make_deployment(team=team), node=node, last_seen_at=NOW)
        assert list(nodes_for(user_actor(make_member(team)), now=NOW)) == [node]

    def test_foreign_shares_are_one_line(self) -> None:
        team = make_team()
        gpu = make_accelerator(make_node())
        own = make_deployment("own", team=team)
        make_placement(make_replica(own), accelerator=gpu, share=0.2)
        make_placement(make_replica(own), accelerator=gpu, share=0.1)
        for name, share in (("secret-a", 0.25), ("secret-b", 0.15)):
            make_placement(
                make_replica(make_deployment(name, team=make_team())), accelerator=gpu, share=share, method=PlacementMethod.EQUAL_SPLIT
            )
        lines = accelerator_shares(user_actor(make_member(team)), [gpu.pk], at=NOW)[gpu.pk]
        assert [(line.name, round(line.ratio, 6), line.estimated) for line in lines] == [("own", 0.3, False), ("others", 0.4, True)]
        admin = accelerator_shares(user_actor(make_admin()), [gpu.pk], at=NOW)[gpu.pk]
        assert [line.name for line in admin] == ["own", "secret-a", "secret-b"]

    def test_a_node_is_shared_by_its_accelerators(self) -> None:
        team = make_team()
        node, plain = make_node(), make_node()
        first, _second = make_accelerator(node), make_accelerator(node)
        own, foreign = make_deployment("own", team=team), make_deployment(team=make_team())
        make_placement(make_replica(own), accelerator=first)
        make_placement(make_replica(foreign), node=node)
        make_placement(make_replica(own), node=plain, share=0.5)
        make_placement(make_replica(foreign), node=plain, share=0.25)
        shares = node_shares(user_actor(make_member(team)), [node.pk, plain.pk], at=NOW)
        assert {pk: [(line.name, line.ratio) for line in lines] for pk, lines in shares.items()} == {
            node.pk: [("own", 0.5)],
            plain.pk: [("own", 0.5), ("others", 0.25)],
        }

    def test_shares_cost_the_same_queries_for_any_number(self) -> None:
        actor = user_actor(make_admin())
        node = make_node()
        ids = []
        counts = []
        for _ in range(2):
            gpu = make_accelerator(node)
            make_placement(make_replica(make_deployment()), accelerator=gpu)
            ids.append(gpu.pk)
            with CaptureQueriesContext(connection) as queries:
                accelerator_shares(actor, ids, at=NOW)
                node_shares(actor, [node.pk], at=NOW)
            counts.append(len(queries))
        assert counts == [5, 5]
