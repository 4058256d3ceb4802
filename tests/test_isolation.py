"""No team sees another's data through any door: every address x every kind of caller, by one declared table.

An address that is not in the table fails the test: say who may come in before it ships.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.urls import URLPattern, get_resolver

from tests.isolation_world import KEYS, PEOPLE, ROLES, World, bodies_of

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent
SAFE = ("get",)

# Who may come in. Objects in the paths belong to the team "own".
OPEN = "open"  # everybody, nobody included
KNOWN = "known"  # everybody who is signed in
OWN = "own"  # whoever sees the team; for others it does not exist
EDIT = "edit"  # its editors and admins; viewers are told no
MANAGE = "manage"  # its admins; viewers and editors are told no
MANAGE_HIDDEN = "manage, hidden"  # its admins; for viewers and editors it does not exist
SOME_ADMIN = "some admin"  # an admin of any team
SOME_EDITOR = "some editor"  # an editor or admin of any team
ADMIN = "admin"  # admins of the install
PART = "part of a page"  # leads to its page, where OWN holds; alone only for htmx
ABSENT = "absent"  # the sample does not exist

# address -> method -> who. A method that is not named must be refused with 405 to those who come in.
PAGES: dict[str, dict[str, str]] = {
    "healthz": {"get": OPEN},
    "readyz": {"get": OPEN},
    "metrics": {"get": OPEN},
    "csp-report": {"post": OPEN},
    "unsubscribe/<str:token>": {"get": OPEN, "post": OPEN},
    "": {"get": KNOWN},
    "fleet.csv": {"get": KNOWN},
    "fleet/tiles/": {"get": KNOWN},
    "deployments/<int:pk>/": {"get": OWN},
    "deployments/<int:pk>/panels/<slug:slug>/": {"get": PART},
    "deployments/<int:pk>/panels/<slug:slug>/table/": {"get": OWN},
    "deployments/<int:pk>/panels/<slug:slug>.csv": {"get": OWN},
    "accelerators/": {"get": KNOWN},
    "accelerators.csv": {"get": KNOWN},
    "accelerators/<int:pk>/": {"get": OWN},
    "accelerators/<int:pk>/panels/<slug:slug>/table/": {"get": OWN},
    "accelerators/<int:pk>/panels/<slug:slug>.csv": {"get": OWN},
    "nodes/<int:pk>/": {"get": OWN},
    "nodes/<int:pk>/panels/<slug:slug>/table/": {"get": OWN},
    "nodes/<int:pk>/panels/<slug:slug>.csv": {"get": OWN},
    "agents/": {"get": KNOWN},
    "agents.csv": {"get": KNOWN},
    "agents/install/": {"get": KNOWN, "post": ADMIN},
    "agents/install/live/": {"get": KNOWN},
    "agents/<int:pk>/": {"get": OWN},
    "agents/<int:pk>/forget/": {"post": ADMIN},
    "invite/<str:token>/": {"get": OPEN, "post": OPEN},
    "undo/<str:token>/": {"post": ABSENT},
    "teams/": {"get": KNOWN, "post": ADMIN},
    "teams/rules/": {"get": ADMIN, "post": ADMIN},
    "teams/rules/preview/": {"get": ADMIN},
    "teams/assign/": {"post": ADMIN},
    r"^rules/(?P<pk>[0-9]+)/(?P<way>up|down)/$": {"post": ADMIN},
    "rules/<int:pk>/remove/": {"post": ADMIN},
    "teams/<int:pk>/": {"get": OWN, "post": MANAGE},
    "teams/<int:pk>/invite/": {"post": MANAGE},
    "teams/<int:pk>/delete/": {"post": ADMIN},
    "invites/<int:pk>/remove/": {"post": MANAGE_HIDDEN},
    "members/<int:pk>/role/": {"post": MANAGE},
    "members/<int:pk>/remove/": {"post": MANAGE},
    "keys/": {"get": KNOWN, "post": SOME_ADMIN},
    "keys/<int:pk>/end/": {"post": MANAGE_HIDDEN},
    "keys/<int:pk>/rotate/": {"post": MANAGE_HIDDEN},
    "alerts/": {"get": KNOWN},
    "alerts/<int:pk>/": {"get": OWN},
    "alerts/<int:pk>/acknowledge/": {"post": EDIT},
    "alerts/<int:pk>/unacknowledge/": {"post": EDIT},
    "alerts/<int:pk>/silence/": {"post": EDIT},
    "alerts/rules/": {"get": KNOWN},
    "alerts/rules/new/": {"get": SOME_EDITOR, "post": SOME_EDITOR},
    "alerts/rules/preview/": {"post": KNOWN},
    "alerts/rules/yaml/": {"get": SOME_EDITOR, "post": SOME_EDITOR},
    "alerts/rules.yaml": {"get": KNOWN},
    "alerts/rules/<int:pk>/": {"get": OWN, "post": EDIT},
    r"^alerts/rules/(?P<pk>[0-9]+)/(?P<verb>on|off)/$": {"post": EDIT},
    "alerts/rules/<int:pk>/delete/": {"post": EDIT},
    "alerts/silences/": {"get": KNOWN, "post": SOME_EDITOR},
    "alerts/silences/<int:pk>/end/": {"post": EDIT},
    "alerts/channels/": {"get": KNOWN},
    "alerts/channels/new/": {"get": SOME_ADMIN, "post": SOME_ADMIN},
    "alerts/channels/<int:pk>/": {"get": OWN, "post": MANAGE},
    "alerts/channels/<int:pk>/test/": {"post": MANAGE},
    r"^alerts/channels/(?P<pk>[0-9]+)/(?P<verb>on|off)/$": {"post": MANAGE},
    "alerts/channels/<int:pk>/delete/": {"get": MANAGE, "post": MANAGE},
    "alerts/deliveries/": {"get": KNOWN},
    "alerts/deliveries/<int:pk>/replay/": {"post": EDIT},
    "audit/": {"get": ADMIN},
    "status/": {"get": KNOWN},
    "account/": {"get": KNOWN, "post": KNOWN},
    "account/sign-out/": {"post": KNOWN},
    "setup/": {"get": ADMIN},
    "setup/live/": {"get": ADMIN},
    "setup/retention/": {"get": ADMIN, "post": ADMIN},
    "setup/demo/load/": {"post": ADMIN},
    "setup/demo/remove/": {"get": ADMIN},
    "setup/demo/removal/": {"post": ADMIN},
    "prices/": {"get": KNOWN},
    "prices/new/": {"get": ADMIN, "post": ADMIN},
    "prices/currency/": {"post": ADMIN},
    "prices/<int:pk>/": {"get": ADMIN, "post": ADMIN},
    "prices/<int:pk>/end/": {"post": ADMIN},
    "exchange-rates/": {"post": ADMIN},
    "exchange-rates/<int:pk>/remove/": {"post": ADMIN},
    "supply/": {"get": KNOWN},
    "supply/orders/new/": {"get": ADMIN, "post": ADMIN},
    "supply/orders/<int:pk>/": {"get": ADMIN, "post": ADMIN},
    r"^supply/orders/(?P<pk>[0-9]+)/(?P<verb>arrive|cancel)/$": {"post": ADMIN},
    "sources/": {"get": ADMIN},
    "sources/new/": {"get": ADMIN, "post": ADMIN},
    "sources/allowed/<int:pk>/remove/": {"post": ADMIN},
    "sources/<int:pk>/": {"get": ADMIN},
    "sources/<int:pk>/live/": {"get": ADMIN},
    "sources/<int:pk>/edit/": {"get": ADMIN, "post": ADMIN},
    "sources/<int:pk>/test/": {"post": ADMIN},
    r"^sources/(?P<pk>[0-9]+)/(?P<verb>pause|resume)/$": {"post": ADMIN},
    "sources/<int:pk>/delete/": {"get": ADMIN, "post": ADMIN},
    "sources/<int:pk>/import/": {"post": ADMIN},
    r"^imports/(?P<pk>[0-9]+)/(?P<verb>pause|resume|retry)/$": {"post": ADMIN},
    "plans/": {"get": KNOWN},
    "plans.csv": {"get": KNOWN},
    "plans/<int:pk>/": {"get": OWN},
    "plans/<int:pk>/<slug:slug>.csv": {"get": OWN},
    "plans/<int:pk>/<slug:slug>/table/": {"get": OWN},
    "plans/<int:pk>/make/": {"post": EDIT},
    "plans/<int:pk>/making/": {"get": PART},
    "plans/<int:pk>/compare/": {"get": OWN},
    r"^plans/(?P<pk>[0-9]+)/autoscaler/(?P<kind>hpa|keda|json)/$": {"get": OWN},
    "plans/<int:pk>/events/": {"get": OWN, "post": EDIT},
    "plans/<int:pk>/try/": {"post": OWN},
    "plans/<int:pk>/settings/": {"get": EDIT, "post": EDIT},
    "plans/<int:pk>/scenarios/": {"post": EDIT},
    "planned-events/<int:pk>/": {"get": EDIT, "post": EDIT},
    "planned-events/<int:pk>/move/": {"post": EDIT},
    "planned-events/<int:pk>/remove/": {"post": EDIT},
    "scenarios/new/": {"get": SOME_EDITOR, "post": SOME_EDITOR},
    "scenarios/<int:pk>/": {"get": OWN, "post": EDIT},
    "scenarios/<int:pk>/events/": {"get": OWN, "post": EDIT},
    "scenarios/<int:pk>/make/": {"post": EDIT},
    "scenarios/<int:pk>/making/": {"get": PART},
    "scenarios/<int:pk>/clone/": {"post": EDIT},
    r"^scenarios/(?P<pk>[0-9]+)/(?P<verb>choose|unchoose)/$": {"post": EDIT},
    "scenarios/<int:pk>/delete/": {"post": EDIT},
    "deployments/hidden/": {"get": KNOWN},
    "deployments/<int:pk>/edit/": {"get": EDIT, "post": EDIT},
    r"^deployments/(?P<pk>[0-9]+)/(?P<verb>archive|ignore|restore)/$": {"post": EDIT},
    "deployments/<int:pk>/merge/search/": {"get": EDIT},
    "deployments/<int:pk>/merge/": {"post": EDIT},
    "deployments/<int:pk>/events/": {"post": EDIT},
    "events/<int:pk>/remove/": {"post": EDIT},
    "deployments/<int:pk>/slo/": {"get": EDIT, "post": EDIT},
    "deployments/<int:pk>/slo/preview/": {"get": EDIT},
    "deployments/<int:pk>/slo/remove/": {"post": EDIT},
    "slos/": {"get": KNOWN},
    "slos/set/": {"post": KNOWN},
    "accounts/login/": {"get": OPEN, "post": OPEN},
    "accounts/logout/": {"get": OPEN, "post": OPEN},
    "accounts/inactive/": {"get": OPEN},
    "accounts/password/change/": {"get": KNOWN, "post": KNOWN},
    "accounts/password/set/": {"get": KNOWN, "post": KNOWN},
    "accounts/password/reset/": {"get": OPEN, "post": OPEN},
    "accounts/password/reset/done/": {"get": OPEN},
    "accounts/password/reset/key/done/": {"get": OPEN},
    r"accounts/^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$": {"get": OPEN, "post": OPEN},
}

# For the API: reading as above; what changes something needs besides a session or a key that may change.
PERSON = " by a person"  # no key may do it
ASKS = " asking"  # with a body, but it changes nothing: a key that reads may
PUSH = "push"  # ingest keys only, and no session
API: dict[str, dict[str, str]] = {
    "api/v1/ingest": {"post": PUSH},
    "api/schema/": {"get": KNOWN},
    "api/v1/me": {"get": KNOWN},
    "api/v1/fleet": {"get": KNOWN},
    "api/v1/status": {"get": KNOWN},
    "api/v1/catalogue": {"get": KNOWN},
    "api/v1/audit": {"get": ADMIN},
    "api/v1/demo": {"get": KNOWN, "post": ADMIN, "delete": ADMIN},
    "api/v1/deployments": {"get": KNOWN},
    "api/v1/deployments/<int:pk>": {"get": OWN, "patch": EDIT},
    "api/v1/deployments/<int:pk>/merge": {"post": EDIT},
    "api/v1/deployments/<int:pk>/versions": {"get": OWN},
    "api/v1/deployments/<int:pk>/replicas": {"get": OWN},
    "api/v1/deployments/<int:pk>/placements": {"get": OWN},
    "api/v1/deployments/<int:pk>/events": {"get": OWN, "post": EDIT},
    "api/v1/deployments/<int:pk>/missing-metrics": {"get": OWN},
    "api/v1/deployments/<int:pk>/series": {"get": OWN},
    "api/v1/deployments/<int:pk>/latency": {"get": OWN},
    "api/v1/deployments/<int:pk>/slo": {"get": OWN, "put": EDIT, "delete": EDIT},
    "api/v1/deployments/<int:pk>/slo/suggestion": {"get": OWN},
    "api/v1/deployments/<int:pk>/slo/minutes": {"get": OWN},
    "api/v1/events/<int:pk>": {"delete": EDIT},
    "api/v1/accelerators": {"get": KNOWN},
    "api/v1/accelerators/<int:pk>": {"get": OWN},
    "api/v1/accelerators/<int:pk>/series": {"get": OWN},
    "api/v1/accelerators/<int:pk>/processes": {"get": OWN},
    "api/v1/agents": {"get": KNOWN},
    "api/v1/agents/<int:pk>": {"get": OWN},
    "api/v1/alerts": {"get": KNOWN},
    "api/v1/alerts/<int:pk>": {"get": OWN},
    "api/v1/alerts/<int:pk>/acknowledge": {"post": EDIT, "delete": EDIT},
    "api/v1/alerts/<int:pk>/silence": {"post": EDIT},
    "api/v1/alert-rules": {"get": KNOWN, "post": ADMIN},
    "api/v1/alert-rules/signals": {"get": KNOWN},
    "api/v1/alert-rules/preview": {"post": ADMIN},
    "api/v1/alert-rules/yaml": {"get": KNOWN, "post": KNOWN},
    "api/v1/alert-rules/<int:pk>": {"get": OWN, "patch": EDIT, "delete": EDIT},
    "api/v1/silences": {"get": KNOWN, "post": KNOWN},
    "api/v1/silences/<int:pk>": {"get": OWN, "delete": EDIT},
    "api/v1/channels": {"get": KNOWN, "post": KNOWN},
    "api/v1/channels/<int:pk>": {"get": OWN, "patch": MANAGE, "delete": MANAGE},
    "api/v1/channels/<int:pk>/test": {"post": MANAGE},
    "api/v1/deliveries": {"get": KNOWN},
    "api/v1/deliveries/<int:pk>/replay": {"post": EDIT},
    "api/v1/nodes": {"get": KNOWN},
    "api/v1/nodes/<int:pk>": {"get": OWN},
    "api/v1/nodes/<int:pk>/series": {"get": OWN},
    "api/v1/deployments/<int:pk>/price": {"get": OWN},
    "api/v1/nodes/<int:pk>/price": {"get": OWN},
    "api/v1/deployments/<int:pk>/forecasts": {"get": OWN},
    "api/v1/deployments/<int:pk>/saturation": {"get": OWN},
    "api/v1/deployments/<int:pk>/plan": {"get": OWN, "post": EDIT},
    "api/v1/deployments/<int:pk>/plan/what-if": {"post": OWN + ASKS},
    "api/v1/deployments/<int:pk>/plan/export": {"get": ABSENT},
    "api/v1/deployments/<int:pk>/fit": {"get": OWN, "post": OWN + ASKS},
    "api/v1/deployments/<int:pk>/plan-settings": {"get": OWN, "patch": EDIT},
    "api/v1/plans": {"get": KNOWN},
    "api/v1/scenarios": {"get": KNOWN, "post": KNOWN},
    "api/v1/scenarios/compare": {"get": KNOWN},
    "api/v1/scenarios/<int:pk>": {"get": OWN, "patch": EDIT, "delete": EDIT},
    "api/v1/scenarios/<int:pk>/clone": {"post": EDIT},
    "api/v1/scenarios/<int:pk>/choose": {"post": EDIT, "delete": EDIT},
    "api/v1/scenarios/<int:pk>/plan": {"get": OWN},
    "api/v1/planned-events": {"get": KNOWN, "post": KNOWN},
    "api/v1/planned-events/<int:pk>": {"get": OWN, "patch": EDIT, "delete": EDIT},
    "api/v1/supply": {"get": KNOWN},
    "api/v1/supply-orders": {"get": KNOWN, "post": ADMIN},
    "api/v1/supply-orders/<int:pk>": {"get": KNOWN, "patch": ADMIN, "delete": ADMIN},
    "api/v1/supply-orders/<int:pk>/arrive": {"post": ADMIN},
    "api/v1/supply-orders/<int:pk>/cancel": {"post": ADMIN},
    "api/v1/prices": {"get": KNOWN, "post": ADMIN},
    "api/v1/prices/yaml": {"get": KNOWN, "post": ADMIN},
    "api/v1/prices/<int:pk>": {"get": OWN, "patch": ADMIN},
    "api/v1/prices/<int:pk>/end": {"post": ADMIN},
    "api/v1/exchange-rates": {"get": KNOWN, "post": ADMIN},
    "api/v1/exchange-rates/<int:pk>": {"delete": ADMIN},
    "api/v1/currency": {"get": KNOWN, "put": ADMIN},
    "api/v1/sources": {"get": ADMIN, "post": ADMIN},
    "api/v1/sources/<int:pk>": {"get": ADMIN, "patch": ADMIN, "delete": ADMIN},
    "api/v1/sources/<int:pk>/test": {"post": ADMIN},
    "api/v1/sources/<int:pk>/import": {"post": ADMIN},
    "api/v1/imports": {"get": ADMIN},
    "api/v1/imports/<int:pk>": {"get": ADMIN},
    "api/v1/imports/<int:pk>/pause": {"post": ADMIN},
    "api/v1/imports/<int:pk>/resume": {"post": ADMIN},
    "api/v1/allowed-addresses": {"get": ADMIN, "post": ADMIN},
    "api/v1/allowed-addresses/<int:pk>": {"delete": ADMIN},
    "api/v1/teams": {"get": KNOWN, "post": ADMIN},
    "api/v1/teams/<int:pk>": {"get": OWN, "patch": MANAGE + PERSON, "delete": ADMIN},
    "api/v1/memberships": {"get": KNOWN},
    "api/v1/memberships/<int:pk>": {"get": OWN, "patch": MANAGE + PERSON, "delete": MANAGE + PERSON},
    "api/v1/team-rules": {"get": ADMIN, "post": ADMIN},
    "api/v1/team-rules/apply": {"post": ADMIN},
    "api/v1/team-rules/<int:pk>": {"get": ADMIN, "put": ADMIN, "delete": ADMIN},
    "api/v1/invites": {"get": KNOWN, "post": KNOWN + PERSON},
    "api/v1/invites/<int:pk>": {"delete": MANAGE_HIDDEN + PERSON},
    "api/v1/keys": {"get": KNOWN, "post": KNOWN + PERSON},
    "api/v1/keys/<int:pk>": {"get": MANAGE_HIDDEN, "delete": MANAGE_HIDDEN + PERSON},
}
METHODS = ("get", "post", "put", "patch", "delete")
UNNAMED = ("nobody", "foreign admin", "own admin", "foreign rw key", "install rw key")  # who tries methods no view has
NEEDS_A_BODY = ("deployments/<int:pk>/merge/",)  # without the other id it finds nothing
BY_HTMX = ("foreign admin", "own viewer", "root")
OK = {200, 201, 202, 204, 302, 400, 409, 415, 422}  # came in; with an empty body most changes are refused as incomplete
# First part of the path -> whose id stands there.
THINGS = {
    "deployments": "deployment",
    "accelerators": "accelerator",
    "agents": "agent",
    "nodes": "node",
    "teams": "team",
    "invites": "invite",
    "members": "membership",
    "memberships": "membership",
    "keys": "key",
    "events": "event",
    "prices": "price",
    "exchange-rates": "rate",
    "plans": "deployment",
    "scenarios": "scenario",
    "planned-events": "planned_event",
    "supply": "supply_order",
    "supply-orders": "supply_order",
    "sources": "source",
    "imports": "import",
    "rules": "rule",
    "team-rules": "rule",
    "allowed-addresses": "allowed",
    "alerts": "alert",
    "alert-rules": "alert_rule",
    "silences": "silence",
    "channels": "channel",
    "deliveries": "delivery",
}
WORDS = {"kind": "json", "way": "up", "verb": "pause", "uidb36": "1", "key": "no-such-key", "token": "no-such-token"}


def routes() -> dict[str, URLPattern]:
    def walk(patterns: Any, prefix: str) -> Iterator[tuple[str, URLPattern]]:
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                yield prefix + str(pattern.pattern), pattern
            else:
                yield from walk(pattern.url_patterns, prefix + str(pattern.pattern))

    return dict(walk(get_resolver().url_patterns, ""))


def path_of(route: str, world: World) -> str:
    """A real path of the route, with the ids of what team "own" has."""
    words = dict(WORDS)
    verbs = {"^deployments": "archive", "^alerts": "off", "^supply": "arrive"}
    words["verb"] = next((verb for start, verb in verbs.items() if route.startswith(start)), words["verb"])
    plain = re.sub(r"^(api/v1/|\^)", "", route.replace("alerts/rules", "alert-rules"))
    first = re.sub(r"^alerts/(?=channels|silences|deliveries)", "", plain).split("/")[0]
    thing = "allowed" if "sources/allowed" in route else THINGS.get(first, "")
    words["pk"] = str(world.ids.get(thing, ""))
    words["verb"] = "choose" if route.startswith("^scenarios") else words["verb"]
    words["slug"] = "demand" if route.startswith("plans") else {"deployment": "traffic", "accelerator": "activity"}.get(thing, "cpu")
    path = re.sub(r"\(\?P<(\w+)>[^)]*\)", lambda match: words[match[1]], route)
    path = re.sub(r"<\w+:(\w+)>", lambda match: words[match[1]], path)
    return "/" + path.replace("^", "").replace("$", "")


def expected(who: str, role: str, *, method: str, api: bool) -> set[int]:
    """The statuses that are right for this role; 302 of a page to nobody must lead to sign-in."""
    if who == OPEN:
        return OK | {401, 404}
    if who == PUSH:
        return expected_of_push(role)
    if role == "nobody" or (not api and role in KEYS):
        return {401} if api else {302}
    if role in KEYS:
        return expected_of_key(who, role, method=method)
    return expected_of_person(who.removesuffix(PERSON).removesuffix(ASKS), role)


def expected_of_person(who: str, role: str) -> set[int]:
    side, _, rank = role.partition(" ")
    if who in (PART, ABSENT):
        return {302} | expected_of_person(OWN, role) if who == PART else {404}
    if role == "root" or who == KNOWN:
        return OK
    if who == ADMIN:
        return {403}
    if who in (SOME_ADMIN, SOME_EDITOR):
        return OK if rank == "admin" or (who == SOME_EDITOR and rank == "editor") else {403}
    if side == "foreign":
        return {404}
    allowed = {OWN: ("viewer", "editor", "admin"), EDIT: ("editor", "admin")}.get(who, ("admin",))
    return OK if rank in allowed else {404} if who == MANAGE_HIDDEN else {403}


def expected_of_key(who: str, role: str, *, method: str) -> set[int]:
    asks = method in SAFE or who.endswith(ASKS)
    if role == "ingest key" or who.endswith(PERSON) or (not asks and " ro " in role):
        return {403}
    person = {
        "foreign ro key": "foreign viewer",
        "foreign rw key": "foreign admin",
        "own ro key": "own viewer",
        "own rw key": "own admin",
        "install ro key": "own viewer",
        "install rw key": "root",
    }[role]
    return expected_of_person(who.removesuffix(ASKS), person)


def expected_of_push(role: str) -> set[int]:
    """The ingest key of the sample belongs to no cluster: it is told so."""
    return {403} if role in KEYS else {401}


def refused(methods: dict[str, str], role: str, *, api: bool) -> set[int]:
    """Of a method no view has. A page that only shows something may answer a POST like a GET."""
    like_get = set() if api else expected(methods.get("get", ABSENT), role, method="get", api=False)
    return {401, 403, 404, 405} | (like_get or {302})


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    with django_db_blocker.unblock(), transaction.atomic():
        yield World()
        transaction.set_rollback(True)


@pytest.fixture
def knocks(world: World, settings: Any) -> World:
    settings.API_CALLS_PER_MINUTE = settings.API_CALLS_PER_MINUTE_AND_ADDRESS = 10**6
    return world


def knock(world: World, role: str, method: str, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, body and where it leads; whatever it changed is undone."""
    with transaction.atomic():
        answer = world.doors[role].knock(method, path, **headers)
        seen = (answer.status_code, bodies_of(answer), answer.headers.get("Location", ""))
        transaction.set_rollback(True)
    return seen


