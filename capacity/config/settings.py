"""Settings: environment for secrets and processes, the database for all else. Each is on docs/settings.md.

Every value may come from a file instead: `HEADROOM_SECRET_KEY_FILE=/run/secrets/key`.
"""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

import environ
from cryptography.fernet import Fernet
from csp.constants import NONE, SELF, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured

from capacity.config.logging import logging_config
from capacity.config.schedule import BEAT_SCHEDULE, QUEUES, TASK_ROUTES

env = environ.FileAwareEnv()
BASE_DIR = Path(__file__).resolve().parent.parent.parent


def secret(name: str, *, make: str) -> str:
    """A secret that must be given: without it nothing starts."""
    value = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. Set it (or {name}_FILE) to the output of: {make}")
    return str(value)


def on_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


DEBUG = env.bool("HEADROOM_DEBUG", default=False)
SECRET_KEY = secret("HEADROOM_SECRET_KEY", make="python3 -c 'import secrets; print(secrets.token_urlsafe(50))'")
# The first key encrypts; all of them decrypt (rotation): "new,old".
ENCRYPTION_KEYS = secret(
    "HEADROOM_ENCRYPTION_KEY",
    make="python3 -c 'import base64, secrets; print(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())'",
).split(",")
for key in ENCRYPTION_KEYS:
    try:
        Fernet(key.strip())
    except ValueError:
        raise ImproperlyConfigured("HEADROOM_ENCRYPTION_KEY holds a key that is not 32 bytes in URL-safe base64.") from None

# --- Addresses -------------------------------------------------------------------------------------------------------
PUBLIC_URL = env.str("HEADROOM_PUBLIC_URL", default="http://127.0.0.1:8080").rstrip("/")
PUBLIC_HOST = urlsplit(PUBLIC_URL).hostname or ""
HTTPS = urlsplit(PUBLIC_URL).scheme == "https"
if not (DEBUG or HTTPS or on_loopback(PUBLIC_HOST)):
    raise ImproperlyConfigured(
        f"HEADROOM_PUBLIC_URL is {PUBLIC_URL}: over plain http passwords and sessions can be read on the way. "
        "Put a proxy with TLS in front and set an https:// address; http is accepted for 127.0.0.1 and localhost only."
    )
ALLOWED_HOSTS = [*env.list("HEADROOM_ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"]), PUBLIC_HOST]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if HTTPS else []
# Where web listens; another address than loopback shows a banner, see `capacity.config.context`.
BIND = env.str("HEADROOM_BIND", default="127.0.0.1")
EXPOSED = not on_loopback(BIND)
# Addresses of proxies whose X-Forwarded-Proto and X-Forwarded-For are believed are gunicorn's `--forwarded-allow-ips`.
BEHIND_PROXY = env.bool("HEADROOM_BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
# How many entries at the end of X-Forwarded-For are the proxies' own word: for rate limits and the audit trail.
PROXIES = int(BEHIND_PROXY)
ALLAUTH_TRUSTED_PROXY_COUNT = PROXIES
# Loopback is an allowed outbound address from the start only under `make up`.
ALLOW_LOOPBACK = env.bool("HEADROOM_ALLOW_LOOPBACK", default=False)
# Of the first admin, read once by `manage.py prepare`; `make up` makes its own.
ADMIN_PASSWORD = env.str("HEADROOM_ADMIN_PASSWORD", default="")
CONTACT = env.str("HEADROOM_CONTACT", default="your Headroom admin")
# `Authorization: Bearer ...` of whoever scrapes /metrics from elsewhere; empty = loopback only.
METRICS_TOKEN = env.str("HEADROOM_METRICS_TOKEN", default="")
# Called each minute while our own loops go on; a service outside tells people when the calls stop.
DEAD_MAN_URL = env.str("HEADROOM_DEAD_MAN_URL", default="")
if DEAD_MAN_URL and not DEAD_MAN_URL.startswith(("http://", "https://")):
    raise ImproperlyConfigured("HEADROOM_DEAD_MAN_URL must begin with https:// or http://; copy the whole ping address.")

# --- Django ----------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "monitoring",
    "capacity",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "rest_framework",
    "drf_spectacular",
    "django_filters",
    "django_htmx",
    "csp",
]
AUTH_USER_MODEL = "monitoring.User"
ROOT_URLCONF = "capacity.config.urls"
WSGI_APPLICATION = "capacity.config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

