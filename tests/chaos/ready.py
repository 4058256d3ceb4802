"""Django, set up in the process from which the children of the alerts' kills are forked, before anything that needs models."""

import django
from django.apps import apps

if not apps.ready:
    django.setup()
