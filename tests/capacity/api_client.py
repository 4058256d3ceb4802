"""A thin JSON client for the tests of the API."""

from typing import Any

from django.test import Client

from monitoring.access import key_create
from monitoring.models import Scope, Team, User

BASE = "/api/v1/"


class Api:
    """Calls the API as a signed-in person, with a key, or as nobody."""

    def __init__(self, user: User | None = None, *, key: str = "") -> None:
        self.client = Client(headers={"Authorization": f"Bearer {key}"} if key else None)
        if user:
            self.client.force_login(user)

    def call(self, method: str, path: str, body: Any = None, **extra: Any) -> Any:
        data = {} if method in ("get", "head") else {"data": "" if body is None else body, "content_type": "application/json"}
        return getattr(self.client, method)(path if path.startswith("/") else BASE + path, **data, **extra)

    def ok(self, path: str, *, status: int = 200, method: str = "get", body: Any = None) -> Any:
        answer = self.call(method, path, body)
        assert answer.status_code == status, (answer.status_code, answer.content[:500])
        return answer.json() if answer.content else None

    def refused(self, path: str, *, status: int, method: str = "get", body: Any = None) -> Any:
        """The problem details, which every error must have."""
        answer = self.call(method, path, body)
        assert answer.status_code == status, (answer.status_code, answer.content[:500])
        assert answer["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status and problem["title"] and problem["detail"] and problem["request_id"] == answer["X-Request-Id"]
        return problem


def key_api(*, scope: str = Scope.READ, team: Team | None = None) -> Api:
    return Api(key=key_create("test", scope=scope, created_by=None, team=team)[1])
