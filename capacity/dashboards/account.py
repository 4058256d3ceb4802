"""The own account: name, time zone, theme, password, sessions."""

from zoneinfo import available_timezones

from django.contrib.auth import logout
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from capacity.dashboards.forms.people import AccountForm
from capacity.dashboards.pages import zone_of
from capacity.dashboards.replies import guarded, show, snapshot, toast
from monitoring.access import actor_of, audit, memberships_for, person_require
from monitoring.models import User, UserSession

THEMES = (("", "As the system"), ("light", "Light"), ("dark", "Dark"))
YEAR_SECONDS = 365 * 86400


@guarded
@require_http_methods(["GET", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    user = person_require(actor)
    before = snapshot(user, "name", "time_zone")
    form = AccountForm(request.POST or None, instance=user)
    if request.method == "POST" and form.is_valid():
        form.save()
        audit(actor, "account.change", f"user {user.email}", before=before, after=snapshot(user, "name", "time_zone"), request=request)
        toast(request, "Saved.")
        return theme_set(redirect("account"), theme=request.POST.get("theme", ""))
    context = {
        "form": form,
        "zones": sorted(available_timezones()),
        "browser_zone": request.COOKIES.get("zone", "").replace("%2F", "/")[:64],
        "zone": zone_of(request).key,
        "themes": THEMES,
        "theme_now": request.COOKIES.get("theme", ""),
        "memberships": memberships_for(actor).filter(user=user),
        "sessions": sessions_open(user).count(),
    }
    return show(request, "teams/account.html", context, status=422 if form.errors else 200)


def theme_set(response: HttpResponse, *, theme: str) -> HttpResponse:
    if theme in ("light", "dark"):
        response.set_cookie("theme", theme, max_age=YEAR_SECONDS, samesite="Lax")
    else:
        response.delete_cookie("theme")
    return response


def sessions_open(user: User) -> QuerySet[UserSession]:
    return UserSession.objects.filter(user=user, expire_date__gt=timezone.now())


@guarded
@require_POST
def sessions_end(request: HttpRequest) -> HttpResponse:
    """Sign out everywhere, here too."""
    actor = actor_of(request)
    user = person_require(actor)
    sessions_open(user).delete()
    audit(actor, "account.sign_out", f"user {user.email}", request=request)
    logout(request)
    return redirect("account_login")
