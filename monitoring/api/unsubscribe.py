"""One click in a mail program takes an address off its channel: RFC 8058, so without sign-in and without a token of a form."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from monitoring.alerts.addresses import token_read, unsubscribe

PAGE = "account/unsubscribe.html"


@login_not_required
@csrf_exempt
@require_http_methods(["GET", "POST"])
def unsubscribe_page(request: HttpRequest, token: str) -> HttpResponse:
    """GET asks, because programs that read mail follow links; POST does it."""
    found = token_read(token)
    if found is None:
        return render(request, PAGE, {}, status=404)
    channel, address = found
    if request.method == "POST":
        unsubscribe(token, now=timezone.now())
    return render(request, PAGE, {"address": address, "channel": channel.name, "done": request.method == "POST"})
