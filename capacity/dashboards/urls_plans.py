"""The addresses of plans, scenarios and planned events."""

from django.urls import URLPattern, path, re_path

from capacity.dashboards import plans, plans_change, plans_compare, plans_events, plans_exports, plans_groups, plans_making, plans_page

urlpatterns: list[URLPattern] = [
    path("plans/", plans.plans, name="plans"),
    path("plans.csv", plans.plans_csv, name="plans_csv"),
    path("plans/<int:pk>/", plans_page.plan, name="plan"),
    path("plans/<int:pk>/<slug:slug>.csv", plans_page.plan_csv, name="plan_csv"),
    path("plans/<int:pk>/<slug:slug>/table/", plans_page.plan_table, name="plan_table"),
    path("plans/<int:pk>/make/", plans_making.plan_make, name="plan_make"),
    path("plans/<int:pk>/making/", plans_making.plan_making, name="plan_making"),
    path("plans/<int:pk>/compare/", plans_compare.plan_compare, name="plan_compare"),
    re_path(r"^plans/(?P<pk>[0-9]+)/autoscaler/(?P<kind>hpa|keda|json)/$", plans_exports.plan_export, name="plan_export"),
    path("plans/<int:pk>/events/", plans_events.plan_events, name="plan_events"),
    path("plans/<int:pk>/try/", plans_events.plan_try, name="plan_try"),
    path("plans/<int:pk>/settings/", plans_change.plan_settings, name="plan_settings"),
    path("plans/<int:pk>/scenarios/", plans_change.scenario_save, name="scenario_save"),
    path("planned-events/<int:pk>/", plans_events.planned_event, name="planned_event"),
    path("planned-events/<int:pk>/move/", plans_events.planned_event_move, name="planned_event_move"),
    path("planned-events/<int:pk>/remove/", plans_events.planned_event_remove, name="planned_event_remove"),
    path("scenarios/new/", plans_groups.scenario_new, name="scenario_new"),
    path("scenarios/<int:pk>/", plans_groups.scenario, name="scenario"),
    path("scenarios/<int:pk>/events/", plans_events.scenario_events, name="scenario_events"),
    path("scenarios/<int:pk>/make/", plans_making.scenario_make, name="scenario_make"),
    path("scenarios/<int:pk>/making/", plans_making.scenario_making, name="scenario_making"),
    path("scenarios/<int:pk>/clone/", plans_change.scenario_clone_view, name="scenario_clone"),
    re_path(r"^scenarios/(?P<pk>[0-9]+)/(?P<verb>choose|unchoose)/$", plans_change.scenario_choose_view, name="scenario_choose"),
    path("scenarios/<int:pk>/delete/", plans_change.scenario_delete_view, name="scenario_delete"),
]
