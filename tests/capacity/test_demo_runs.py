"""The wish for the demo fleet: claimed once, taken up again after a crash, done or failed with a reason."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from capacity.demo import fleet
from capacity.demo.runs import demo_run
from capacity.models import DemoAction, DemoRun, DemoState
from tests.factories import make_cluster

pytestmark = pytest.mark.django_db


def test_nothing_is_done_without_a_wish() -> None:
    assert demo_run(now=timezone.now()) == "no wish"


def test_one_wish_is_open_at_a_time() -> None:
    DemoRun.objects.create(action=DemoAction.LOAD)
    with pytest.raises(IntegrityError), transaction.atomic():
        DemoRun.objects.create(action=DemoAction.REMOVE)


def test_a_claimed_wish_is_not_claimed_again_before_its_lease_ends() -> None:
    now = timezone.now()
    run = DemoRun.objects.create(action=DemoAction.LOAD)
    assert DemoRun.objects.claim(now=now) == run
    assert DemoRun.objects.claim(now=now + timedelta(seconds=60)) is None
    assert DemoRun.objects.claim(now=now + timedelta(seconds=121)) == run


def test_progress_holds_the_lease() -> None:
    run = DemoRun.objects.create(action=DemoAction.LOAD)
    claimed = DemoRun.objects.claim(now=timezone.now() - timedelta(seconds=119))
    assert claimed is not None
    claimed.progress(0.5, "14 of 28 days")
    assert DemoRun.objects.claim(now=timezone.now() + timedelta(seconds=60)) is None
    run.refresh_from_db()
    assert (run.progress_ratio, run.text) == (0.5, "14 of 28 days")


def test_a_name_that_is_in_use_is_the_reason_shown() -> None:
    make_cluster(fleet.EDGE)
    DemoRun.objects.create(action=DemoAction.LOAD)
    demo_run(now=timezone.now())
    run = DemoRun.objects.get()
    assert run.state == DemoState.FAILED
    assert f"needs the name '{fleet.EDGE}'" in run.error


def test_a_removal_leaves_no_trace_of_itself() -> None:
    DemoRun.objects.create(action=DemoAction.REMOVE)
    demo_run(now=timezone.now())
    assert not DemoRun.objects.exists()
