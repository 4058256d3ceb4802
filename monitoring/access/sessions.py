"""Sessions that know their user. Django's own keep the user inside the packed data, where no query finds it."""

from typing import Any, cast

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

from monitoring.models import UserSession


class SessionStore(DatabaseStore):
    @classmethod
    def get_model_class(cls) -> type[UserSession]:
        return UserSession

    def create_model_instance(self, data: dict[str, Any]) -> UserSession:
        row = cast(UserSession, super().create_model_instance(data))  # of the class above
        row.user_id = int(data[SESSION_KEY]) if SESSION_KEY in data else None
        return row
