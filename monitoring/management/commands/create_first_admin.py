"""Make the first admin of the install and print the password once; does nothing when there is an admin."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from monitoring.access import admin_ensure


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        password = admin_ensure(options["email"])
        self.stdout.write(f"{options['email']} {password}" if password else "There is an admin already; see password_link.")
