"""What access leaves behind and nobody needs: old addresses and entries of the trail, ended sessions, counts of past minutes."""

from datetime import datetime, timedelta

from monitoring.access.trail import audit_cut
from monitoring.models import RateCount, UserSession

COUNTED = timedelta(hours=1)


def access_clean(*, now: datetime) -> str:
    sessions, _ = UserSession.objects.filter(expire_date__lt=now).delete()
    counts, _ = RateCount.objects.filter(window__lt=int((now - COUNTED).timestamp() // 60)).delete()
    return f"{audit_cut(now=now)}, {sessions} sessions and {counts} counts dropped"
