"""What all channels share: the message they get, and the error that says whether a retry can help."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from monitoring.http import Allowed


class ChannelError(Exception):
    """The message did not arrive; `str(error)` is fit for people.

    permanent: the other side refuses this message. switch_off: it refuses all of them, until somebody mends the channel.
    retry_after: seconds it asked us to wait.
    """

    def __init__(self, text: str, *, permanent: bool = False, switch_off: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.permanent = permanent or switch_off
        self.switch_off = switch_off
        self.retry_after = retry_after


@dataclass(frozen=True)
class Telling:
    """One edge of one alert: its key, what happened, and what was true then (record.content_of)."""

    dedup_key: str
    edge: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """What goes out at once; `key` stays the same over retries."""

    key: str
    told: tuple[Telling, ...]


@dataclass(frozen=True)
class Setup:
    """A channel as its sender needs it: secrets opened, the addresses it may call, links."""

    options: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict)
    allowed: Sequence[Allowed] = ()
    public_url: str = ""


Notify = Callable[[Setup, Message, datetime], str]  # what the other side said, or ChannelError


def moment_words(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds is not None else ""


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
    content = telling.content
    state = {"fire": content["severity"].upper(), "resolve": "RESOLVED", "flapping": "FLAPPING"}[telling.edge]
    return f"[{state}] {subject_of(content)}: {content['summary']}"


def facts_of(telling: Telling) -> list[tuple[str, str]]:
    """Name and sentence of all that is known, in the order in which it is read."""
    content = telling.content
    facts = [("Where", ", ".join(f"{name} {value}" for name, value in sorted(content["labels"].items()) if value))]
    if content["fired_at"] is not None:
        facts.append(("Since", moment_words(content["started_at"])))
    if telling.edge == "resolve":
        facts.append(("Lasted", span_words((content["resolved_at"] or content["started_at"]) - content["started_at"])))
    value = content["worst_value"] if telling.edge == "resolve" else content["value"]
    if value is not None:
        facts.append(("Worst value" if telling.edge == "resolve" else "Value", f"{value:.4g}"))
    if content["money"] is not None:
        facts.append(("Cost", f"{content['money']} {content['currency']}".strip()))
    if telling.edge == "flapping":
        facts.append(("Flapping", "It came and went more than four times in an hour; you hear again once it has settled."))
    if telling.edge != "resolve":
        facts += [(name, content[key]) for name, key in (("If ignored", "consequence"), ("First", "first_action")) if content[key]]
    if content["runbook_url"]:
        facts.append(("Runbook", content["runbook_url"]))
    return facts


def link_of(setup: Setup, content: Mapping[str, Any]) -> str:
    """The deployment's page, where there is one."""
    return f"{setup.public_url}/deployments/{content['deployment']}/" if setup.public_url and content["deployment"] else setup.public_url


def title_of(message: Message) -> str:
    """One alert by name; more by their numbers."""
    if len(message.told) == 1:
        return headline_of(message.told[0])
    ended = sum(telling.edge == "resolve" for telling in message.told)
    began = len(message.told) - ended
    parts = [f"{began} alerts" if began else "", f"{ended} resolved" if ended else ""]
    return f"[{', '.join(part for part in parts if part)}] {headline_of(message.told[0])} and {len(message.told) - 1} more"
