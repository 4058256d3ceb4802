"""What each kind of channel asks for, and the check of each field: a sentence for a mistake, which never says a secret back."""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

MANY_MOST = 50


@dataclass(frozen=True)
class FieldOffer:
    """One thing a kind of channel asks for. many: a list, one a line."""

    name: str
    label: str
    help: str
    secret: bool = False
    required: bool = True
    many: bool = False
    example: str = ""


@dataclass(frozen=True)
class KindOffer:
    kind: str
    label: str
    meaning: str
    fields: tuple[FieldOffer, ...]


URL = "The whole address, with https://. It is a secret: who knows it can post."
OFFERS = (
    KindOffer(
        "email",
        "E-mail",
        "Letters by the install's mail server, one thread an alert.",
        (FieldOffer("to", "Addresses", "Who gets the letters, one address a line.", many=True, example="ops@example.com"),),
    ),
    KindOffer(
        "slack",
        "Slack webhook",
        "One address from Slack; messages stay as they were sent.",
        (FieldOffer("url", "Webhook URL", URL, secret=True, example="https://hooks.slack.com/services/T000/B000/XXXX"),),
    ),
    KindOffer(
        "slack_bot",
        "Slack app",
        "A bot: its first message changes when somebody acknowledges and when it ends, repeats go into its thread.",
        (
            FieldOffer(
                "token", "Bot token", "Bot User OAuth Token of the app, with the scope chat:write.", secret=True, example="xoxb-..."
            ),
            FieldOffer("channel", "Channel ID", "From the channel's details in Slack; invite the app there.", example="C0123456789"),
            FieldOffer(
                "api_url", "API address", "Only where Slack has another one for you.", required=False, example="https://slack.com/api"
            ),
        ),
    ),
    KindOffer(
        "webhook",
        "Webhook",
        "Signed JSON by Standard Webhooks: for PagerDuty, Teams, CI and what you write yourself.",
        (
            FieldOffer("url", "URL", URL, secret=True, example="https://ci.example.com/hooks/headroom"),
            FieldOffer(
                "signing",
                "Signing secret",
                "whsec_ and base64. While you change it, give the new and the old one, one a line: both sign.",
                secret=True,
                many=True,
                example="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            ),
        ),
    ),
    KindOffer(
        "alertmanager",
        "Alertmanager",
        "Its API v2; routes and silences of your own stay where they are.",
        (
            FieldOffer("url", "URL", "The address of Alertmanager, without /api.", secret=True, example="http://alertmanager:9093"),
            FieldOffer("bearer", "Bearer token", "Only where it asks for one.", secret=True, required=False),
        ),
    ),
)
OFFER_OF = {offer.kind: offer for offer in OFFERS}


def kinds_offered() -> tuple[KindOffer, ...]:
    return OFFERS


def read_one(field: FieldOffer, given: object) -> str | list[str]:
    """Checked. What is secret is never said back, right or wrong."""
    check = CHECKS.get(field.name, text_checked)
    if not field.many:
        return check(str(given or "").strip()) if given else ""
    parts = given if isinstance(given, (list, tuple)) else re.split(r"[,;\s]+", str(given or ""))
    found = list(dict.fromkeys(check(str(part).strip()) for part in parts if str(part).strip()))
    if len(found) > MANY_MOST:
        raise ValueError(f"At most {MANY_MOST} can be entered, and {len(found)} were; use a mailing list, or make a second channel.")
    return found


def text_checked(text: str) -> str:
    if not text.isprintable() or len(text) > 2000 or not text.isascii():
        raise ValueError("It holds characters that cannot be sent, or is longer than 2000; copy it again.")
    return text


def url_checked(text: str) -> str:
    try:
        parts = urlsplit(text_checked(text))
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("This is no address: it needs https:// (or http://), a host and what follows; copy the whole of it.")
    if parts.username or parts.password:
        raise ValueError("The address holds a user or password, which is not sent; enter it without.")
    return text


def address_checked(text: str) -> str:
    try:
        validate_email(text)
    except ValidationError:
        raise ValueError(f"{text[:80]!r} is no e-mail address; one looks like ops@example.com.") from None
    return text


def signing_checked(text: str) -> str:
    try:
        long = len(base64.b64decode(text.removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        long = 0
    if not text.startswith("whsec_") or not 24 <= long <= 64:
        raise ValueError("A signing secret is whsec_ and the base64 of 24 to 64 random bytes; copy or make it again.")
    return text


def token_checked(text: str) -> str:
    if not text_checked(text).startswith(("xoxb-", "xoxe.xoxb-")):
        raise ValueError("A bot token begins with xoxb-; in the app's page it stands under OAuth & Permissions.")
    return text


def slack_channel_checked(text: str) -> str:
    if not re.fullmatch(r"[CGD][A-Z0-9]{2,20}|#?[\w-]{1,80}", text):
        raise ValueError(f"{text[:80]!r} is no channel; its ID, such as C0123456789, stands at the end of the channel's details.")
    return text


CHECKS: dict[str, Callable[[str], str]] = {
    "url": url_checked,
    "api_url": lambda text: url_checked(text).rstrip("/"),
    "to": address_checked,
    "signing": signing_checked,
    "token": token_checked,
    "channel": slack_channel_checked,
}
