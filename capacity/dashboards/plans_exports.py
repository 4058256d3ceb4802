"""The autoscaler's settings as files: shown on the plan page and downloaded."""

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET

from capacity.analysis.plan_metric import followed_metric
from capacity.analysis.plan_records import PlanResult
from capacity.dashboards.plans_assumed import assumed_of
from capacity.dashboards.plans_load import shown_load
from capacity.dashboards.replies import complain, guarded
from capacity.exports.hpa import hpa_yaml
from capacity.exports.keda import keda_yaml
from capacity.exports.names import Names
from capacity.exports.plan_json import plan_json
from monitoring.access import actor_of, deployment_get
from monitoring.models import Deployment


@dataclass(frozen=True)
class Export:
    label: str
    ending: str
    content_type: str
    write: Callable[[PlanResult, Deployment], str]  # ValueError with a sentence where there is nothing to write


@dataclass(frozen=True)
class File:
    """`text` empty: `why` says what is missing."""

    kind: str
    label: str
    file: str
    text: str
    why: str = ""


def names_of(deployment: Deployment) -> Names:
    found = followed_metric(deployment)
    if not found.metric:
        raise ValueError(found.why)
    return Names(deployment.namespace or "default", deployment.workload, found.metric, query=found.query)


def json_text(result: PlanResult, deployment: Deployment) -> str:
    try:
        return plan_json(result, names=names_of(deployment))
    except ValueError:  # its names cannot stand in a manifest: the plan itself still can
        return plan_json(result)


EXPORTS: dict[str, Export] = {
    "keda": Export("KEDA", "keda.yaml", "application/yaml", lambda result, deployment: keda_yaml(result, names=names_of(deployment))),
    "hpa": Export("HPA", "hpa.yaml", "application/yaml", lambda result, deployment: hpa_yaml(result, names=names_of(deployment))),
    "json": Export("JSON", "plan.json", "application/json", json_text),
}


def autoscaler_files(result: PlanResult, deployment: Deployment | None) -> list[File]:
    """Those the page shows; the JSON is long and only downloaded."""
    if deployment is None or result.floor is None:
        return []
    files = []
    for kind, each in EXPORTS.items():
        name = f"{deployment.workload}-{each.ending}"
        if kind == "json":
            continue
        try:
            files.append(File(kind, each.label, name, each.write(result, deployment)))
        except ValueError as error:
            files.append(File(kind, each.label, name, "", f"{error}".strip()))
    return files


@guarded
@require_GET
def plan_export(request: HttpRequest, *, pk: int, kind: str) -> HttpResponse:
    """For what the address assumes, as the page shows it."""
    actor, now = actor_of(request), timezone.now()
    deployment = deployment_get(actor, pk)
    shown = shown_load(assumed_of(request, deployment, actor=actor, now=now), now=now)
    export = EXPORTS[kind]
    try:
        if shown.result is None:
            raise ValueError(shown.problem or "No plan was made yet, so there is nothing to export.")
        text = export.write(shown.result, deployment)
    except ValueError as error:
        complain(request, f"{error}".strip())
        return redirect("plan", pk=pk)
    headers = {"Content-Disposition": f'attachment; filename="{deployment.workload}-{export.ending}"'}
    return HttpResponse(text, content_type=f"{export.content_type}; charset=utf-8", headers=headers)
