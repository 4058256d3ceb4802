"""Print a link with which a person chooses a new password: for installs that send no mail."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.access import audit, password_link
from monitoring.models import User


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(email__iexact=options["email"], is_active=True).first()
        if user is None:
            known = ", ".join(User.objects.filter(is_active=True, is_superuser=True).values_list("email", flat=True))
            raise CommandError(f"There is no active account {options['email']}. Admins: {known or 'none, run create_first_admin'}.")
        audit("command line", "password.link", f"user {user.email}")
        self.stdout.write(password_link(user))
