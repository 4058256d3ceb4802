"""What all channels share: the message they get, and the error that says whether a retry can help."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from monitoring.http import Allowed

NOBODY: Mapping[str, str] = {}
BEFORE, AFTER = 3600, 1800  # seconds around an alert that its link opens
STATE_WORDS = {"resolve": "RESOLVED", "flapping": "FLAPPING", "test": "TEST"}


class ChannelError(Exception):
    """The message did not arrive; `str(error)` is fit for people.

    permanent: the other side refuses this message. switch_off: it refuses all of them, until somebody mends the channel.
    retry_after: seconds it asked us to wait. block: "address:port" that the guard refused and an admin may allow.
    delivered, addresses_off: which addresses of several have it, and which will never take anything, with what was said.
    """

    def __init__(
        self,
        text: str,
        *,
        permanent: bool = False,
        switch_off: bool = False,
        retry_after: float = 0.0,
        block: str = "",
        delivered: Sequence[str] = (),
        addresses_off: Mapping[str, str] = NOBODY,
    ) -> None:
        super().__init__(text)
        self.permanent = permanent or switch_off
        self.switch_off = switch_off
        self.retry_after = retry_after
        self.block = block
        self.delivered = tuple(delivered)
        self.addresses_off = dict(addresses_off)


@dataclass(frozen=True)
class Thread:
    """The first message about an alert by this channel: what refers to it, and what it told, as each stands now."""

    reference: str
    told: tuple["Telling", ...] = ()


@dataclass(frozen=True)
class Telling:
    """One edge of one alert: its key, what happened, and what was true then (record.content_of)."""

    dedup_key: str
    edge: str
    content: Mapping[str, Any]
    thread: Thread | None = None


@dataclass(frozen=True)
class Message:
    """What goes out at once; `key` stays the same over retries. title: instead of the alerts' own; delivered: who has it already."""

    key: str
    told: tuple[Telling, ...]
    title: str = ""
    delivered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """A channel as its sender needs it: secrets opened, the addresses it may call, links, and of its readers who is off and their zones."""

    options: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    allowed: Sequence[Allowed] = ()
    public_url: str = ""
    channel: int = 0
    name: str = ""
    off: frozenset[str] = frozenset()
    zones: Mapping[str, str] = field(default_factory=dict)
    timeout: tuple[float, float] = (5.0, 10.0)  # connect, each read: all of it ends within 25 s


@dataclass(frozen=True)
class Sent:
    """What the other side said; reference: by which later messages find this one; addresses_off: who will take nothing any more."""

    response: str
    reference: str = ""
    addresses_off: Mapping[str, str] = field(default_factory=dict)


Notify = Callable[[Setup, Message, datetime], Sent | str]  # or ChannelError


def moment_words(seconds: float | None, zone: str = "UTC") -> str:
    return datetime.fromtimestamp(seconds, tz=ZoneInfo(zone or "UTC")).strftime("%Y-%m-%d %H:%M %Z") if seconds is not None else ""


def span_words(seconds: float) -> str:
    minutes = max(round(seconds / 60), 0)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 2880 else f"{minutes // 1440} days"


def subject_of(content: Mapping[str, Any]) -> str:
    """The name of what is in trouble."""
    labels = content["labels"]
    return str(next((labels[name] for name in ("deployment", "accelerator", "node", "source") if labels.get(name)), content["rule"]))


def headline_of(telling: Telling) -> str:
    """The same for all that is told of an alert but its end, so that mail programs keep it together."""
    content = telling.content
    state = STATE_WORDS.get(telling.edge) or content["severity"].upper()
    return f"[{state}] {subject_of(content)}: {content['summary']}"


def facts_of(telling: Telling, *, zone: str = "UTC") -> list[tuple[str, str]]:
    """Name and sentence of all that is known, in the order in which it is read."""
    facts = [*standing_facts(telling, zone=zone), *number_facts(telling), *advice_facts(telling)]
    return [(name, text) for name, text in facts if text]


