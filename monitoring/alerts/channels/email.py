"""E-mail by the install's SMTP server. Options: {"to": ["ops@example.com"]}; it has no secret of its own.

Each address gets a letter of its own: times in its reader's zone, and a link by which it alone is taken off. Mails of one alert
are one thread: the later ones refer to the Message-ID of the first.
"""

import smtplib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parseaddr
from html import escape

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend

from monitoring.alerts.addresses import token_of
from monitoring.alerts.channels.base import (
    ChannelError,
    Message,
    Sent,
    Setup,
    Telling,
    alert_link,
    facts_of,
    headline_of,
    link_of,
    moment_words,
    title_of,
)

LISTED_MOST = 50
NO_SERVER = "No mail server is set, so no letter can leave: an admin sets HEADROOM_EMAIL_URL (docs/settings.md)."
TROUBLES = (smtplib.SMTPException, OSError)


@dataclass
class Post:
    """What came of the letters so far."""

    delivered: list[str] = field(default_factory=list)
    off: dict[str, str] = field(default_factory=dict)  # refused for good
    failed: dict[str, ChannelError] = field(default_factory=dict)


def notify(setup: Setup, message: Message, now: datetime) -> Sent:
    if settings.EMAIL_BACKEND.endswith("console.EmailBackend"):
        raise ChannelError(NO_SERVER)
    post = Post()
    addresses = [address for address in setup.options["to"] if address not in setup.off]
    with server() as connection:
        for address in addresses:
            if address not in message.delivered:
                letter_send(setup, message, address, connection, post)
    if post.failed:
        address, error = next(iter(post.failed.items()))
        raise ChannelError(str(error), permanent=error.permanent, delivered=post.delivered, addresses_off=post.off)
    if not set(addresses) - set(post.off):
        why = "; ".join(f"{address}: {said}" for address, said in post.off.items()) or "every address was taken off"
        raise ChannelError(f"No address is left ({why}). Enter one that works.", switch_off=True, addresses_off=post.off)
    return Sent(f"accepted for {', '.join([*message.delivered, *post.delivered])}", message_id(message), post.off)


def server() -> BaseEmailBackend:
    connection = get_connection()
    try:
        connection.open()
    except TROUBLES as error:
        raise ChannelError(trouble_words(error)) from None
    return connection


def letter_send(setup: Setup, message: Message, address: str, connection: BaseEmailBackend, post: Post) -> None:
    try:
        letter_of(setup, message, address, connection).send()
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        text = f"The mail server refused {address}: {code} {said.decode(errors='replace')[:200]}"
        if code >= 550:
            post.off[address] = text
        else:
            post.failed[address] = ChannelError(text)
    except smtplib.SMTPResponseException as error:
        post.failed[address] = ChannelError(trouble_words(error), permanent=error.smtp_code >= 550)
    except TROUBLES as error:
        post.failed[address] = ChannelError(trouble_words(error))
    else:
        post.delivered.append(address)


def trouble_words(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
        return f"The mail server answered {error.smtp_code}: {said[:200]}"
    return f"The mail server did not take the mail: {type(error).__name__}: {error}"


def letter_of(setup: Setup, message: Message, address: str, connection: BaseEmailBackend) -> EmailMultiAlternatives:
    zone, leave = setup.zones.get(address, ""), leave_link(setup, address)
    letter = EmailMultiAlternatives(
        subject=subject_of_letter(message),
        body=text_of(setup, message, zone=zone, leave=leave),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[address],
        headers=headers_of(setup, message, leave=leave),
        connection=connection,
    )
    letter.attach_alternative(html_of(setup, message, zone=zone, leave=leave), "text/html")
    return letter


def leave_link(setup: Setup, address: str) -> str:
    return f"{setup.public_url}/unsubscribe/{token_of(setup.channel, address)}" if setup.public_url and setup.channel else ""


def subject_of_letter(message: Message) -> str:
    """On one line, and the same for all mails of an alert but its end, so that mail programs keep them together."""
    return " ".join(title_of(message).split())[:200]


def mail_host() -> str:
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1].partition("@")[2] or "localhost"


