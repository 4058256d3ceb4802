"""Who uses Headroom: users, teams, invitations, keys and the audit trail."""

from typing import Any, ClassVar

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils import timezone


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)


class User(AbstractUser):
    """A person. An install admin is a superuser; all other rights come from memberships."""

    username = None  # type: ignore[assignment]
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    time_zone = models.CharField(max_length=64, blank=True, help_text="IANA name; empty = the browser's.")

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.name or self.email


class UserSession(AbstractBaseSession):
    """An open sign-in. It names its user, so that one's sessions are found and ended without reading everybody's."""

    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="sessions")  # null: not signed in

    class Meta(AbstractBaseSession.Meta):
        verbose_name, verbose_name_plural = "session", "sessions"


class Team(models.Model):
    name = models.CharField(max_length=80, unique=True)
    slug = models.SlugField(max_length=80, unique=True)
    demo = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    ADMIN = "admin", "Admin"
    EDITOR = "editor", "Editor"
    VIEWER = "viewer", "Viewer"


class Membership(models.Model):
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("user", "team"), name="membership_once"),)


class Invite(models.Model):
    """A link that makes one account; only the digest of its token is kept."""

    email = models.EmailField()
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True)
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)
    install_admin = models.BooleanField(default=False)
    token_digest = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)


class TeamRule(models.Model):
    """Ordered: the first rule whose patterns all match gives a deployment its team. `*` and `?` as in a shell."""

    position = models.PositiveIntegerField()
    cluster = models.CharField(max_length=120, default="*")
    namespace = models.CharField(max_length=120, default="*")
    workload = models.CharField(max_length=200, default="*")
    label = models.CharField(max_length=120, blank=True)
    label_value = models.CharField(max_length=200, default="*")
    team = models.ForeignKey(Team, models.CASCADE, related_name="rules")

    class Meta:
        ordering = ("position", "pk")


class Scope(models.TextChoices):
    INGEST = "ingest", "Send telemetry"
    READ = "read", "Read"
    ADMIN = "admin", "Change"


class Key(models.Model):
    """An API key `hr_<kind>_<prefix>_<secret>`: the secret is shown once, its SHA-256 is kept."""

    name = models.CharField(max_length=120)
    prefix = models.CharField(max_length=12, unique=True)
    secret_digest = models.CharField(max_length=64)
    scope = models.CharField(max_length=10, choices=Scope.choices)
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True, related_name="keys", help_text="Empty: all teams.")
    cluster = models.ForeignKey("monitoring.Cluster", models.CASCADE, null=True, blank=True, related_name="keys")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)


class AuditEvent(models.Model):
    """Who changed what, append-only, without secrets."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.CharField(max_length=254)
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=200)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    address = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        ordering = ("-at",)


class RateCountQuerySet(models.QuerySet["RateCount"]):
    def hit(self, name: str, *, window: int, count: int = 1) -> int:
        """Count calls in this window; the number of calls so far. Two statements, safe with any number of processes."""
        if not self.filter(name=name, window=window).update(count=models.F("count") + count):
            # A row of an older window starts afresh; who comes second finds no older window and counts on.
            self.bulk_create([RateCount(name=name, window=window, count=0)], ignore_conflicts=True)
            self.filter(name=name, window__lt=window).update(window=window, count=0)
            self.filter(name=name, window=window).update(count=models.F("count") + count)
        return self.filter(name=name).values_list("count", flat=True).first() or 0


class RateCount(models.Model):
    """Calls of one key or address in the current window of the rate limit."""

    name = models.CharField(max_length=80, unique=True)
    window = models.BigIntegerField()  # minutes since 1970
    count = models.PositiveIntegerField(default=0)

    objects = RateCountQuerySet.as_manager()
