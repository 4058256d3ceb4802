"""Addresses of e-mail channels that get nothing any more: they unsubscribed, or the mail server refuses them for good."""

from collections.abc import Mapping
from datetime import datetime

from django.core.signing import BadSignature, Signer

from monitoring.access import audit
from monitoring.models import AddressOff, Channel

UNSUBSCRIBED = "unsubscribed"
SALT = "headroom.unsubscribe"


def token_of(channel_pk: int, address: str) -> str:
    """What the link of a mail holds: good for taking this address off this channel, and for nothing else."""
    return Signer(salt=SALT).sign_object([channel_pk, address])


def token_read(token: str) -> tuple[Channel, str] | None:
    """The channel and the address; None where nobody made such a token or the channel is gone."""
    try:
        pk, address = Signer(salt=SALT).unsign_object(token)
    except (BadSignature, ValueError):
        return None
    channel = Channel.objects.filter(pk=pk, kind="email").first()
    return (channel, address) if channel else None


def unsubscribe(token: str, *, now: datetime) -> str | None:
    """The address, which gets nothing of this channel from now on; None where the link is not one of ours. Twice changes nothing."""
    found = token_read(token)
    if found is None:
        return None
    channel, address = found
    if addresses_off(channel.pk, {address: UNSUBSCRIBED}, now=now):
        audit(address, "channel.unsubscribe", f"channel {channel.name}", after={"address": address})
    return address


def addresses_off(channel_pk: int, found: Mapping[str, str], *, now: datetime) -> int:
    """address -> why; how many are new."""
    known = AddressOff.objects.filter(channel=channel_pk, address__in=found).count()
    rows = [AddressOff(channel_id=channel_pk, address=address, why=why[:300], at=now) for address, why in found.items()]
    AddressOff.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows) - known