MIDDLEWARE = [
    "capacity.config.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "capacity.config.middleware.DatabaseAwayMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # Every view needs a signed-in person unless it says `login_not_required`; the API has its own default-deny.
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "capacity.dashboards.context.ZoneMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "csp.middleware.CSPMiddleware",
]

# What a push to /api/v1/ingest passes: it has no session, no cookie and no page.
INGEST_MIDDLEWARE = [
    "capacity.config.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "capacity.config.middleware.DatabaseAwayMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "capacity.config.context.exposure",
                "capacity.config.context.help_words",
                "capacity.dashboards.context.shell",
            ],
            "builtins": ["capacity.dashboards.tags"],
        },
    }
]

TIME_ZONE = "UTC"
USE_TZ = True
LANGUAGE_CODE = "en"
USE_I18N = False

STATIC_URL = "static/"
STATIC_ROOT = env.str("HEADROOM_STATIC_ROOT", default=str(BASE_DIR / "var" / "static"))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_KEEP_ONLY_HASHED_FILES = True  # half the compressing
LOGGING = logging_config(level=env.str("HEADROOM_LOG_LEVEL", default="INFO"))
LOGGING_CONFIG = "logging.config.dictConfig"

# --- Database --------------------------------------------------------------------------------------------------------
# Web 5 s (set by wsgi.py), worker 60 s (set where the worker is started), commands none.
STATEMENT_TIMEOUT_SECONDS = env.float("HEADROOM_STATEMENT_TIMEOUT_SECONDS", default=0.0)
DATABASE_URL = secret("DATABASE_URL", make="echo postgres://USER:PASSWORD@HOST:5432/NAME")
DATABASES = {
    "default": {
        **env.db_url_config(DATABASE_URL),
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,  # a restarted Postgres costs no request an error
    }
}
DATABASES["default"].setdefault("OPTIONS", {}).update(
    {
        "connect_timeout": 5,
        "application_name": env.str("HEADROOM_PROCESS", default="headroom"),
        "options": f"-c statement_timeout={int(STATEMENT_TIMEOUT_SECONDS * 1000)} -c idle_in_transaction_session_timeout=30000",
    }
)
# The reads that monitoring.store prepares: Django's own cursors never do, and planned anew each time nothing would be gained.
if env.bool("HEADROOM_PREPARED_STATEMENTS", default=True):
    DATABASES["default"]["OPTIONS"]["prepare_threshold"] = 0
    DATABASES["default"]["OPTIONS"]["options"] += " -c plan_cache_mode=force_generic_plan"
# How many requests a web process lets in at once, each kind by its own gate: monitoring/api/gates.py.
INGESTS_AT_ONCE = env.int("HEADROOM_INGESTS_AT_ONCE", default=4)
PAGES_AT_ONCE = env.int("HEADROOM_PAGES_AT_ONCE", default=6)
# Set by wsgi.py: the threads of a web process share connections; two are for what passes no gate.
if env.bool("HEADROOM_DATABASE_POOL", default=False):
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": INGESTS_AT_ONCE + PAGES_AT_ONCE + 2, "timeout": 5}
# Counters of the rate limits: in Postgres, so that all web processes and hosts share them.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "headroom_cache"}}

# --- Sign-in ---------------------------------------------------------------------------------------------------------
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "monitoring.access.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "monitoring.access.forms.LoginForm",
    "reset_password": "monitoring.access.forms.ResetPasswordForm",
    "reset_password_from_key": "monitoring.access.forms.ResetPasswordKeyForm",
    "change_password": "monitoring.access.forms.ChangePasswordForm",
    "set_password": "monitoring.access.forms.SetPasswordForm",
}
# By address ("ip") and by account ("key"); counted in the cache table, so for all web processes together.
ACCOUNT_RATE_LIMITS = {"login": "30/m/ip", "login_failed": "10/m/ip,5/5m/key", "reset_password": "20/m/ip,5/h/key"}
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # strangers are not written to
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # an account is made by an invitation that went to the address
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"

COOKIE_PREFIX = "__Host-" if HTTPS else ""
SESSION_ENGINE = "monitoring.access.sessions"
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}headroom_session"
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}headroom_csrf"
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "capacity.config.errors.csrf_failed"
SECURE_SSL_REDIRECT = HTTPS and not DEBUG
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]  # asked from inside, without the proxy
SECURE_HSTS_SECONDS = 365 * 86400 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("HEADROOM_HSTS_SUBDOMAINS", default=HTTPS)
SECURE_HSTS_PRELOAD = SECURE_HSTS_INCLUDE_SUBDOMAINS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 2**20
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF, UNSAFE_INLINE],  # plotly writes style attributes
        "img-src": [SELF, "data:", "blob:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "report-uri": ["/csp-report"],
    }
}

