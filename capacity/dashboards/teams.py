"""Teams: members and their roles, invitations, the rules that give deployments to teams, and the unassigned."""

from collections import Counter

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from capacity.dashboards import words
from capacity.dashboards.forms.people import InviteForm, RoleForm, TeamForm
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from monitoring.access import (
    Actor,
    actor_of,
    admin_require,
    audit,
    can_manage,
    deployments_for,
    invite_create,
    invite_withdraw,
    invites_for,
    memberships_for,
    person_require,
    row_get,
    team_get,
    team_manage_get,
    teams_for,
)
from monitoring.models import DeploymentState, Invite, Membership, Role, Team

MEMBER = ("user", "team", "role")


@guarded
@require_http_methods(["GET", "POST"])
def teams(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    form = TeamForm(request.POST or None)
    if request.method == "POST":
        admin_require(actor)
        if form.is_valid():
            return team_keep(request, form=form)
    active = Q(deployments__state=DeploymentState.ACTIVE)
    rows = teams_for(actor).annotate(members=Count("memberships", distinct=True), served=Count("deployments", filter=active, distinct=True))
    unassigned = deployments_for(actor).filter(team=None, state=DeploymentState.ACTIVE).count() if actor.admin else 0
    context = {"teams": rows, "form": form, "unassigned": unassigned, "roles": actor.roles}
    return show(request, "teams/teams.html", context, status=422 if form.errors else 200)


def team_keep(request: HttpRequest, *, form: TeamForm) -> HttpResponse:
    with transaction.atomic():
        team = form.save()
        audit(actor_of(request), "team.create", f"team {team.name}", after={"name": team.name}, request=request)
    toast(request, f"Team {team.name} is made. Invite its people.")
    return redirect("team", pk=team.pk)


@guarded
@require_http_methods(["GET", "POST"])
def team(request: HttpRequest, *, pk: int) -> HttpResponse:
    """GET shows the team, POST renames it."""
    actor = actor_of(request)
    row = team_manage_get(actor, pk) if request.method == "POST" else team_get(actor, pk)
    before = row.name
    form = TeamForm(request.POST or None, instance=row)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            form.save()
            audit(actor, "team.rename", f"team {row.name}", before={"name": before}, after={"name": row.name}, request=request)
        toast(request, f"Renamed to {row.name}.")
        return redirect("team", pk=row.pk)
    return team_page(request, row=row, form=form)


def team_page(
    request: HttpRequest, *, row: Team, form: TeamForm | None = None, invite: InviteForm | None = None, link: str = ""
) -> HttpResponse:
    actor = actor_of(request)
    wrong = bool((form and form.errors) or (invite and invite.errors))
    manages = can_manage(actor, row)
    context = {
        "team": row,
        "manages": manages,
        "members": memberships_for(actor).filter(team=row).order_by("user__email"),
        "invites": invites_for(actor).filter(team=row, accepted_at=None, expires_at__gt=timezone.now()) if manages else [],
        "deployments": deployments_for(actor).filter(team=row).select_related("cluster", "status"),
        "form": form or TeamForm(instance=row),
        "invite_form": invite or InviteForm(),
        "roles": Role.choices,
        "link": link,
        "mailed": settings.EMAIL_ADDRESS_SET,
    }
    return show(request, "teams/team.html", context, status=422 if wrong else 200)


@guarded
@require_POST
def member_invite(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Make the link, mail it when mail is set up, and show it this once."""
    actor = actor_of(request)
    row = team_manage_get(actor, pk)
    form = InviteForm(request.POST)
    if not form.is_valid():
        return team_page(request, row=row, invite=form)
    email, role = form.cleaned_data["email"], form.cleaned_data["role"]
    if row.memberships.filter(user__email__iexact=email).exists():
        form.add_error("email", f"{email} is in this team already.")
        return team_page(request, row=row, invite=form)
    with transaction.atomic():
        invite, token = invite_create(email, invited_by=person_require(actor), team=row, role=role)
        audit(actor, "invite.create", f"team {row.name}", after={"email": invite.email, "role": role}, request=request)
    link = settings.PUBLIC_URL + reverse("invite", args=[token])
    if settings.EMAIL_ADDRESS_SET:
        mail_invite(invite, link=link, team=row)
    return team_page(request, row=row, link=link)


def mail_invite(invite: Invite, *, link: str, team: Team) -> None:
    text = f"{invite.invited_by} invites you to the team {team.name} on Headroom.\n\n{link}\n\nThe link works once and for 7 days.\n"
    send_mail(f"Headroom: invitation to {team.name}", text, None, [invite.email], fail_silently=True)


@guarded
@require_POST
def invite_remove(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    invite = row_get(invites_for(actor).filter(accepted_at=None), pk)
    invite_withdraw(invite)
    audit(actor, "invite.withdraw", f"invitation of {invite.email}", request=request)
    toast(request, f"The invitation of {invite.email} is withdrawn; its link is dead.")
    return redirect("team", pk=invite.team_id) if invite.team_id else redirect("teams")


def member_get(actor: Actor, pk: int) -> Membership:
    """The membership, for those who manage its team."""
    row = row_get(memberships_for(actor), pk)
    team_manage_get(actor, row.team_id)
    return row


def last_admin(row: Membership) -> bool:
    others = Membership.objects.filter(team=row.team, role=Role.ADMIN).exclude(pk=row.pk)
    return row.role == Role.ADMIN and not others.exists()


@guarded
@require_POST
def member_role(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    row = member_get(actor, pk)
    form, before = RoleForm(request.POST), snapshot(row, *MEMBER)
    if not form.is_valid():
        complain(request, "Choose one of the three roles.")
    elif last_admin(row) and form.cleaned_data["role"] != Role.ADMIN and not actor.admin:
        complain(request, f"{row.user} is the last admin of {row.team}. Make somebody else admin first.")
    else:
        row.role = form.cleaned_data["role"]
        row.save(update_fields=("role",))
        audit(actor, "member.role", f"{row.user.email} in team {row.team}", before=before, after=snapshot(row, *MEMBER), request=request)
        toast(
            request, f"{row.user} is {row.get_role_display().lower()} of {row.team} now.", undo=undo_url("member", pk=row.pk, fields=before)
        )
    return redirect("team", pk=row.team_id)


@guarded
@require_POST
def member_remove(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    row = member_get(actor, pk)
    if last_admin(row) and not actor.admin:
        complain(request, f"{row.user} is the last admin of {row.team}. Make somebody else admin first.")
        return redirect("team", pk=row.team_id)
    fields, former = snapshot(row, *MEMBER), row.pk
    with transaction.atomic():
        row.delete()
        audit(actor, "member.remove", f"{row.user.email} in team {row.team}", before=fields, request=request)
    toast(request, f"{row.user} is no longer in {row.team}.", undo=undo_url("member", pk=former, fields=fields))
    return redirect("team", pk=row.team_id) if actor.admin or row.user_id != getattr(actor.user, "pk", None) else redirect("teams")


@guarded
@require_http_methods(["GET", "POST"])
def team_delete(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Its deployments become unassigned, its keys die, its people stay."""
    actor = actor_of(request)
    admin_require(actor)
    row = team_get(actor, pk)
    if request.method == "POST":
        with transaction.atomic():
            audit(actor, "team.delete", f"team {row.name}", before={"name": row.name}, request=request)
            row.delete()
        toast(request, f"Team {row.name} is gone.")
        return redirect("teams")
    counts = Counter(deployments=row.deployments.count(), keys=row.keys.filter(revoked_at=None).count(), rules=row.rules.count())
    losses = [words.count(counts["deployments"], "deployment"), words.count(counts["keys"], "key"), words.count(counts["rules"], "rule")]
    return show(request, "teams/delete.html", {"team": row, "losses": losses})
