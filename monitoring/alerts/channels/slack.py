"""Slack by incoming webhook. Secret: JSON {"url": ...}.

Limits of Slack: header 150 characters, section text 3000, 10 fields, 50 blocks. Its errors come as a word in the body.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from monitoring.alerts.channels.base import ChannelError, Message, Setup, Telling, alert_link, facts_of, headline_of, link_of, title_of
from monitoring.alerts.channels.calls import call

HEADER_MOST, TEXT_MOST, FIELDS_MOST, FIELD_MOST, BLOCKS_MOST = 150, 3000, 10, 2000, 50
LISTED_MOST = 20
GONE = {  # the word in Slack's answer -> what it means
    "invalid_token": "the webhook's token is not valid any more",
    "action_prohibited": "an administrator of the workspace forbids it",
    "channel_not_found": "the channel does not exist any more",
    "channel_is_archived": "the channel is archived",
    "no_service": "the webhook was removed or switched off",
    "no_team": "the workspace does not exist any more",
    "team_disabled": "the workspace is disabled",
}


def notify(setup: Setup, message: Message, now: datetime) -> str:
    body = json.dumps({"text": escape(title_of(message))[:TEXT_MOST], "blocks": blocks_of(setup, message)}).encode()
    try:
        reply = call(setup, setup.secrets["url"], body, headers={"Content-Type": "application/json"})
    except ChannelError as error:
        raise gone_of(str(error)) or error from None
    said = reply.body[:100].decode(errors="replace").strip()
    if said != "ok":
        raise gone_of(said) or ChannelError(f"Slack answered {reply.status}: {said}", permanent=True)
    return said


def gone_of(said: str) -> ChannelError | None:
    """Where Slack refuses this webhook for good: why, and what to do."""
    word = next((word for word in GONE if word in said), None)
    return ChannelError(f"Slack: {GONE[word]} ({word}). Make a new incoming webhook and enter it here.", switch_off=True) if word else None


def escape(text: str) -> str:
    """Labels come from outside: no markup, and nobody is called by name (`<!here>` needs a bare <)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def blocks_of(setup: Setup, message: Message) -> list[dict[str, Any]]:
    header = {"type": "header", "text": {"type": "plain_text", "text": title_of(message)[:HEADER_MOST]}}
    body = one(message.told[0]) if len(message.told) == 1 and not message.title else many(message.told)
    buttons = [
        {"type": "button", "text": {"type": "plain_text", "text": name}, "url": url} for name, url in links_of(setup, message).items()
    ]
    return [header, *body, *([{"type": "actions", "elements": buttons}] if buttons else [])][:BLOCKS_MOST]


def links_of(setup: Setup, message: Message) -> dict[str, str]:
    """Where to look, and where to acknowledge; of many the list."""
    if len(message.told) > 1 or message.title:
        return {"Open": f"{setup.public_url}/alerts/"} if setup.public_url else {}
    telling = message.told[0]
    opened, own = link_of(setup, telling.content), alert_link(setup, telling.content)
    links = {"Open": opened, "Acknowledge": own if telling.edge not in ("resolve", "test") and own != opened else ""}
    return {name: link for name, link in links.items() if link}


def one(telling: Telling) -> list[dict[str, Any]]:
    fields = [markdown(f"*{name}*\n{escape(text)}", most=FIELD_MOST) for name, text in facts_of(telling)]
    return [{"type": "section", "fields": fields[:FIELDS_MOST]}]


def many(told: tuple[Telling, ...]) -> list[dict[str, Any]]:
    lines = [f"• {escape(headline_of(telling) + acknowledged_words(telling))}" for telling in told[:LISTED_MOST]]
    rest = len(told) - LISTED_MOST
    return [{"type": "section", "text": markdown("\n".join([*lines, *([f"and {rest} more"] if rest > 0 else [])]), most=TEXT_MOST)}]


def acknowledged_words(telling: Telling) -> str:
    by = telling.content.get("acknowledged_by", "")
    return f" (acknowledged by {by})" if by and telling.edge != "resolve" else ""


def markdown(text: str, *, most: int) -> Mapping[str, str]:
    return {"type": "mrkdwn", "text": text[:most]}
