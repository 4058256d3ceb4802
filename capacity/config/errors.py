"""The last answers: unknown addresses and crashes. Under /api/ as problem details, elsewhere as a page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from monitoring.api.problems import problem_response

UNKNOWN = "There is no such thing here, or you may not see it."
CRASH = "Headroom failed at this; the log has the reason under the request id."


def of_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if of_api(request):
        return problem_response(400, detail="The request cannot be read.", request=request)
    return render(request, "errors/400.html", status=400)


def denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if of_api(request):
        return problem_response(403, detail=str(exception) or "You may not do this.", request=request)
    return render(request, "errors/403.html", {"text": str(exception)}, status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if of_api(request):
        return problem_response(404, detail=UNKNOWN, request=request)
    return render(request, "errors/404.html", status=404)


def crashed(request: HttpRequest) -> HttpResponse:
    if of_api(request):
        return problem_response(500, detail=CRASH, request=request)
    # Without the shell and its queries: what crashed may be what they need.
    return render(None, "errors/500.html", {"id": getattr(request, "id", "")}, status=500)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    if of_api(request):
        return problem_response(403, detail="The CSRF token is missing or wrong.", request=request)
    return render(request, "errors/csrf.html", status=403)
