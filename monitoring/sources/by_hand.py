"""What people do to the inventory by hand; discovery respects it ever after. Who may do it, and the audit, are the view's."""

from django.db import transaction
from django.db.models import Max, Min

from monitoring.models import Deployment, DeploymentState, Event, Replica, SeriesIdentity, Slo, Version
from monitoring.store.rekey import deployment_rekey


def deployment_rename(deployment: Deployment, *, name: str) -> None:
    """Another name on the screens; an empty one gives back the name of the model or workload."""
    name = name.strip()[:253]
    deployment.renamed = bool(name)
    deployment.name = name or deployment.model_name or deployment.workload
    deployment.save(update_fields=["name", "renamed"])


def deployment_archive(deployment: Deployment) -> None:
    """Out of the lists; its history stays, and what still comes in is stored."""
    state_change(deployment, DeploymentState.ARCHIVED)


def deployment_ignore(deployment: Deployment) -> None:
    """No more rows are stored from now on."""
    state_change(deployment, DeploymentState.IGNORED)


def deployment_restore(deployment: Deployment) -> None:
    """Back among the active ones. What a merge moved stays with its target; new rows come here again."""
    if deployment.merged_into is not None:
        # Its label sets point to replicas of the target now: let the next cycle identify them anew.
        SeriesIdentity.objects.filter(replica__deployment=deployment.merged_into).delete()
    deployment.merged_into = None
    deployment.state = DeploymentState.ACTIVE
    deployment.save(update_fields=["state", "merged_into"])


def state_change(deployment: Deployment, state: DeploymentState) -> None:
    if deployment.state == DeploymentState.MERGED:
        raise ValueError(f"{deployment.name} is merged into another deployment; restore it first")
    deployment.state = state
    deployment.save(update_fields=["state"])


def deployment_merge(deployment: Deployment, *, target: Deployment) -> int:
    """Make one deployment part of another, history included. Returns how many stored rows moved.

    Its versions move along; its rows without a version get a version named after its workload, so that the rows of
    both stand side by side and add up. Its replicas and events move too. New rows of its label sets go to the target.
    """
    if deployment.pk == target.pk or target.state == DeploymentState.MERGED:
        raise ValueError("merge into another deployment that is not merged itself")
    with transaction.atomic():
        for one in Deployment.objects.select_for_update().filter(pk__in=(deployment.pk, target.pk)).order_by("pk"):
            if one.pk == deployment.pk and one.state == DeploymentState.MERGED:
                return 0
        versions = versions_move(deployment, target=target)
        moved = deployment_rekey(deployment.pk, target=target.pk, versions=versions)
        if not moved[0]:
            Version.objects.filter(pk=versions[0]).delete()
        replicas_move(deployment, target=target)
        Event.objects.filter(deployment=deployment).update(deployment=target)
        Slo.objects.filter(deployment=deployment).delete()
        Deployment.objects.filter(merged_into=deployment).update(merged_into=target)
        deployment.state, deployment.merged_into = DeploymentState.MERGED, target
        deployment.save(update_fields=["state", "merged_into"])
        seen = Deployment.objects.filter(pk__in=(deployment.pk, target.pk)).aggregate(first=Min("first_seen_at"), last=Max("last_seen_at"))
        Deployment.objects.filter(pk=target.pk).update(first_seen_at=seen["first"], last_seen_at=seen["last"])
    return sum(moved.values())


def versions_move(deployment: Deployment, *, target: Deployment) -> dict[int, int]:
    """Each version of the deployment, and "unknown", to a version of the target that has no rows yet."""
    taken = set(target.versions.values_list("name", flat=True))
    unknown = Version.objects.create(
        deployment=target,
        name=free_name(deployment.workload, taken=taken),
        first_seen_at=deployment.first_seen_at,
        last_seen_at=deployment.last_seen_at,
    )
    taken.add(unknown.name)
    moves = {0: unknown.pk}
    for version in deployment.versions.all():
        version.name = free_name(version.name, taken=taken, suffix=deployment.workload)
        version.deployment = target
        version.save(update_fields=["name", "deployment"])
        taken.add(version.name)
        moves[version.pk] = version.pk
    return moves


def free_name(name: str, *, taken: set[str], suffix: str = "merged") -> str:
    """The name, with the suffix and then a number where it is taken."""
    candidates = [name, f"{name} ({suffix})", *(f"{name} ({suffix} {n})" for n in range(2, len(taken) + 3))]
    return next(one[:200] for one in candidates if one[:200] not in taken)


def replicas_move(deployment: Deployment, *, target: Deployment) -> None:
    """Replicas of the same name become one: what points to the moved one points to the target's."""
    known = {replica.name: replica for replica in target.replicas.all()}
    for replica in deployment.replicas.all():
        twin = known.get(replica.name)
        if twin is None:
            Replica.objects.filter(pk=replica.pk).update(deployment=target)
        else:
            SeriesIdentity.objects.filter(replica=replica).update(replica=twin)
            replica.placements.all().delete()
            replica.delete()
