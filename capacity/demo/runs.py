"""The wish to load or remove the demo fleet, done by whoever claims its row; a killed one is taken up again."""

from datetime import datetime

from django.utils import timezone

from capacity.demo.inventory import DemoClash
from capacity.demo.load import demo_load
from capacity.demo.remove import demo_remove
from capacity.models import DemoAction, DemoRun


def demo_run(*, now: datetime) -> str:
    """Take the open wish, if there is one, and fulfil it; the row shows progress and, on failure, why."""
    run = DemoRun.objects.claim(now=now)
    if run is None:
        return "no wish"
    try:
        if run.action == DemoAction.REMOVE:
            run.progress(0.1, "Telemetry, then the inventory")
            summary = demo_remove()
            run.delete()  # nothing of the demo stays, not even this
            return summary
        summary = demo_load(now=now, progress=run.progress)
    except DemoClash as clash:
        run.finish(now=timezone.now(), error=str(clash))
        return f"not loaded: {clash}"
    except Exception as problem:
        run.finish(now=timezone.now(), error=f"{type(problem).__name__}: {problem}")
        raise
    run.finish(now=timezone.now())
    return summary
