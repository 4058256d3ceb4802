"""Plans, scenarios and a group of the demo fleet, as the night and an editor would make them, for pictures and for looking at pages."""

from datetime import timedelta

from django.utils import timezone

from capacity.analysis.plan_groups import plan_group_make
from capacity.analysis.plan_jobs import deployment_plans
from capacity.analysis.plan_store import plan_store
from capacity.analysis.scenarios import Subject, event_create, scenario_create
from monitoring.models import Deployment

BY = "owner@example.com"
PLANNED = ("chat-70b", "code-32b", "asr-whisper", "fraud-score", "search-rerank")


def plans_make() -> None:
    """A launch ahead of the chat model, two scenarios of it, a group of both language models; the rest as things are."""
    now = timezone.now()
    rows = {row.name: row for row in Deployment.objects.filter(name__in=PLANNED).select_related("cluster", "team")}
    chat = rows["chat-70b"]
    launch = (now + timedelta(days=17)).replace(hour=0, minute=0, second=0, microsecond=0)
    event_create(chat, {"kind": "launch", "name": "Nordwind launch", "start_at": launch, "factor": 1.35}, by=BY, now=now)
    scenario_create(Subject(deployment=chat), {"name": "8 replicas", "replicas": 8}, by=BY, now=now)
    scenario_create(Subject(deployment=chat), {"name": "Floor by hour", "by_hour": True}, by=BY, now=now)
    for row in rows.values():
        deployment_plans(row, now=now)()
    group = scenario_create(Subject(members=[chat, rows["code-32b"]]), {"name": "Language models"}, by=BY, now=now)
    plan_store(plan_group_make(group, now=now), scenario=group)
