"""From a channel's kind to what sends by it, and from its row to what that needs."""

import json

from django.conf import settings

from monitoring.access import secret_decrypt
from monitoring.alerts.channels import alertmanager, email, slack, webhook
from monitoring.alerts.channels.base import Notify, Setup
from monitoring.models import Channel, ChannelKind
from monitoring.sources.connect import allowed_addresses

KINDS: dict[str, Notify] = {
    ChannelKind.WEBHOOK: webhook.notify,
    ChannelKind.EMAIL: email.notify,
    ChannelKind.SLACK: slack.notify,
    ChannelKind.ALERTMANAGER: alertmanager.notify,
}


def setup_of(channel: Channel) -> Setup:
    secrets = json.loads(secret_decrypt(channel.secret) or "{}")
    return Setup(channel.options, secrets, allowed_addresses(), settings.PUBLIC_URL)
