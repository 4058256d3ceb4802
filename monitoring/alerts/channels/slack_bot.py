"""Slack by an app's bot token. Secret: JSON {"token": "xoxb-..."}; options: {"channel": "C0123456789"}, perhaps "api_url".

The first message about an alert changes in place when it is acknowledged and when it ends; all else goes into its thread.
Slack answers 200 with {"ok": false, "error": ...} where it refuses; how often it may be asked it says by 429 and Retry-After.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from monitoring.alerts.channels.base import ChannelError, Message, Sent, Setup, Telling, Thread, title_of
from monitoring.alerts.channels.calls import call, retry_after_of
from monitoring.alerts.channels.slack import TEXT_MOST, blocks_of, escape

API = "https://slack.com/api"
GONE = {  # Slack's word -> what it means, and what to do
    "token_revoked": "the token was revoked; install the app again and enter its new token",
    "token_expired": "the token has expired; enter a new one",
    "invalid_auth": "the token is not valid; copy the Bot User OAuth Token (xoxb-...) of the app",
    "not_authed": "no token was sent; enter the Bot User OAuth Token (xoxb-...) of the app",
    "account_inactive": "the app was removed or its workspace deleted; install it again",
    "missing_scope": "the app lacks the scope chat:write; add it and install the app again",
    "no_permission": "the app may not do this; give it the scope chat:write and install it again",
    "not_allowed_token_type": "this is not a bot token; copy the Bot User OAuth Token (xoxb-...)",
    "channel_not_found": "the channel does not exist or is private; invite the app with /invite and enter the channel's ID",
    "not_in_channel": "the app is not in the channel; invite it there with /invite",
    "is_archived": "the channel is archived; enter another one",
    "restricted_action": "the workspace's settings forbid it to post there",
    "team_access_not_granted": "the app has no access to this workspace",
    "ekm_access_denied": "an administrator of the workspace forbids it",
    "org_login_required": "the workspace is moving; try again when that is done",
}
BUSY = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"})
NOT_CHANGED = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})  # somebody deleted it: the thread tells it
LOUD = ("flapping", "fire", "escalation")  # told to the whole channel though they stand in a thread


@dataclass
class Talk:
    """One message on its way: what Slack has of it already stays so over retries."""

    setup: Setup
    done: list[str] = field(default_factory=list)

    def ask(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        url = f"{self.setup.options.get('api_url') or API}/{method}"
        headers = {"Content-Type": "application/json; charset=utf-8", "Authorization": f"Bearer {self.setup.secrets['token']}"}
        try:
            reply = call(self.setup, url, json.dumps(body).encode(), headers=headers)
        except ChannelError as error:
            error.delivered = tuple(self.done)
            raise
        try:
            said = json.loads(reply.body)
        except ValueError:
            said = {}
        if reply.status < 300 and isinstance(said, dict) and said.get("ok"):
            return said
        raise self.refusal(str(said.get("error", "")) if isinstance(said, dict) else "", reply.status, retry_after_of(reply))

    def refusal(self, word: str, status: int, wait: float) -> ChannelError:
        if word in GONE:
            return ChannelError(f"Slack: {GONE[word]} ({word}).", switch_off=True, delivered=self.done)
        text = f"Slack answered {status}: {word or 'not in its own words'}"
        return ChannelError(text, permanent=word not in BUSY, retry_after=wait, delivered=self.done) if word else ChannelError(text)

    def post(self, message: Message, **more: Any) -> str:
        """The reference of what stands there now."""
        said = self.ask(
            "chat.postMessage", {"channel": self.setup.options["channel"], "unfurl_links": False, **written(self.setup, message), **more}
        )
        return f"{said.get('channel') or self.setup.options['channel']} {said.get('ts', '')}"

    def change(self, thread: Thread) -> None:
        channel, ts = thread.reference.split(" ")
        body = {"channel": channel, "ts": ts, **written(self.setup, Message("", thread.told))}
        try:
            self.ask("chat.update", body)
        except ChannelError as error:
            if not any(word in str(error) for word in NOT_CHANGED):
                raise


def notify(setup: Setup, message: Message, now: datetime) -> Sent:
    talk = Talk(setup, list(message.delivered))
    for reference, thread in {telling.thread.reference: telling.thread for telling in message.told if telling.thread}.items():
        told = tuple(telling for telling in message.told if telling.thread and telling.thread.reference == reference)
        if any(telling.edge in ("ack", "resolve") for telling in told):
            talk.change(thread)  # doing it twice changes nothing
        answer(talk, message, thread, tuple(telling for telling in told if telling.edge != "ack"))
    return Sent("ok", first_post(talk, message))


def answer(talk: Talk, message: Message, thread: Thread, told: tuple[Telling, ...]) -> None:
    mark = f"in {thread.reference}"
    if not told or mark in talk.done:
        return
    channel, ts = thread.reference.split(" ")
    loud = any(telling.edge in LOUD for telling in told)
    talk.post(Message(message.key, told), channel=channel, thread_ts=ts, reply_broadcast=loud)
    talk.done.append(mark)


def first_post(talk: Talk, message: Message) -> str:
    """What has no message yet gets one. An acknowledgement of what was never told is no news."""
    known = next((mark.removeprefix("new ") for mark in talk.done if mark.startswith("new ")), "")
    told = tuple(telling for telling in message.told if telling.thread is None and telling.edge != "ack")
    if known or not told:
        return known
    reference = talk.post(Message(message.key, told, message.title))
    talk.done.append(f"new {reference}")
    return reference


def written(setup: Setup, message: Message) -> dict[str, Any]:
    """`text` is what a notification shows, and all that a screen reader hears."""
    return {"text": escape(title_of(message))[:TEXT_MOST], "blocks": blocks_of(setup, message)}
