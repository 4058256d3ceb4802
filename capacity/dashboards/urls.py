"""The addresses of the screens."""

from django.urls import URLPattern, path

from capacity.dashboards import accelerators, deployment, fleet, invites, urls_agents, urls_alerts, urls_people, urls_plans, urls_setup
from monitoring.catalog.records import Entity

urlpatterns: list[URLPattern] = [
    path("", fleet.fleet, name="fleet"),
    path("fleet/tiles/", fleet.tiles_later, name="fleet_tiles"),
    path("fleet.csv", fleet.fleet_csv, name="fleet_csv"),
    path("deployments/<int:pk>/", deployment.deployment, name="deployment"),
    path("deployments/<int:pk>/panels/<slug:slug>/", deployment.panel, name="deployment_panel"),
    path("deployments/<int:pk>/panels/<slug:slug>/table/", deployment.panel_table, name="deployment_panel_table"),
    path("deployments/<int:pk>/panels/<slug:slug>.csv", deployment.panel_csv, name="deployment_panel_csv"),
    path("accelerators/", accelerators.accelerators, name="accelerators"),
    path("accelerators.csv", accelerators.accelerators_csv, name="accelerators_csv"),
    path("accelerators/<int:pk>/", accelerators.accelerator, name="accelerator"),
    path("accelerators/<int:pk>/panels/<slug:slug>/table/", accelerators.hardware_table, {"entity": Entity.ACCELERATOR}),
    path("accelerators/<int:pk>/panels/<slug:slug>.csv", accelerators.hardware_csv, {"entity": Entity.ACCELERATOR}),
    path("nodes/<int:pk>/", accelerators.node, name="node"),
    path("nodes/<int:pk>/panels/<slug:slug>/table/", accelerators.hardware_table, {"entity": Entity.NODE}),
    path("nodes/<int:pk>/panels/<slug:slug>.csv", accelerators.hardware_csv, {"entity": Entity.NODE}),
    path("invite/<str:token>/", invites.invite, name="invite"),
    *urls_agents.urlpatterns,
    *urls_alerts.urlpatterns,
    *urls_people.urlpatterns,
    *urls_plans.urlpatterns,
    *urls_setup.urlpatterns,
]
