"""What tests of pages share: a signed-in client, the text, the toasts and their Undo, the number of queries."""

from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from monitoring.models import User


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text_of(response: Any) -> str:
    return str(response.content.decode())


def toasts(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def undo_of(response: Any) -> str:
    return next(message.extra_tags for message in response.context["messages"] if message.extra_tags)


def queries(client: Client, path: str) -> int:
    client.get(path)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)