# --- Mail ------------------------------------------------------------------------------------------------------------
# Without HEADROOM_EMAIL_URL letters go to the log of the process that sends them.
EMAIL_ADDRESS_SET = bool(env.str("HEADROOM_EMAIL_URL", default=""))
EMAIL_CONFIG = env.email_url_config(env.str("HEADROOM_EMAIL_URL", default="") or "consolemail://")
vars().update(EMAIL_CONFIG)
EMAIL_TIMEOUT = 15
DEFAULT_FROM_EMAIL = env.str("HEADROOM_EMAIL_FROM", default=f"Headroom <headroom@{PUBLIC_HOST or 'localhost'}>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- REST API --------------------------------------------------------------------------------------------------------
API_CALLS_PER_MINUTE = env.int("HEADROOM_API_CALLS_PER_MINUTE", default=600)  # of one key or person
API_CALLS_PER_MINUTE_AND_ADDRESS = 2 * API_CALLS_PER_MINUTE  # of all keys behind one address, wrong ones included
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["monitoring.api.door.KeyAuthentication", "monitoring.api.door.PageSession"],
    "DEFAULT_PERMISSION_CLASSES": ["monitoring.api.door.DoorPermission"],
    "DEFAULT_THROTTLE_CLASSES": ["monitoring.api.door.CallerThrottle"],
    "DEFAULT_PARSER_CLASSES": ["monitoring.api.reading.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["monitoring.api.writing.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "monitoring.api.paging.Pages",
    "DEFAULT_FILTER_BACKENDS": ["capacity.api.strict.Filters"],
    "DEFAULT_SCHEMA_CLASS": "capacity.api.schema.Schema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "monitoring.api.problems.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Headroom",
    "DESCRIPTION": "What the screens show, for programs. Numbers are in base units, ratios from 0 to 1, times RFC 3339 in UTC.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["monitoring.api.door.DoorPermission"],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "LatencyKind": ["request_duration", "time_to_first_token", "time_per_output_token", "queue_time"],
        "EventKind": "monitoring.models.EventKind",
        "HandEventKind": ["incident", "launch", "note"],
        "ActorKind": ["person", "key"],
        "AgentState": "monitoring.models.AgentState",
        "AlertState": "monitoring.models.AlertState",
        "NotificationState": "monitoring.models.NotificationState",
        "Severity": "monitoring.models.Severity",
        "ChannelKind": "monitoring.models.ChannelKind",
        "RuleKind": "monitoring.models.RuleKind",
        "RuleEntity": "monitoring.models.RuleEntity",
        "AlertEdge": "monitoring.models.Edge",
        "PriceKind": "capacity.models.PriceKind",
        "PlannedKind": "capacity.models.PlannedKind",
        "ScenarioScope": "capacity.models.Scope",
        "ScopeEnum": "monitoring.models.Scope",
        "SupplyState": "capacity.models.SupplyState",
        "OpenSupplyState": ["on_order", "reserved"],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "monitoring.api.ingest_schema.schemas_add",
        "capacity.api.schema.problems_add",
    ],
}

# --- Celery ----------------------------------------------------------------------------------------------------------
# Postgres is the only truth: a message is a doorbell. Reasons: docs/decisions/0002-pgmq-broker.md.
VISIBILITY_TIMEOUT_SECONDS = 180  # twice the hard time limit
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="") or f"pgmq://{DATABASE_URL.partition('://')[2]}"
if CELERY_BROKER_URL.startswith("pgmq"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "init_extension": False,
        "use_notify": True,
        "notify_throttle_interval_ms": 0,
        "wait_time_seconds": 0,
        "polling_interval": 0.5,
        "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
        "pool_size": 4,
    }
elif CELERY_BROKER_URL.startswith("redis"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": VISIBILITY_TIMEOUT_SECONDS}
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {"confirm_publish": True}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_TIME_LIMIT = 90
CELERY_TASK_SOFT_TIME_LIMIT = 60
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_TASK_DEFAULT_QUEUE = "upkeep"
CELERY_TASK_QUEUES = QUEUES
CELERY_TASK_ROUTES = TASK_ROUTES
CELERY_BEAT_SCHEDULE = BEAT_SCHEDULE
CELERY_TIMEZONE = "UTC"
