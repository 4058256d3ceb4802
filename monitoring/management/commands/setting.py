"""Show the settings that live in the database, or change one: `manage.py setting retention_raw_days 7`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from monitoring.access import audit
from monitoring.models import KNOWN, setting_get, setting_set


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", choices=sorted(KNOWN))
        parser.add_argument("value", nargs="?", type=float)

    def handle(self, *args: Any, **options: Any) -> None:
        name, value = options["name"], options["value"]
        if value is not None:
            setting_change(name, value)
        for known in [KNOWN[name]] if name else KNOWN.values():
            self.stdout.write(f"{known.name} = {setting_get(known.name):g} {known.unit}   {known.meaning}")


def setting_change(name: str, value: float) -> None:
    before = setting_get(name)
    try:
        setting_set(name, value, by="command line", now=timezone.now())
    except ValueError as error:
        raise CommandError(str(error)) from error
    audit("command line", "setting.change", f"setting {name}", before={"value": before}, after={"value": value})
