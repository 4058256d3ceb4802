"""The addresses of alerts, their rules, silences, channels and deliveries."""

from django.urls import URLPattern, path, re_path

from capacity.dashboards import (
    alerts,
    alerts_act,
    alerts_channels,
    alerts_deliveries,
    alerts_detail,
    alerts_preview,
    alerts_rules,
    alerts_silences,
    alerts_yaml,
)

urlpatterns: list[URLPattern] = [
    path("alerts/", alerts.alerts, name="alerts"),
    path("alerts/<int:pk>/", alerts_detail.alert, name="alert"),
    path("alerts/<int:pk>/acknowledge/", alerts_act.acknowledge, name="alert_acknowledge"),
    path("alerts/<int:pk>/unacknowledge/", alerts_act.unacknowledge, name="alert_unacknowledge"),
    path("alerts/<int:pk>/silence/", alerts_act.silence, name="alert_silence"),
    path("alerts/rules/", alerts_rules.alert_rules, name="alert_rules"),
    path("alerts/rules/new/", alerts_rules.alert_rule_new, name="alert_rule_new"),
    path("alerts/rules/preview/", alerts_preview.alert_rule_preview, name="alert_rule_preview"),
    path("alerts/rules/yaml/", alerts_yaml.alert_rules_file, name="alert_rules_file"),
    path("alerts/rules.yaml", alerts_yaml.alert_rules_download, name="alert_rules_download"),
    path("alerts/rules/<int:pk>/", alerts_rules.alert_rule, name="alert_rule"),
    re_path(r"^alerts/rules/(?P<pk>[0-9]+)/(?P<verb>on|off)/$", alerts_rules.alert_rule_switch, name="alert_rule_switch"),
    path("alerts/rules/<int:pk>/delete/", alerts_rules.alert_rule_delete, name="alert_rule_delete"),
    path("alerts/silences/", alerts_silences.silences, name="silences"),
    path("alerts/silences/<int:pk>/end/", alerts_silences.end, name="silence_end"),
    path("alerts/channels/", alerts_channels.channels, name="channels"),
    path("alerts/channels/new/", alerts_channels.channel_new, name="channel_new"),
    path("alerts/channels/<int:pk>/", alerts_channels.channel, name="channel"),
    path("alerts/channels/<int:pk>/test/", alerts_channels.channel_test_again, name="channel_test_again"),
    re_path(r"^alerts/channels/(?P<pk>[0-9]+)/(?P<verb>on|off)/$", alerts_channels.switch, name="channel_switch"),
    path("alerts/channels/<int:pk>/delete/", alerts_channels.delete, name="channel_delete"),
    path("alerts/deliveries/", alerts_deliveries.deliveries, name="deliveries"),
    path("alerts/deliveries/<int:pk>/replay/", alerts_deliveries.replay, name="delivery_replay"),
]
