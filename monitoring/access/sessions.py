"""Sessions that know their user. Django's own keep the user inside the packed data, where no query finds it."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

from monitoring.models import UserSession


class SessionStore(DatabaseStore):
    @classmethod
    def get_model_class(cls) -> type[UserSession]:  # type: ignore[override]
        return UserSession

    def create_model_instance(self, data: Mapping[str, Any]) -> UserSession:  # type: ignore[override]
        row = UserSession(session_key=self._get_or_create_session_key(), session_data=self.encode(dict(data)))
        row.expire_date = self.get_expiry_date()
        row.user_id = int(data[SESSION_KEY]) if SESSION_KEY in data else None
        return row