def standing_facts(telling: Telling, *, zone: str) -> list[tuple[str, str]]:
    """How it stands: what this message is about, where and since when."""
    content, edge = telling.content, telling.edge
    since = content["started_at"]
    resolved = content["resolved_at"] or since
    by, until = content.get("acknowledged_by", ""), content.get("acknowledged_until")
    flapping = "It came and went more than four times in an hour; you hear again once it has settled."
    return [
        ("Flapping", flapping if edge == "flapping" else ""),
        ("Nobody acknowledged it", f"for {span_words(content['waited'])}" if edge == "escalation" and content.get("waited") else ""),
        ("Acknowledged", f"by {by}{f' until {moment_words(until, zone)}' if until else ''}" if by and edge != "resolve" else ""),
        ("Where", ", ".join(f"{name} {value}" for name, value in sorted(content["labels"].items()) if value)),
        ("Since", moment_words(since, zone) if content["fired_at"] is not None else ""),
        ("Lasted", span_words(resolved - since) if edge == "resolve" else ""),
        ("Still fires", f"after {span_words(content['at'] - since)}" if edge == "repeat" and content.get("at") else ""),
    ]


def number_facts(telling: Telling) -> list[tuple[str, str]]:
    content, ended = telling.content, telling.edge == "resolve"
    name = "worst" if ended else "value"
    value = content["worst_value" if ended else "value"]
    known = content.get("context") or {}
    money = f"{content['money']} {content['currency']}".strip() if content["money"] is not None else ""
    return [
        ("Limit", content.get("limit", "")),
        ("Worst value" if ended else "Value", content.get(f"{name}_text") or (f"{value:.4g}" if value is not None else "")),
        ("What limits it", known.get("saturation", "") if not ended else ""),
        ("SLO minutes lost", lost_words(content, known, ended=ended)),
        ("Cost", known.get("cost") or money),
        ("What else moved", "; ".join(content.get("moved", ())) if not ended else ""),
        ("Just before", "; ".join(content.get("before", ())) if not ended else ""),
    ]


def lost_words(content: Mapping[str, Any], known: Mapping[str, Any], *, ended: bool) -> str:
    """How many minutes so far or in all, and what is left of those that the promise allows."""
    lost = content.get("slo_minutes_lost") if ended else known.get("slo_minutes_lost")
    if lost is None:
        return ""
    told = f"{lost:g} min above the promised latency{'' if ended else ' since it began'}"
    return "; ".join(part for part in (told, known.get("slo_budget", "")) if part)


def advice_facts(telling: Telling) -> list[tuple[str, str]]:
    content, ended = telling.content, telling.edge == "resolve"
    return [
        ("If ignored", "" if ended else content["consequence"]),
        ("First", "" if ended else content["first_action"]),
        ("Runbook", content["runbook_url"]),
    ]


def link_of(setup: Setup, content: Mapping[str, Any]) -> str:
    """The deployment's page around the alert's time; of what is no deployment the alert's own page."""
    if not setup.public_url or not content["deployment"]:
        return alert_link(setup, content)
    start = content["started_at"] - BEFORE
    end = (content["resolved_at"] or content.get("at") or content["fired_at"] or content["started_at"]) + AFTER
    return f"{setup.public_url}/deployments/{content['deployment']}/?from={start * 1000:.0f}&to={end * 1000:.0f}"


def alert_link(setup: Setup, content: Mapping[str, Any]) -> str:
    """Where it is acknowledged and silenced."""
    return f"{setup.public_url}/alerts/{content['alert']}/" if setup.public_url and content["alert"] else setup.public_url


def title_of(message: Message) -> str:
    """One alert by name; more by their numbers."""
    if message.title or len(message.told) == 1:
        return message.title or headline_of(message.told[0])
    ended = sum(telling.edge == "resolve" for telling in message.told)
    began = len(message.told) - ended
    parts = [f"{began} alerts" if began else "", f"{ended} resolved" if ended else ""]
    return f"[{', '.join(part for part in parts if part)}] {headline_of(message.told[0])} and {len(message.told) - 1} more"
