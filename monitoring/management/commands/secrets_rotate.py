"""Write all stored secrets again with the first key of HEADROOM_ENCRYPTION_KEY, so that older keys can go."""

from typing import Any

from django.core.management.base import BaseCommand

from monitoring.access import secrets_rotate


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        count = secrets_rotate()
        self.stdout.write(f"{count} secret{'' if count == 1 else 's'} written with the first key; the other keys are no longer needed.")
