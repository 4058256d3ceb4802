from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError

from monitoring.access import key_create, key_revoke
from monitoring.api import door
from monitoring.api.reading import json_read
from monitoring.api.writing import json_write
from monitoring.models import Key, RateCount, Role, Scope
from tests.capacity.api_client import Api, key_api
from tests.factories import make_admin, make_deployment, make_member, make_team

pytestmark = pytest.mark.django_db


class TestWhoComesIn:
    def test_nobody_is_asked_to_sign_in(self) -> None:
        answer = Client().get("/api/v1/deployments")
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="headroom"')
        Api().refused("deployments", status=401)

    def test_a_session_comes_in(self) -> None:
        assert Api(make_member(make_team())).ok("deployments")["results"] == []

    def test_a_change_by_session_needs_the_csrf_token(self) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(make_admin())
        answer = client.post("/api/v1/teams", {"name": "Search"}, content_type="application/json")
        assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
        client.get("/accounts/password/set/")
        token = client.cookies["headroom_csrf"].value
        answer = client.post("/api/v1/teams", {"name": "Search"}, content_type="application/json", headers={"X-CSRFToken": token})
        assert answer.status_code == 201

    def test_a_key_needs_no_csrf_token(self) -> None:
        _, text = key_create("ci", scope=Scope.ADMIN, created_by=None)
        client = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {text}"})
        assert client.post("/api/v1/teams", {"name": "Search"}, content_type="application/json").status_code == 201

    @pytest.mark.parametrize(
        "header", ["Bearer", "Bearer x", "Basic YTpi", "hr_ro_abcdefgh_x", "Bearer hr_ro_abcdefgh_" + "x" * 43, "Bearer \xff"]
    )
    def test_a_wrong_key_is_refused_even_beside_a_session(self, header: str) -> None:
        client = Client(headers={"Authorization": header})
        client.force_login(make_admin())
        assert client.get("/api/v1/deployments").status_code == 401

    def test_an_expired_or_revoked_key_is_refused(self) -> None:
        key, text = key_create("ci", scope=Scope.READ, created_by=None, expires_at=timezone.now() + timedelta(hours=1))
        Api(key=text).ok("deployments")
        key_revoke(key)
        Api(key=text).refused("deployments", status=401)
        Key.objects.update(revoked_at=None, expires_at=timezone.now())
        Api(key=text).refused("deployments", status=401)

    def test_scopes_hold(self) -> None:
        assert "only send telemetry" in key_api(scope=Scope.INGEST).refused("deployments", status=403)["detail"]
        body = {"name": "Search"}
        assert "can only read" in key_api(scope=Scope.READ).refused("teams", status=403, method="post", body=body)["detail"]
        team_key = key_api(scope=Scope.ADMIN, team=make_team())
        assert "admin of the install" in team_key.refused("teams", status=403, method="post", body=body)["detail"]
        key_api(scope=Scope.ADMIN).ok("teams", status=201, method="post", body=body)

    def test_no_key_makes_keys_or_invites_people(self) -> None:
        api = key_api(scope=Scope.ADMIN)
        api.refused("keys", status=403, method="post", body={"name": "x", "scope": "read"})
        api.refused("invites", status=403, method="post", body={"email": "a@b.example"})

    def test_a_team_key_reads_its_team_only(self) -> None:
        team = make_team()
        make_deployment("own", team=team)
        make_deployment("foreign", team=make_team())
        assert [row["name"] for row in key_api(team=team).ok("deployments")["results"]] == ["own"]

    def test_the_last_use_is_written(self) -> None:
        key_api().ok("me")
        assert Key.objects.get().last_used_at is not None