def message_id(message: Message) -> str:
    return f"<{message.key}@{mail_host()}>"


def headers_of(setup: Setup, message: Message, *, leave: str) -> dict[str, str]:
    headers = {"Message-ID": message_id(message), "Auto-Submitted": "auto-generated"}
    headers["List-Id"] = f"Headroom alerts <channel-{setup.channel}.alerts.{mail_host()}>"
    roots = dict.fromkeys(telling.thread.reference for telling in message.told if telling.thread)
    if roots:
        headers |= {"In-Reply-To": next(iter(roots)), "References": " ".join([*roots][:20])}
    if leave:
        headers["List-Unsubscribe"] = f"<{leave}>"
    if leave.startswith("https:"):  # RFC 8058 asks for https
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return headers


def text_of(setup: Setup, message: Message, *, zone: str, leave: str) -> str:
    told = message.told[:LISTED_MOST]
    parts = [brief_of(setup, telling, zone=zone) if message.title else told_text(setup, telling, zone=zone) for telling in told]
    begin = [message.title] if message.title else []
    footer = [f"-- \nHeadroom, channel {setup.name}. Take this address off: {leave}"] if leave else []
    return "\n\n".join([*begin, *parts, *rest_of(message), *footer])


def brief_of(setup: Setup, telling: Telling, *, zone: str) -> str:
    return f"{moment_words(telling.content['started_at'], zone)}  {headline_of(telling)}\n{link_of(setup, telling.content)}"


def told_text(setup: Setup, telling: Telling, *, zone: str) -> str:
    lines = [f"{name}: {text}" for name, text in facts_of(telling, zone=zone)]
    return "\n".join([headline_of(telling), *lines, *(f"{name}: {link}" for name, link in links_of(setup, telling).items())])


def links_of(setup: Setup, telling: Telling) -> Mapping[str, str]:
    """Where to look, and where to acknowledge what goes on."""
    opened, own = link_of(setup, telling.content), alert_link(setup, telling.content)
    links = {"Open": opened, "Acknowledge or silence": own if telling.edge != "resolve" and own != opened else ""}
    return {name: link for name, link in links.items() if link}


def html_of(setup: Setup, message: Message, *, zone: str, leave: str) -> str:
    told = message.told[:LISTED_MOST]
    parts = [brief_html(setup, telling, zone=zone) if message.title else told_html(setup, telling, zone=zone) for telling in told]
    begin = f"<h2>{escape(message.title)}</h2>" if message.title else ""
    rest = "".join(f"<p>{escape(text)}</p>" for text in rest_of(message))
    footer = f"<p>Headroom, channel {escape(setup.name)}. <a href='{escape(leave)}'>Take this address off</a></p>" if leave else ""
    return f"<html><body>{begin}{''.join(parts)}{rest}{footer}</body></html>"


def brief_html(setup: Setup, telling: Telling, *, zone: str) -> str:
    link = escape(link_of(setup, telling.content))
    return f"<p>{moment_words(telling.content['started_at'], zone)} <a href='{link}'>{escape(headline_of(telling))}</a></p>"


def told_html(setup: Setup, telling: Telling, *, zone: str) -> str:
    rows = "".join(f"<tr><th align='left'>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts_of(telling, zone=zone))
    links = " · ".join(f"<a href='{escape(link)}'>{name}</a>" for name, link in links_of(setup, telling).items())
    return f"<h3>{escape(headline_of(telling))}</h3><table>{rows}</table>{f'<p>{links}</p>' if links else ''}"


def rest_of(message: Message) -> list[str]:
    rest = len(message.told) - LISTED_MOST
    return [f"and {rest} more"] if rest > 0 else []
