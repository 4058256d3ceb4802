"""E-mail by the install's SMTP server. Options: {"to": ["ops@example.com"]}; it has no secret of its own.

Mails of one alert are one thread: the first has the alert's own Message-ID, the others refer to it.
"""

import smtplib
from datetime import datetime
from email.utils import parseaddr
from html import escape

from django.conf import settings
from django.core.mail import EmailMultiAlternatives

from monitoring.alerts.channels.base import ChannelError, Message, Setup, Telling, facts_of, headline_of, link_of, title_of

LISTED_MOST = 50


def notify(setup: Setup, message: Message, now: datetime) -> str:
    letter = letter_of(setup, message)
    try:
        letter.send()
    except smtplib.SMTPRecipientsRefused as error:
        raise refusal(error) from None
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
        raise ChannelError(f"The mail server answered {error.smtp_code}: {said[:200]}", permanent=error.smtp_code >= 550) from None
    except (smtplib.SMTPException, OSError) as error:
        raise ChannelError(f"The mail server did not take the mail: {type(error).__name__}: {error}") from None
    return f"accepted for {', '.join(letter.to)}"


def refusal(error: smtplib.SMTPRecipientsRefused) -> ChannelError:
    """No recipient was taken. Only if all were refused for good is the channel of no use."""
    address, (code, said) = next(iter(error.recipients.items()))
    text = f"The mail server refused {address}: {code} {said.decode(errors='replace')[:200]}"
    return ChannelError(text, switch_off=all(code >= 550 for code, _ in error.recipients.values()))


def letter_of(setup: Setup, message: Message) -> EmailMultiAlternatives:
    letter = EmailMultiAlternatives(
        subject=subject_of_letter(message),
        body=text_of(setup, message),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=list(setup.options["to"]),
        headers=headers_of(message),
    )
    letter.attach_alternative(html_of(setup, message), "text/html")
    return letter


def subject_of_letter(message: Message) -> str:
    """On one line, and the same for all mails of an alert but its end, so that mail programs keep them together."""
    return " ".join(title_of(message).split())[:200]


def headers_of(message: Message) -> dict[str, str]:
    host = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].partition("@")[2] or "localhost"
    headers = {"Message-ID": f"<{message.key}@{host}>", "Auto-Submitted": "auto-generated", "List-Id": f"Headroom alerts <alerts.{host}>"}
    root = f"<headroom-alert-{message.told[0].content['alert']}@{host}>"
    return headers | {"References": root, "In-Reply-To": root}


def text_of(setup: Setup, message: Message) -> str:
    parts = [told_text(setup, telling) for telling in message.told[:LISTED_MOST]]
    return "\n\n".join([*parts, *rest_of(message)])


def told_text(setup: Setup, telling: Telling) -> str:
    link = link_of(setup, telling.content)
    lines = [f"{name}: {text}" for name, text in facts_of(telling)] + ([f"Open: {link}"] if link else [])
    return "\n".join([headline_of(telling), *lines])


def html_of(setup: Setup, message: Message) -> str:
    parts = [told_html(setup, telling) for telling in message.told[:LISTED_MOST]]
    return f"<html><body>{''.join(parts)}{''.join(f'<p>{escape(text)}</p>' for text in rest_of(message))}</body></html>"


def told_html(setup: Setup, telling: Telling) -> str:
    link = link_of(setup, telling.content)
    rows = "".join(f"<tr><th align='left'>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts_of(telling))
    opened = f"<p><a href='{escape(link)}'>Open</a></p>" if link else ""
    return f"<h3>{escape(headline_of(telling))}</h3><table>{rows}</table>{opened}"


def rest_of(message: Message) -> list[str]:
    rest = len(message.told) - LISTED_MOST
    return [f"and {rest} more"] if rest > 0 else []
