"""Senders: a thread for each channel that has something to say, so that one which hangs delays no other."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog
from django.db import connection

from monitoring.access import SecretError
from monitoring.alerts.channels.base import ChannelError, Notify, Sent
from monitoring.alerts.channels.registry import KINDS, hidden, setup_of
from monitoring.alerts.outbox import Claim, channels_due, failure_record, message_claim, sent_record

ROUND_SECONDS = 8.0  # a round ends then; what still hangs goes on in its thread, under its lease
CHANNEL_SECONDS = 20.0  # of one thread, before the others' turn at the database
Clock = Callable[[], datetime]
log = structlog.get_logger("headroom.alerts")


def notifications_send(*, clock: Clock, owner: str, kinds: Mapping[str, Notify] = KINDS, round_seconds: float = ROUND_SECONDS) -> str:
    """One line of what was sent; empty: there was nothing to do."""
    counts: dict[int, int] = {}
    threads = [
        threading.Thread(target=channel_thread, args=(pk, counts), kwargs={"clock": clock, "owner": owner, "kinds": kinds}, daemon=True)
        for pk in channels_due(now=clock())
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + round_seconds
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.0))
    going = sum(thread.is_alive() for thread in threads)
    sent = sum(list(counts.values()))
    return f"{sent} messages by {len(threads)} channels{f', {going} still at it' if going else ''}" if threads else ""


def channel_thread(channel_pk: int, counts: dict[int, int], *, clock: Clock, owner: str, kinds: Mapping[str, Notify]) -> None:
    try:
        channel_send(channel_pk, counts, clock=clock, owner=owner, kinds=kinds)
    except Exception:  # the lease ends, and another round tries again
        log.exception("sender failed", channel=channel_pk)
    finally:
        connection.close()


def channel_send(channel_pk: int, counts: dict[int, int], *, clock: Clock, owner: str, kinds: Mapping[str, Notify]) -> None:
    """One message of the channel after another, until there is none or the time is up."""
    began = time.monotonic()
    while time.monotonic() - began < CHANNEL_SECONDS:
        claim = message_claim(channel_pk, now=clock(), owner=owner)
        if claim is None:
            return
        if message_send(claim, clock=clock, kinds=kinds):
            counts[channel_pk] = counts.get(channel_pk, 0) + 1


def message_send(claim: Claim, *, clock: Clock, kinds: Mapping[str, Notify]) -> bool:
    """Send, then write down what came of it: a death in between sends again, under the same key."""
    secrets: Mapping[str, Any] = {}
    try:
        setup = setup_of(claim.channel)
        secrets = setup.secrets
        said = kinds[claim.channel.kind](setup, claim.message, clock())
    except SecretError as error:
        failed = ChannelError(str(error), switch_off=True)
    except ChannelError as error:
        failed = error
    except Exception as error:  # a mistake of ours must not stop the other messages
        failed = ChannelError(f"Headroom failed: {type(error).__name__}")
        log.exception("message not sent", channel=claim.channel.pk, key=claim.message.key)
    else:
        return sent_record(claim, said_hidden(said, secrets), now=clock())
    text = hidden(str(failed), secrets)
    failure_record(claim, error_hidden(failed, secrets), now=clock(), rng=random.Random())
    log.warning("message not sent", channel=claim.channel.pk, key=claim.message.key, error=text)
    return False


def said_hidden(said: Sent | str, secrets: Mapping[str, Any]) -> Sent:
    sent = said if isinstance(said, Sent) else Sent(said)
    return replace(sent, response=hidden(sent.response, secrets))


def error_hidden(error: ChannelError, secrets: Mapping[str, Any]) -> ChannelError:
    error.args = (hidden(str(error), secrets),)
    return error