def problems(world: World, route: str, methods: dict[str, str]) -> Iterator[str]:
    api, path = route.startswith("api/"), path_of(route, world)
    for method in METHODS if api else ("get", "post"):
        who = methods.get(method)
        for role in ROLES if who else UNNAMED:
            right = expected(who, role, method=method, api=api) if who else refused(methods, role, api=api)
            if route in NEEDS_A_BODY and right == OK:
                right = {404}
            for headers in ({}, {"HX-Request": "true"}) if not api and method == "get" and role in BY_HTMX else ({},):
                status, body, leads = knock(world, role, method, path, **headers)
                spot = f"{method} {path} {'by htmx ' if headers else ''}as {role}"
                if status not in right:
                    yield f"{spot}: {status}, expected {sorted(right)}"
                if right == {302} and not leads.startswith("/accounts/login/"):
                    yield f"{spot}: leads to {leads}, not to sign-in"
                yield from (f"{spot}: shows {word}" for word in world.hidden_from(role) if word in body and word not in path)


def test_every_address_is_in_the_table_and_the_other_way_round() -> None:
    assert set(routes()) == set(PAGES) | set(API)


@pytest.mark.parametrize("route", [*PAGES, *API], ids=lambda route: route or "/")
def test_each_caller_gets_what_the_table_says_and_sees_nothing_else(knocks: World, route: str) -> None:
    assert list(problems(knocks, route, (PAGES | API)[route])) == []


