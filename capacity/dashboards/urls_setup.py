"""The addresses of setting up: the checklist, sources, imports, prices, one deployment by hand, SLOs."""

from django.urls import URLPattern, path, re_path

from capacity.dashboards import deployment_edit, imports, prices, retention, setup, slo, sources

urlpatterns: list[URLPattern] = [
    path("setup/", setup.setup, name="setup"),
    path("setup/live/", setup.setup_live, name="setup_live"),
    path("setup/demo/load/", setup.demo_change, {"action": "load"}, name="demo_load"),
    path("setup/demo/remove/", setup.demo_remove, name="demo_remove"),
    path("setup/demo/removal/", setup.demo_change, {"action": "remove"}, name="demo_removal"),
    path("setup/retention/", retention.retention, name="retention"),
    path("prices/", prices.prices, name="prices"),
    path("prices/new/", prices.price_new, name="price_new"),
    path("prices/currency/", prices.currency_change, name="currency_change"),
    path("prices/<int:pk>/", prices.price, name="price"),
    path("prices/<int:pk>/end/", prices.price_over, name="price_end"),
    path("exchange-rates/", prices.rate_add, name="rate_add"),
    path("exchange-rates/<int:pk>/remove/", prices.rate_remove, name="rate_remove"),
    path("sources/", sources.sources, name="sources"),
    path("sources/new/", sources.source_new, name="source_new"),
    path("sources/allowed/<int:pk>/remove/", sources.address_refuse, name="address_refuse"),
    path("sources/<int:pk>/", sources.source, name="source"),
    path("sources/<int:pk>/live/", sources.source_live, name="source_live"),
    path("sources/<int:pk>/edit/", sources.source_edit, name="source_edit"),
    path("sources/<int:pk>/test/", sources.source_test_again, name="source_test_again"),
    re_path(r"^sources/(?P<pk>[0-9]+)/(?P<verb>pause|resume)/$", sources.source_switch, name="source_switch"),
    path("sources/<int:pk>/delete/", sources.source_delete, name="source_delete"),
    path("sources/<int:pk>/import/", imports.source_import, name="source_import"),
    re_path(r"^imports/(?P<pk>[0-9]+)/(?P<verb>pause|resume|retry)/$", imports.import_change, name="import_change"),
    path("deployments/hidden/", deployment_edit.deployments_hidden, name="deployments_hidden"),
    path("deployments/<int:pk>/edit/", deployment_edit.deployment_edit, name="deployment_edit"),
    re_path(r"^deployments/(?P<pk>[0-9]+)/(?P<verb>archive|ignore|restore)/$", deployment_edit.deployment_state, name="deployment_state"),
    path("deployments/<int:pk>/merge/search/", deployment_edit.merge_search, name="merge_search"),
    path("deployments/<int:pk>/merge/", deployment_edit.deployment_merge_into, name="deployment_merge_into"),
    path("deployments/<int:pk>/events/", deployment_edit.event_add, name="event_add"),
    path("events/<int:pk>/remove/", deployment_edit.event_remove, name="event_remove"),
    path("deployments/<int:pk>/slo/", slo.deployment_slo, name="deployment_slo"),
    path("deployments/<int:pk>/slo/preview/", slo.slo_preview, name="slo_preview"),
    path("deployments/<int:pk>/slo/remove/", slo.slo_remove, name="slo_remove"),
    path("slos/", slo.slos, name="slos"),
    path("slos/set/", slo.slos_set, name="slos_set"),
]
