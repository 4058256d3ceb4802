from django.apps import AppConfig
from django.utils.module_loading import import_string


class CapacityConfig(AppConfig):
    name = "capacity"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # By name: both import models, which are not there yet when this file is read.
        register = import_string("monitoring.alerts.enrichment.enrichment_register")
        register(import_string("capacity.analysis.enrichment.alerts_enrich"))
