import re
from io import StringIO
from typing import Any

import pytest
from django.core.cache import cache
from django.core.mail import EmailMessage
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from monitoring.access import invite_create
from monitoring.access.adapter import POST
from monitoring.models import AuditEvent, Membership, Role, User, UserSession
from tests.factories import PASSWORD, make_admin, make_member, make_team, make_user

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"
RESET = "/accounts/password/reset/"
NEW_PASSWORD = "another long enough phrase"


@pytest.fixture(autouse=True)
def fresh_counters(settings: Any) -> None:
    settings.EMAIL_ADDRESS_SET = True
    cache.clear()


def sign_in(client: Client, email: str, password: str = PASSWORD, **headers: Any) -> Any:
    return client.post(LOGIN, {"login": email, "password": password}, **headers)


def letters_sent(mailoutbox: list[EmailMessage]) -> list[EmailMessage]:
    POST.submit(int).result(timeout=10)  # one worker: what was queued before has gone out
    return mailoutbox


class TestSignIn:
    def test_the_right_password_signs_in_with_a_new_session(self, client: Client) -> None:
        make_user("anna@example.com", password=PASSWORD)
        client.get(LOGIN)
        client.cookies["headroom_session"] = "planted0planted0planted0planted0"
        answer = sign_in(client, "Anna@example.com")
        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert UserSession.objects.count() == 1 and client.cookies["headroom_session"].value != "planted0planted0planted0planted0"

    def test_an_unknown_account_and_a_wrong_password_read_the_same(self, client: Client) -> None:
        make_user("anna@example.com", password=PASSWORD)
        bodies = []
        for email in ("anna@example.com", "nobody@example.com"):
            answer = sign_in(client, email, "wrong password here")
            assert answer.status_code == 200
            text = re.sub(r'(csrfmiddlewaretoken" value|name="csrf" content)="[^"]+"', "", answer.content.decode())
            bodies.append(text.replace(email, "EMAIL"))
        assert bodies[0] == bodies[1]

    def test_an_unknown_account_costs_one_password_hash_too(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        make_user("anna@example.com", password=PASSWORD)
        hashed: list[str] = []
        encode = User.set_password
        monkeypatch.setattr(User, "set_password", lambda self, raw: (hashed.append(raw), encode(self, raw))[1])
        sign_in(client, "nobody@example.com", "wrong password here")
        assert hashed == ["wrong password here"]

    def test_five_failures_lock_the_account_from_every_address_and_host(self, client: Client) -> None:
        make_user("anna@example.com", password=PASSWORD)
        for n in range(5):
            sign_in(client, "anna@example.com", "wrong", REMOTE_ADDR=f"198.51.100.{n}", HTTP_HOST=f"localhost:{n + 1}")
        answer = sign_in(client, "anna@example.com", REMOTE_ADDR="203.0.113.1", HTTP_HOST="localhost:99")
        assert "Too many failed login attempts" in answer.content.decode()

    def test_ten_failures_lock_the_address_for_every_account(self, client: Client) -> None:
        make_user("anna@example.com", password=PASSWORD)
        for n in range(10):
            sign_in(client, f"guess{n}@example.com", "wrong")
        assert "Too many failed login attempts" in sign_in(client, "anna@example.com").content.decode()
        assert sign_in(client, "anna@example.com", REMOTE_ADDR="203.0.113.1").status_code == 302

    def test_the_time_zone_of_the_browser_is_kept_when_the_account_has_none(self, client: Client) -> None:
        anna = make_user("anna@example.com", password=PASSWORD)
        client.cookies["zone"] = "Europe%2FBerlin"
        sign_in(client, "anna@example.com")
        client.cookies["zone"] = "Asia%2FTokyo"
        sign_in(client, "anna@example.com")
        anna.refresh_from_db()
        assert anna.time_zone == "Europe/Berlin"

    @pytest.mark.parametrize("zone", ["Mars/Base", "../../etc/passwd", "x" * 500, "%00"])
    def test_a_zone_that_is_none_is_not_kept(self, client: Client, zone: str) -> None:
        anna = make_user("anna@example.com", password=PASSWORD)
        client.cookies["zone"] = zone
        assert sign_in(client, "anna@example.com").status_code == 302
        anna.refresh_from_db()
        assert anna.time_zone == ""

    def test_there_is_no_sign_up(self, client: Client) -> None:
        assert client.get("/accounts/signup/").status_code == 404

    def test_it_never_leads_to_another_site(self, client: Client) -> None:
        make_user("anna@example.com", password=PASSWORD)
        answer = client.post(LOGIN, {"login": "anna@example.com", "password": PASSWORD, "next": "https://evil.example/"})
        assert answer["Location"] == "/"


class TestPasswords:
    def test_a_change_ends_all_other_sessions(self) -> None:
        make_user("anna@example.com", password=PASSWORD)
        here, there = Client(), Client()
        sign_in(here, "anna@example.com")
        sign_in(there, "anna@example.com")
        form = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
        assert here.post("/accounts/password/change/", form).status_code == 302
        assert here.get("/accounts/password/change/").status_code == 200
        assert there.get("/accounts/password/change/").status_code == 302
        assert AuditEvent.objects.filter(action="password.change", actor="anna@example.com").count() == 1

    def test_a_letter_leads_to_a_new_password_once(self, client: Client, mailoutbox: list[EmailMessage]) -> None:
        make_user("anna@example.com", password=PASSWORD)
        signed_in = Client()
        sign_in(signed_in, "anna@example.com")
        assert client.post(RESET, {"email": "anna@example.com"})["Location"] == "/accounts/password/reset/done/"
        [letter] = letters_sent(mailoutbox)
        assert letter.to == ["anna@example.com"]
        link = re.search(r"http://127\.0\.0\.1:8080(/accounts/password/reset/key/\S+)", str(letter.body))
        assert link
        form = client.get(link[1], follow=True).context["action_url"]
        assert client.post(form, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}).status_code == 302
        assert signed_in.get("/accounts/password/change/").status_code == 302
        assert "no longer works" in Client().get(link[1]).content.decode()
        assert sign_in(Client(), "anna@example.com", NEW_PASSWORD).status_code == 302

    def test_strangers_get_the_same_answer_and_no_letter(self, client: Client, mailoutbox: list[EmailMessage]) -> None:
        assert client.post(RESET, {"email": "nobody@example.com"})["Location"] == "/accounts/password/reset/done/"
        assert letters_sent(mailoutbox) == []

    def test_without_mail_the_page_says_how_to_get_a_link(self, client: Client, settings: Any) -> None:
        settings.EMAIL_ADDRESS_SET = False
        page = client.get(RESET).content.decode()
        assert "password_link" in page and "<form" not in page

    def test_the_command_prints_a_link_that_works(self, client: Client) -> None:
        make_user("anna@example.com", password=PASSWORD)
        out = StringIO()
        call_command("password_link", "ANNA@example.com", stdout=out)
        form = client.get(out.getvalue().strip().removeprefix("http://127.0.0.1:8080"), follow=True).context["action_url"]
        client.post(form, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
        assert User.objects.get().check_password(NEW_PASSWORD)

    def test_the_command_names_the_admins_when_there_is_no_such_account(self) -> None:
        make_admin("root@example.com")
        with pytest.raises(CommandError, match=r"no active account x@y\.z\. Admins: root@example\.com"):
            call_command("password_link", "x@y.z")


class TestFirstAdmin:
    def made(self) -> str:
        out = StringIO()
        call_command("create_first_admin", "root@example.com", stdout=out)
        return out.getvalue()

    def test_it_is_made_once_with_a_password_that_signs_in(self, client: Client) -> None:
        email, password = self.made().split()
        assert sign_in(client, email, password).status_code == 302
        assert "an admin already" in self.made()
        assert User.objects.get().is_superuser

    def test_a_plain_account_of_that_address_becomes_the_admin(self) -> None:
        make_user("root@example.com")
        _, password = self.made().split()
        root = User.objects.get()
        assert root.is_superuser and root.check_password(password)


class TestInvitation:
    def test_a_newcomer_makes_an_account_and_is_signed_in(self, client: Client) -> None:
        team = make_team("Search")
        _, token = invite_create("anna@example.com", invited_by=make_admin(), team=team, role=Role.EDITOR)
        assert "Join Search" in client.get(f"/invite/{token}/").content.decode()
        answer = client.post(f"/invite/{token}/", {"name": "Anna", "password": PASSWORD})
        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert Membership.objects.get().user.email == "anna@example.com"
        assert client.get("/accounts/password/change/").status_code == 200
        assert client.get(f"/invite/{token}/").status_code == 404
        assert AuditEvent.objects.get(action="invite.accept").after == {"team": "Search", "role": "editor"}

    def test_a_weak_password_is_explained(self, client: Client) -> None:
        _, token = invite_create("anna@example.com", invited_by=make_admin())
        answer = client.post(f"/invite/{token}/", {"name": "Anna", "password": "password"})
        assert answer.status_code == 200 and "too short" in answer.content.decode()
        assert not User.objects.filter(email="anna@example.com").exists()

    def test_an_account_signs_in_first_and_then_joins(self, client: Client) -> None:
        anna = make_member(make_team())
        team = make_team("Search")
        _, token = invite_create(anna.email, invited_by=make_admin(), team=team)
        assert "Sign in with it" in client.get(f"/invite/{token}/").content.decode()
        client.post(f"/invite/{token}/", {"name": "Thief", "password": PASSWORD})
        assert not Membership.objects.filter(team=team).exists()
        client.force_login(make_user())
        assert "sign out" in client.get(f"/invite/{token}/").content.decode()
        client.force_login(anna)
        assert client.post(f"/invite/{token}/")["Location"] == "/"
        assert Membership.objects.filter(team=team, user=anna).exists()


def test_every_page_of_sign_in_is_complete_and_strict(client: Client) -> None:
    _, token = invite_create("anna@example.com", invited_by=make_admin())
    names = ("account_login", "account_reset_password", "account_reset_password_done", "account_inactive")
    for address in (*map(reverse, names), f"/invite/{token}/", "/invite/none/"):
        answer = client.get(address)
        page = answer.content.decode()
        assert "<h1>" in page and "onclick" not in page and "<script>" not in page
        assert "script-src 'self';" in answer["Content-Security-Policy"]


def test_a_session_names_its_user_and_nobody_elses() -> None:
    one, other = make_admin(), make_member(make_team("search"))
    for user in (one, one, other):
        Client().force_login(user)
    assert UserSession.objects.filter(user=one).count() == 2
    other.delete()
    assert UserSession.objects.count() == 2  # a removed person leaves no open door
