"""What channels are given in tests, and a mail server that takes it: real sockets, nothing leaves this machine."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pytest_django import Settings

from monitoring.alerts.channels.base import Message, Setup, Telling, Thread
from monitoring.http import Allowed
from tests.servers.loopback import Handler
from tests.servers.processes import free_port
from tests.telemetry import NOON_SECONDS

SIGNING = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OLD_SIGNING = "whsec_" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
HOSTILE = "<!here> & <b>you</b>\r\nBcc: x@example.com"


def content(**fields: object) -> dict[str, object]:
    return {
        "alert": 7,
        "identity": "a" * 64,
        "rule": "slo-latency-fast",
        "edge": "fire",
        "severity": "critical",
        "labels": {"deployment": "llama-70b", "cluster": "prod", "environment": ""},
        "team": 1,
        "deployment": 3,
        "summary": "Latency allowance is spent 14.4 times as fast as promised",
        "consequence": "Users wait.",
        "first_action": "Roll back.",
        "runbook_url": "https://runbooks.example.com/slo",
        "value": 20.0,
        "worst_value": 30.0,
        "started_at": NOON_SECONDS,
        "fired_at": NOON_SECONDS + 60,
        "resolved_at": NOON_SECONDS + 3660,
        "money": "12.50",
        "currency": "EUR",
        "context": {},
    } | fields


def telling(edge: str = "fire", *, key: str = "headroom-7-1-2", thread: Thread | None = None, **fields: object) -> Telling:
    return Telling(key, edge, content(edge=edge, **fields), thread)


def message(*told: Telling) -> Message:
    told = told or (telling(),)
    return Message(told[0].dedup_key, told)


def setup_for(url: str, **secrets: object) -> Setup:
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    return Setup({"to": ["ops@example.com"]}, {"url": url} | secrets, (Allowed("127.0.0.1/32", port),), "https://headroom.example.com")


def blocks_fit(body: dict[str, Any]) -> bool:
    """The limits of Slack's documentation on one message."""
    blocks = body.get("blocks", [])
    headers = [block["text"]["text"] for block in blocks if block["type"] == "header"]
    sections = [block for block in blocks if block["type"] == "section"]
    buttons = [element for block in blocks if block["type"] == "actions" for element in block["elements"]]
    fields = [field for block in sections for field in block.get("fields", [])]
    texts = [block["text"]["text"] for block in sections if "text" in block]
    return (
        bool(body.get("text"))
        and len(blocks) <= 50
        and all(0 < len(text) <= 150 for text in headers)
        and all(len(block.get("fields", [])) <= 10 for block in sections)
        and all(0 < len(field["text"]) <= 2000 for field in fields)
        and all(0 < len(text) <= 3000 for text in texts)
        and all(len(button["url"]) <= 3000 and len(button["text"]["text"]) <= 75 for button in buttons)
    )


def slack_receiver(handler: Handler) -> None:
    """A fake incoming webhook: Slack's limits, in its words."""
    fits = blocks_fit(json.loads(handler.server.seen[-1].body))
    handler.reply(200 if fits else 400, b"ok" if fits else b"invalid_blocks")


class FakeSlack:
    """A fake of Slack's Web API: tokens, channels, limits, one message a second and channel, messages that change in place."""

    def __init__(self) -> None:
        self.second = 0.0  # its clock
        self.tokens = {"xoxb-good"}
        self.refuse = ""  # a word it answers whatever is asked
        self.messages: dict[str, dict[str, Any]] = {}  # by ts
        self.asked: list[str] = []
        self.last_post = -1.0

    def __call__(self, handler: Handler) -> None:
        seen = handler.server.seen[-1]
        self.asked.append(seen.path.removeprefix("/api/"))
        word, more = self.answer(self.asked[-1], json.loads(seen.body), seen.headers)
        status = 429 if word == "ratelimited" else 200
        body = {"ok": not word, **({"error": word} if word else {}), **more}
        handler.reply(status, json.dumps(body).encode(), {"Retry-After": "1"} if status == 429 else {})

    def answer(self, method: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[str, dict[str, Any]]:
        if headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return "invalid_auth", {}
        if self.refuse:
            return self.refuse, {}
        if body["channel"] not in ("C1", "C2"):
            return "channel_not_found", {}
        if not blocks_fit(body):
            return "invalid_blocks", {}
        return self.post(body) if method == "chat.postMessage" else self.update(body)

    def post(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if self.second - self.last_post < 1:
            return "ratelimited", {}
        self.last_post = self.second
        ts = f"{1000 + len(self.messages)}.000100"
        self.messages[ts] = body
        return "", {"channel": body["channel"], "ts": ts}

    def update(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        known = self.messages.get(body["ts"])
        if known is None or known["channel"] != body["channel"]:
            return "message_not_found", {}
        self.messages[body["ts"]] = known | body
        return "", {"channel": body["channel"], "ts": body["ts"]}

    def stands(self) -> list[tuple[str, str]]:
        """What a person sees: ("" or the thread it is in, its title)."""
        return [(body.get("thread_ts", ""), body["text"]) for body in self.messages.values()]


class Sink:
    """Takes every mail, or answers what a test wants."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.refuse_recipient = self.refuse_mail = ""
        self.refused = ""  # this address only

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        if self.refuse_recipient and self.refused in ("", address):
            return self.refuse_recipient
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refuse_mail:
            return self.refuse_mail
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content, policy=default))
        self.recipients += envelope.rcpt_tos
        return "250 OK"


@contextmanager
def mail_sink(settings: Settings) -> Iterator[Sink]:
    """The install's mail server for as long as it stands."""
    taken = Sink()
    controller = Controller(taken, hostname="127.0.0.1", port=free_port())
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", controller.port, 5
    settings.DEFAULT_FROM_EMAIL = "Headroom <headroom@example.com>"
    try:
        yield taken
    finally:
        controller.stop()
