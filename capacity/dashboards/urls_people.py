"""The addresses of looking after: undo, teams, rules, keys, audit, status, the own account."""

from django.urls import URLPattern, path, re_path

from capacity.dashboards import account, keys, status, team_rules, teams, undo

urlpatterns: list[URLPattern] = [
    path("undo/<str:token>/", undo.undo, name="undo"),
    path("teams/", teams.teams, name="teams"),
    path("teams/rules/", team_rules.team_rules, name="team_rules"),
    path("teams/rules/preview/", team_rules.rule_preview, name="rule_preview"),
    path("teams/assign/", team_rules.teams_assign, name="teams_assign"),
    re_path(r"^rules/(?P<pk>[0-9]+)/(?P<way>up|down)/$", team_rules.rule_move, name="rule_move"),
    path("rules/<int:pk>/remove/", team_rules.rule_remove, name="rule_remove"),
    path("teams/<int:pk>/", teams.team, name="team"),
    path("teams/<int:pk>/invite/", teams.member_invite, name="member_invite"),
    path("teams/<int:pk>/delete/", teams.team_delete, name="team_delete"),
    path("invites/<int:pk>/remove/", teams.invite_remove, name="invite_remove"),
    path("members/<int:pk>/role/", teams.member_role, name="member_role"),
    path("members/<int:pk>/remove/", teams.member_remove, name="member_remove"),
    path("keys/", keys.keys, name="keys"),
    path("keys/<int:pk>/end/", keys.key_end, name="key_end"),
    path("keys/<int:pk>/rotate/", keys.key_rotate, name="key_rotate"),
    path("audit/", keys.audit_log, name="audit_log"),
    path("status/", status.status, name="status"),
    path("account/", account.account, name="account"),
    path("account/sign-out/", account.sessions_end, name="sessions_end"),
]
