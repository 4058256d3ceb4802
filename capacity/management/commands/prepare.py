"""Make a database ready: tables, queues, partitions, the first admin. Safe to run twice, and twice at once."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection, transaction
from django.utils import timezone
from pgmq.install import get_embedded_install_sql, get_embedded_sql_version

from capacity.models import prices_ship
from monitoring.access import key_create
from monitoring.models import Cluster, Key, Scope, Setting, User
from monitoring.retention import partitions_ahead

LOCK = 7_264_001  # any number; one `prepare` at a time
LOCAL_CLUSTER, LOCAL_KEY = "local", "Agent of this machine"


class Command(BaseCommand):
    help = "Make the database ready: migrate, queues, partitions ahead, first admin (password: HEADROOM_ADMIN_PASSWORD or standard input)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--admin-email", default="", help="Make this install admin if there is none yet.")
        parser.add_argument(
            "--agent-key", action="store_true", help="Make and print an ingest key of the cluster `local`, if none was made."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        call_command("migrate", interactive=False, verbosity=0)
        call_command("createcachetable", verbosity=0)
        partitions_ahead(now=timezone.now())
        prices_ship(now=timezone.now())
        if settings.CELERY_BROKER_URL.startswith("pgmq"):
            queues_install()
        if options["admin_email"] and admin_make(options["admin_email"]):
            self.stdout.write("admin made")
        if options["agent_key"]:
            self.stdout.write(f"agent key {agent_key_make()}")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def queues_install() -> None:
    """PGMQ's plain SQL, once; it has no upgrade path of its own, so its version is kept beside it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regnamespace('pgmq') IS NULL")
        row = cursor.fetchone()
        if row and row[0]:
            cursor.execute(get_embedded_install_sql())
            Setting.objects.update_or_create(name="pgmq_version", defaults={"value": get_embedded_sql_version()})


def admin_make(email: str) -> bool:
    if User.objects.filter(is_superuser=True).exists():
        return False
    password = settings.ADMIN_PASSWORD or sys.stdin.readline().strip()
    User.objects.create_superuser(email, password or None)
    return True


def agent_key_make() -> str:
    """For the agent that runs beside the server. Who asks has none: the key of an earlier one ends, as nobody has its text."""
    cluster, _ = Cluster.objects.get_or_create(name=LOCAL_CLUSTER)
    Key.objects.filter(name=LOCAL_KEY, cluster=cluster, revoked_at__isnull=True).update(revoked_at=timezone.now())
    _, text = key_create(LOCAL_KEY, scope=Scope.INGEST, created_by=None, cluster=cluster)
    return text