class TestLimits:
    @pytest.fixture(autouse=True)
    def within_one_minute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Calls are counted by the minute of the clock: a test must not begin in one and end in the next."""
        monkeypatch.setattr(door, "time", SimpleNamespace(time=lambda: 1_700_000_010.0))

    def test_a_key_has_so_many_calls_a_minute(self, settings: Any) -> None:
        settings.API_CALLS_PER_MINUTE = 3
        api = key_api()
        assert [api.call("get", "me").status_code for _ in range(4)] == [200, 200, 200, 429]
        answer = api.call("get", "me")
        assert 1 <= int(answer["Retry-After"]) <= 60
        api.refused("me", status=429)
        key_api().ok("me")

    def test_an_address_that_guesses_keys_is_stopped_before_the_look(self, settings: Any, django_assert_num_queries: Any) -> None:
        settings.API_CALLS_PER_MINUTE_AND_ADDRESS = 2
        api = Api(key="hr_ro_abcdefgh_" + "x" * 43)
        assert [api.call("get", "me").status_code for _ in range(3)] == [401, 401, 429]
        with django_assert_num_queries(2):
            api.refused("me", status=429)

    def test_the_count_starts_afresh_with_the_minute(self) -> None:
        hits = [RateCount.objects.hit("key 1", window=window) for window in (7, 7, 8, 8, 8, 7)]
        assert hits[:5] == [1, 2, 1, 2, 3]
        assert RateCount.objects.count() == 1


class TestProblems:
    @pytest.mark.parametrize(
        "path", ["/api/", "/api/v1/", "/api/v1/nothing", "/api/v2/deployments", "/api/v1/deployments/x", "/api/v1/deployments/"]
    )
    def test_an_unknown_address_is_a_problem(self, path: str) -> None:
        Api(make_admin()).refused(path, status=404)

    def test_a_huge_id_is_not_found(self) -> None:
        Api(make_admin()).refused(f"deployments/{10**30}", status=404)

    def test_an_unknown_parameter_is_an_error_with_its_name(self) -> None:
        api = Api(make_admin())
        problem = api.refused("deployments?colour=red&limit=5", status=400)
        assert problem["errors"][0]["parameter"] == "colour" and "known are name" in problem["errors"][0]["detail"]
        assert api.refused("me?x=1", status=400)["errors"][0]["parameter"] == "x"

    def test_an_unknown_field_is_an_error_with_its_place(self) -> None:
        problem = Api(make_admin()).refused("teams", status=400, method="post", body={"name": "Search", "colour": "red"})
        assert problem["errors"] == [{"pointer": "#/colour", "detail": "unknown field; known are name"}]
        assert problem["instance"] == "/api/v1/teams"

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "offset=-1", "offset=99999999999", "limit=%C2%B2", "limit=1e3"]
    )
    def test_paging_says_its_limits(self, query: str) -> None:
        assert "must be a whole number from" in Api(make_admin()).refused(f"deployments?{query}", status=400)["detail"]

    @pytest.mark.parametrize("query", ["search=%00", "team=x", "team=1.5", "team=-1", f"team={10**20}", "verdict=awful", "state=none"])
    def test_a_filter_value_that_is_none_is_an_error(self, query: str) -> None:
        Api(make_admin()).refused(f"deployments?{query}", status=400)

    def test_a_wrong_method_says_which_are_right(self) -> None:
        api = Api(make_admin())
        assert api.call("post", "deployments", {})["Allow"] == "GET, HEAD, OPTIONS"
        api.refused("deployments", status=405, method="post", body={})
        api.refused("deployments", status=405, method="options")

    def test_another_content_type_is_refused(self) -> None:
        answer = Api(make_admin()).client.post("/api/v1/teams", {"name": "x"})
        assert (answer.status_code, answer["Content-Type"]) == (415, "application/problem+json")

    def test_another_accepted_type_is_refused(self) -> None:
        answer = Api(make_admin()).client.get("/api/v1/me", headers={"Accept": "application/xml"})
        assert (answer.status_code, answer["Content-Type"]) == (406, "application/problem+json")

    def test_a_crash_is_a_problem_without_the_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def crash(*args: Any) -> None:
            raise RuntimeError("secret reason")

        monkeypatch.setattr("capacity.api.people.actor_of", crash)
        api = Api(make_admin())
        api.client.raise_request_exception = False
        problem = api.refused("me", status=500)
        assert "secret reason" not in str(problem)

    def test_the_same_name_twice_is_a_conflict_or_an_error(self) -> None:
        api = Api(make_admin())
        api.ok("teams", status=201, method="post", body={"name": "Search"})
        assert "there already" in api.refused("teams", status=400, method="post", body={"name": "search"})["detail"]

    def test_a_page_that_does_not_exist_is_still_a_page(self) -> None:
        answer = Client().get("/nothing/here/")
        assert answer.status_code == 404 and b"There is nothing here" in answer.content


class TestPages:
    def test_a_list_comes_in_pages_with_the_next_address(self) -> None:
        team = make_team()
        api = Api(make_member(team))
        for n in range(5):
            make_deployment(f"m{n}", team=team)
        first = api.ok("deployments?limit=2&state=active")
        assert (first["count"], [row["name"] for row in first["results"]], first["previous"]) == (5, ["m0", "m1"], None)
        second = api.ok(first["next"].removeprefix("http://testserver"))
        assert [row["name"] for row in second["results"]] == ["m2", "m3"]
        assert api.ok("deployments?offset=5")["results"] == []


class TestJson:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "not clean JSON"),
            (b"{", "not clean JSON"),
            (b'{"a": NaN}', "NaN is not JSON"),
            (b"[Infinity]", "Infinity is not JSON"),
            (b"[-Infinity]", "-Infinity is not JSON"),
            (b"[1e999]", "too large"),
            (b"[" + b"9" * 5000 + b"]", "not clean JSON"),
            (b'{"a": 1, "a": 2}', "'a' stands twice"),
            (b'["\\u0000"]', "NUL"),
            (b'{"\\u0000": 1}', "NUL"),
            (b'["\\ud800"]', "surrogate"),
            (b'["\xff"]', "not UTF-8"),
            (b"[" * 100_000, "nested too deeply"),
        ],
    )
    def test_what_is_no_clean_json_is_refused(self, body: bytes, reason: str) -> None:
        with pytest.raises(ParseError, match=reason):
            json_read(body)
        answer = Api(make_admin()).client.post("/api/v1/teams", body, content_type="application/json")
        assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")

    @pytest.mark.parametrize("body", [[], "x", 1, None, True, [{}]])
    def test_a_body_that_is_no_object_is_refused(self, body: Any) -> None:
        answer = Api(make_admin()).client.post("/api/v1/teams", json_write(body), content_type="application/json")
        assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")

    def test_a_body_over_a_megabyte_is_refused(self) -> None:
        body = b'{"name": "' + b"x" * 1_100_000 + b'"}'
        answer = Api(make_admin()).client.post("/api/v1/teams", body, content_type="application/json")
        assert answer.status_code == 413 and answer["Content-Type"] == "application/problem+json"

    def test_missing_numbers_are_null_and_times_end_in_z(self) -> None:
        at = timezone.now().replace(2026, 11, 21, 3, 12, 0, 0)
        assert json_write({"x": float("nan"), "at": at}) == b'{"x":null,"at":"2026-11-21T03:12:00Z"}'

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=8,
        )
    )
    def test_what_is_written_is_read_again(self, value: Any) -> None:
        try:
            assert json_read(json_write(value)) == value
        except ParseError as error:
            assert "NUL" in str(error)

    @given(st.binary(max_size=200))
    def test_any_bytes_are_read_or_refused(self, body: bytes) -> None:
        try:
            json_read(body)
        except ParseError:
            return


def test_a_member_sees_who_it_is() -> None:
    team = make_team()
    me = Api(make_member(team, role=Role.EDITOR, email="anna@example.com")).ok("me")
    assert me == {"name": "anna@example.com", "kind": "person", "admin": False, "time_zone": "", "teams": {str(team.pk): "editor"}}
