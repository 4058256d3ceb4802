"""Which job runs when, and on which queue. No settings, no models: read by settings.py."""

from typing import Any

from celery.schedules import crontab, schedule
from kombu import Queue

QUEUE_NAMES = ("poll", "import", "alerts", "upkeep", "analysis")  # a slow import never delays a poll where queues have own workers
QUEUES = tuple(Queue(name) for name in QUEUE_NAMES)
EACH_MINUTE = crontab()

# task -> (queue, when, seconds after which a message nobody took is worthless)
JOBS: dict[str, tuple[str, Any, float]] = {
    "monitoring.poll": ("poll", schedule(5.0), 5.0),
    "monitoring.import": ("import", schedule(5.0), 5.0),
    "monitoring.rollups_fill": ("upkeep", EACH_MINUTE, 60.0),
    "monitoring.partitions_ahead": ("upkeep", crontab(minute="7"), 3600.0),
    "monitoring.partitions_pack": ("upkeep", crontab(minute="22"), 3600.0),
    "monitoring.partitions_drop": ("upkeep", crontab(minute="37"), 3600.0),
    "monitoring.alerts_evaluate": ("alerts", schedule(10.0), 10.0),
    "monitoring.alerts_send": ("alerts", schedule(5.0), 5.0),
    "monitoring.alerts_sweep": ("alerts", EACH_MINUTE, 60.0),
    "monitoring.alerts_notices": ("upkeep", EACH_MINUTE, 60.0),
    "monitoring.dead_man": ("upkeep", EACH_MINUTE, 60.0),
    "monitoring.look": ("import", crontab(minute="*/10"), 600.0),
    "monitoring.slots_clean": ("upkeep", crontab(minute="52"), 3600.0),
    "capacity.status_update": ("analysis", EACH_MINUTE, 60.0),
    "capacity.saturation": ("analysis", EACH_MINUTE, 60.0),
    "capacity.forecasts_night": ("analysis", EACH_MINUTE, 60.0),  # takes the turns that are due: by night, and by day of what is new
    "capacity.forecasts_hour": ("analysis", EACH_MINUTE, 60.0),
    "capacity.plans": ("analysis", EACH_MINUTE, 60.0),  # as the forecasts: turns that are due, and what was asked for
    "capacity.forecasts_missed": ("analysis", crontab(minute="*/5"), 300.0),
    "capacity.demo_live": ("analysis", EACH_MINUTE, 60.0),
    "capacity.demo_run": ("import", schedule(5.0), 5.0),
}
TASK_ROUTES = {task: {"queue": queue} for task, (queue, _, _) in JOBS.items()}
BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    task: {"task": task, "schedule": when, "options": {"expires": expires, "queue": queue}} for task, (queue, when, expires) in JOBS.items()
}
# A sign of life of every queue: written by the worker that takes it, read by /healthz and the supervisor.
BEAT_SCHEDULE |= {
    f"canary {name}": {
        "task": "monitoring.canary",
        "schedule": EACH_MINUTE,
        "kwargs": {"queue": name},
        "options": {"expires": 60.0, "queue": name},
    }
    for name in QUEUE_NAMES
}