def test_the_table_finds_a_leak(knocks: World) -> None:
    """A suite that cannot fail proves nothing: what an admin sees would fail as another's."""
    status, body, _ = knock(knocks, "root", "get", "/api/v1/deployments")
    assert status == 200
    assert [word for word in knocks.hidden_from("foreign viewer") if word in body]
    assert expected(OWN, "foreign admin", method="get", api=True) == {404}


@pytest.mark.parametrize("role", [*PEOPLE, *KEYS])
def test_lists_hold_exactly_the_own_rows(knocks: World, role: str) -> None:
    """The lists of the API, name by name, so that one row too many fails."""
    sees = {
        "own": {"zqown-model"},
        "foreign": {"zqrival-model"},
        "root": {"zqown-model", "zqrival-model", "zqinstall-unassigned"},
        "install": {"zqown-model", "zqrival-model", "zqinstall-unassigned"},
        "ingest": None,
    }[role.split(" ")[0]]
    answer = knocks.doors[role].knock("get", "/api/v1/deployments")
    if sees is None:
        assert answer.status_code == 403
    else:
        assert {row["name"] for row in answer.json()["results"]} == sees  # type: ignore[attr-defined]


# --- The lint: views take team-owned rows from monitoring.access, never from a model itself --------------------------

OWNED = {
    *("Deployment", "Version", "Replica", "Placement", "Event", "Slo", "Node", "Accelerator"),
    *("Agent", "AgentGap", "AcceleratorProcess"),
    *("Scenario", "PlannedEvent", "PlanRun", "PlanSettings", "ForecastRun", "SaturationRun", "SupplyOrder"),
    *("Alert", "AlertTransition", "Rule", "Silence", "Channel", "Notification", "AddressOff"),
    *("Team", "Membership", "Invite", "Key", "TeamRule", "Source", "ImportRun", "ImportChunk", "AuditEvent", "DeploymentStatus"),
}
READS = {
    "all",
    "filter",
    "get",
    "exclude",
    "values",
    "values_list",
    "first",
    "in_bulk",
    "aggregate",
    "order_by",
    "annotate",
    "select_related",
}
# Reads that hang on a row the view has already taken through access.
HANGS_ON = {
    *("alert", "channel", "deployment", "deployment__in", "replica__deployment", "replica__deployment__in", "team", "source"),
    *("scenario", "scenario__in", "cluster__in"),
}
# file:function -> why this read needs no scope. Each was looked at.
EXCUSED: dict[str, str] = {
    "api/people.py:validate_name": "a team's name is unique over all teams",
    "dashboards/forms/people.py:clean_name": "the same in the form",
    "dashboards/agent_rows.py:capabilities_seen": "of agents taken by agents_for; the accelerators named in it are scoped",
    "dashboards/agents.py:agent_forget": "the agent taken by agent_get, for admins only",
    "api/alerts.py:post": "an update of the delivery taken by notification_edit_get",
    "dashboards/alerts_deliveries.py:replay": "an update of the delivery taken by notification_edit_get",
    "dashboards/checklist.py:checklist_load": "Setup, for admins only",
    "dashboards/deployment_edit.py:team_change": "an update of the deployment taken by deployment_edit_get",
    "dashboards/fleet_rows.py:accelerators_held": "ids come from deployments_for",
    "dashboards/hardware_facts.py:processes_load": "a count on accelerators taken through access; names come from processes_for",
    "dashboards/health.py:health_load": "how far sources and our own loops are, which Status shows to everybody",
    "dashboards/imports.py:retry": "locks the source of a run taken by import_get",
    "dashboards/keys.py:key_rotate": "an update of the key taken by key_get",
    "api/supply.py:order_admin_get": "orders of all clusters, for admins of the install only",
    "dashboards/supply.py:order": "the same on the page",
    "dashboards/supply.py:order_end": "the same on the page",
    "dashboards/undo.py:scenario_allowed": "members named by a signed token, only to ask whether one may change all of them",
    "dashboards/sources.py:page_facts": "a count on the page of a source, for admins only",
    "dashboards/sources.py:source_delete": "a count on the page of a source, for admins only",
    "dashboards/status.py:agents_load": "counts of agents, nothing of a team",
    "dashboards/status.py:sources_load": "names, states and counts of sources, which Status shows to everybody",
    "dashboards/status.py:work_load": "counts of work, nothing of a team",
    "dashboards/team_rules.py:candidates": "rules, for admins only",
    "dashboards/team_rules.py:rule_keep": "rules, for admins only",
}
VIEWS = sorted([*(ROOT / "capacity" / "dashboards").rglob("*.py"), *(ROOT / "capacity" / "api").rglob("*.py")])


def unscoped(path: Path) -> Iterator[str]:
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in READS
                and isinstance(node.func.value, ast.Attribute)
                and node.func.value.attr == "objects"
                and isinstance(node.func.value.value, ast.Name)
                and node.func.value.value.id in OWNED
                and not {word.arg for word in node.keywords} & HANGS_ON
            ):
                yield f"{path.relative_to(ROOT / 'capacity')}:{function.name}"


def test_views_read_owned_rows_through_access_only() -> None:
    found = {spot for path in VIEWS for spot in unscoped(path)}
    assert found - set(EXCUSED) == set(), "scope these by monitoring.access, or excuse them with a reason"
    assert set(EXCUSED) - found == set(), "these excuses are no longer needed"
