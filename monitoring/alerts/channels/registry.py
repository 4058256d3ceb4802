"""From a channel's kind to what sends by it, and from its row to what that needs."""

import json
import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from monitoring.access import secret_decrypt
from monitoring.alerts.channels import alertmanager, email, slack, slack_bot, webhook
from monitoring.alerts.channels.base import Notify, Setup
from monitoring.models import AddressOff, Channel, ChannelKind, User
from monitoring.sources.connect import allowed_addresses

KINDS: dict[str, Notify] = {
    ChannelKind.WEBHOOK: webhook.notify,
    ChannelKind.EMAIL: email.notify,
    ChannelKind.SLACK: slack.notify,
    ChannelKind.SLACK_BOT: slack_bot.notify,
    ChannelKind.ALERTMANAGER: alertmanager.notify,
}
HIDDEN = "(hidden)"
SHORTEST_HIDDEN = 6  # a shorter piece would hide ordinary words


def setup_of(channel: Channel) -> Setup:
    return Setup(
        channel.options,
        secrets_of(channel),
        allowed_addresses(),
        settings.PUBLIC_URL,
        channel.pk or 0,
        channel.name,
        **readers_of(channel),
    )


def secrets_of(channel: Channel) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(secret_decrypt(channel.secret) or "{}")
    return found


def readers_of(channel: Channel) -> dict[str, Any]:
    """Of an e-mail channel: who gets nothing any more, and in which zone the others read."""
    if channel.kind != ChannelKind.EMAIL:
        return {}
    off = AddressOff.objects.filter(channel=channel.pk).values_list("address", flat=True) if channel.pk else ()
    known = User.objects.filter(email__in=[address.lower() for address in channel.options["to"]]).exclude(time_zone="")
    zones = dict(known.values_list("email", "time_zone"))
    return {"off": frozenset(off), "zones": {address: zones.get(address.lower(), "") for address in channel.options["to"]}}


def hidden(text: str, secrets: Mapping[str, Any]) -> str:
    """What another side said, without the secrets it may have said back: whole ones and the parts of an address."""
    whole = [word for value in secrets.values() for word in (value if isinstance(value, list) else [value])]
    parts = [part for word in whole if "://" in word for part in re.split("[/?&=]", word.partition("://")[2])[1:]]
    for word in sorted({*whole, *parts}, key=len, reverse=True):
        if len(word) >= SHORTEST_HIDDEN:
            text = text.replace(word, HIDDEN)
    return text
