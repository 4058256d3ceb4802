"""Load the demo fleet, or remove it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from capacity.demo import DemoClash, demo_load, demo_remove


class Command(BaseCommand):
    help = "Load the demo fleet: 12 deployments with history, labelled DEMO. --remove takes it out without a trace."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--remove", action="store_true", help="remove the demo fleet")
        parser.add_argument("--days", type=int, default=28, help="days of history, 1 to 90 (default 28)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["remove"]:
            self.stdout.write(demo_remove())
            return
        if not 1 <= options["days"] <= 90:
            raise CommandError(f"--days needs 1 to 90, got {options['days']}")
        try:
            self.stdout.write(demo_load(now=timezone.now(), days=options["days"], progress=self.progress))
        except DemoClash as clash:
            raise CommandError(str(clash)) from clash

    def progress(self, ratio: float, text: str) -> None:
        self.stdout.write(f"{ratio:4.0%}  {text}")
