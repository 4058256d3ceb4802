"""The page behind an invitation's link: make the account, or join a team with the one at hand."""

from django import forms
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from monitoring.access import InviteError, audit, invite_accept, invite_find, user_actor
from monitoring.access.forms import RULE
from monitoring.models import Invite, User

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


class NewAccountForm(forms.Form):
    name = forms.CharField(max_length=120, help_text="How others see you.", widget=forms.TextInput(attrs={"autocomplete": "name"}))
    password = forms.CharField(
        strip=False, max_length=200, help_text=RULE, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )


@login_not_required
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def invite(request: HttpRequest, token: str) -> HttpResponse:
    offer = invite_find(token)
    if offer is None:
        return render(request, "account/invite_over.html", status=404)
    account = User.objects.filter(email__iexact=offer.email).first()
    if account is not None and account != request.user:
        return render(request, "account/invite_sign_in.html", {"offer": offer})
    form = None if account else NewAccountForm(request.POST or None)
    if request.method == "POST" and (form is None or form.is_valid()) and accepted(request, token, offer, form):
        return redirect("fleet")
    return render(request, "account/invite.html", {"offer": offer, "form": form, "account": account})


def accepted(request: HttpRequest, token: str, offer: Invite, form: NewAccountForm | None) -> bool:
    """Take the invitation and sign in; what is wrong goes onto the form."""
    signed_in = request.user if isinstance(request.user, User) else None
    fields = form.cleaned_data if form else {}
    try:
        user = invite_accept(token, name=fields.get("name", ""), password=fields.get("password", ""), user=signed_in)
    except ValidationError as error:
        if form:
            form.add_error("password", error)
        return False
    except InviteError as error:
        if form:
            form.add_error(None, str(error))
        return False
    audit(user_actor(user), "invite.accept", f"user {user.email}", after={"team": offer.team, "role": offer.role}, request=request)
    if signed_in is None:
        login(request, user, backend=BACKEND)
    return True
