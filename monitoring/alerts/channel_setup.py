"""Channels as people make them: what each kind asks for, the check with a sentence for each mistake, saving, switching, a real test."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from monitoring.access import SecretError, audit, secret_encrypt
from monitoring.alerts.addresses import UNSUBSCRIBED
from monitoring.alerts.channel_kinds import OFFER_OF, FieldOffer, KindOffer, address_checked, kinds_offered, read_one
from monitoring.alerts.channels.base import ChannelError, Message, Sent, Telling
from monitoring.alerts.channels.registry import KINDS, hidden, secrets_of, setup_of
from monitoring.alerts.matching import matchers_read
from monitoring.models import AddressOff, Channel, ChannelKind, Severity, Team

TEST_TIMEOUT = (4.0, 4.0)  # somebody waits for it: all of it ends within 12 s
TAIL_SHORTEST = 12  # the last four of a shorter secret would give too much of it away
WEEK = 7 * 86400
SECONDS = {  # column -> least and most
    "group_wait_seconds": (0, 3600),
    "group_interval_seconds": (0, 86400),
    "repeat_critical_seconds": (0, WEEK),
    "repeat_warning_seconds": (0, WEEK),
    "escalate_after_seconds": (60, 86400),
}
__all__ = [
    "ChannelSetupError",
    "FieldOffer",
    "KindOffer",
    "TestResult",
    "channel_delete",
    "channel_make",
    "channel_save",
    "channel_switch",
    "channel_test",
    "kinds_offered",
    "secret_tails",
]
COLUMNS = ("name", "kind", "owner", "severities", "matchers", "escalate_to", "weekly_digest", *SECONDS)


class ChannelSetupError(Exception):
    """A channel that cannot be: field -> one sentence with what was given, what is needed, what to do."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)


@dataclass(frozen=True)
class TestResult:
    """What came of a real message. response: the other side's own words; block: "10.0.0.5:9090", which an admin may allow."""

    __test__ = False  # no test of pytest

    ok: bool
    sentence: str
    response: str = ""
    block: str = ""


def channel_make(fields: Mapping[str, object], secrets: Mapping[str, str], *, team: Team | None, channel: Channel | None = None) -> Channel:
    """A checked channel, not saved: a new one, or `channel` with what is given. An empty secret keeps the stored one."""
    made = channel_copy(channel, team=team)
    problems: dict[str, str] = {}
    for name in COLUMNS:
        if name in fields:
            try:
                setattr(made, name, READERS[name](fields[name]))
            except ValueError as problem:
                problems[name] = str(problem)
    if channel is not None and made.kind != channel.kind:
        problems["kind"] = f"A channel stays what it is ({channel.get_kind_display()}); make a new one of the other kind."
    problems = whole_problems(made) | problems
    offer = OFFER_OF.get(made.kind)
    if offer is not None and "kind" not in problems:
        problems |= kind_put(made, offer, fields, secrets)
    if problems:
        raise ChannelSetupError(problems)
    return made


def channel_copy(channel: Channel | None, *, team: Team | None) -> Channel:
    """One whose attributes may be set without a trace where the check then fails."""
    if channel is None:
        return Channel(team=team, kind="")
    copied = Channel(**{field.attname: getattr(channel, field.attname) for field in Channel._meta.concrete_fields})
    copied._state.adding, copied._state.db = channel._state.adding, channel._state.db
    return copied


def whole_problems(made: Channel) -> dict[str, str]:
    problems = {}
    if made.kind not in OFFER_OF:
        problems["kind"] = f"It is one of {', '.join(OFFER_OF)}."
    if not made.name:
        problems["name"] = "Give the channel a name, such as ops on call."
    elif Channel.objects.filter(team=made.team_id, name=made.name).exclude(pk=made.pk).exists():
        problems["name"] = f"There is a channel {made.name} already; choose another name."
    target = made.escalate_to
    if target is not None and (target.pk == made.pk or target.team_id != made.team_id):
        problems["escalate_to"] = "It goes on to another channel of the same team; choose one of those, or none."
    if made.kind == ChannelKind.ALERTMANAGER and made.weekly_digest:
        problems["weekly_digest"] = "Alertmanager takes alerts, no digests; switch the digest off, or on for another channel."
    return problems


def kind_put(made: Channel, offer: KindOffer, fields: Mapping[str, object], secrets: Mapping[str, str]) -> dict[str, str]:
    """What this kind asks for, into options and secret."""
    try:
        kept = secrets_of(made)
    except SecretError:
        kept = {}  # its key is gone: everything is entered again
    options, problems = dict(made.options), {}
    for field in offer.fields:
        given = secrets.get(field.name, "") if field.secret else fields.get(field.name, options.get(field.name, ""))
        store = kept if field.secret else options
        if field.secret and not given and field.name in kept:
            continue
        try:
            found = read_one(field, given)
        except ValueError as problem:
            problems[field.name] = str(problem)
            continue
        if found:
            store[field.name] = found
        elif field.required:
            example = f", such as {field.example}" if field.example else ""
            problems[field.name] = f"{field.label} is missing: {field.help}{example}"
        else:
            store.pop(field.name, None)
    made.options, made.secret = options, secret_encrypt(json.dumps(kept)) if kept else ""
    return problems


def name_of(given: object) -> str:
    text = str(given or "").strip()
    if len(text) > 120 or not text.isprintable():
        raise ValueError("A name has 120 characters at most, on one line.")
    return text


def kind_of(given: object) -> str:
    if str(given) not in OFFER_OF:
        raise ValueError(f"It is one of {', '.join(OFFER_OF)}; {str(given)[:40]!r} was given.")
    return str(given)


def owner_of(given: object) -> str:
    return address_checked(str(given).strip()) if given else ""


def severities_of(given: object) -> list[str]:
    parts = given if isinstance(given, (list, tuple, set)) else re.split(r"[,\s]+", str(given or ""))
    found = [str(part) for part in parts if part]
    wrong = [part for part in found if part not in Severity.values]
    if wrong:
        raise ValueError(f"Severities are {', '.join(Severity.values)}; {wrong[0][:40]!r} was given.")
    return [value for value in Severity.values if value in found]


def target_of(given: object) -> Channel | None:
    if given is None or isinstance(given, Channel):
        return given
    text = str(given).strip()
    found = Channel.objects.filter(pk=int(text)).first() if text.isascii() and text.isdigit() and len(text) < 18 else None
    if text and found is None:
        raise ValueError("It goes on to another channel of the same team; choose one of those, or none.")
    return found


def switch_of(given: object) -> bool:
    return given if isinstance(given, bool) else str(given).strip().lower() in ("true", "on", "1", "yes")


def seconds_of(least: int, most: int) -> Callable[[object], int]:
    def read(given: object) -> int:
        text = str(given).strip()
        if not (text.isascii() and text.isdigit()) or not least <= int(text[:12]) <= most:
            raise ValueError(f"It is a whole number of seconds from {least} to {most}; {text[:40]!r} was given.")
        return int(text)

    return read


READERS: dict[str, Callable[[object], object]] = {
    "name": name_of,
    "kind": kind_of,
    "owner": owner_of,
    "severities": severities_of,
    "matchers": matchers_read,
    "escalate_to": target_of,
    "weekly_digest": switch_of,
    **{name: seconds_of(*limits) for name, limits in SECONDS.items()},
}


def secret_tails(channel: Channel) -> dict[str, str]:
    """The last four characters of each, to recognise it by; of a short one only that it is there."""
    try:
        found = secrets_of(channel)
    except SecretError:
        return {}
    return {name: ", ".join(tail_of(word) for word in (value if isinstance(value, list) else [value])) for name, value in found.items()}


def tail_of(word: str) -> str:
    return f"…{word[-4:]}" if len(word) >= TAIL_SHORTEST else "…"


def channel_fields(channel: Channel) -> dict[str, Any]:
    """What the audit trail may hold: of secrets only their names."""
    columns = {name: getattr(channel, name) for name in COLUMNS if name != "escalate_to"}
    target = channel.escalate_to
    return {**columns, **channel.options, "escalate_to": target.name if target else "", "team": channel.team.name if channel.team else ""}


def channel_save(channel: Channel, *, by: str, now: datetime) -> Channel:
    """A new channel or a changed one. An address that is entered anew gets mail again."""
    with transaction.atomic():
        before = Channel.objects.select_for_update().filter(pk=channel.pk).first() if channel.pk else None
        try:
            with transaction.atomic():
                channel.save()
        except IntegrityError:
            raise ChannelSetupError({"name": f"There is a channel {channel.name} already; choose another name."}) from None
        told = channel_fields(before) if before else {}
        changed = {name: value for name, value in channel_fields(channel).items() if not told or told.get(name) != value}
        if before is None or before.secret != channel.secret:
            changed["entered_anew"] = sorted(secret_tails(channel))
        if before is not None:
            fresh = set(channel.options.get("to", ())) - set(before.options.get("to", ()))
            AddressOff.objects.filter(channel=channel, address__in=fresh).delete()
        if changed:
            kept = {name: told[name] for name in changed if name in told}
            audit(by, "channel.change" if before else "channel.create", f"channel {channel.name}", before=kept, after=changed)
    return channel


def channel_switch(channel: Channel, enabled: bool, *, by: str, now: datetime) -> Channel:
    """On: what switched it off is forgotten, and what still waits goes out; what was given up is replayed only where somebody asks."""
    with transaction.atomic():
        locked = Channel.objects.select_for_update().get(pk=channel.pk)
        before = {"enabled": locked.enabled, "switched_off_why": locked.switched_off_why}
        locked.enabled = enabled
        if enabled:
            locked.switched_off_why, locked.switched_off_at, locked.failures, locked.rests_until = "", None, 0, None
            AddressOff.objects.filter(channel=locked).exclude(why=UNSUBSCRIBED).delete()
        locked.save(update_fields=["enabled", "switched_off_why", "switched_off_at", "failures", "rests_until"])
        audit(by, "channel.on" if enabled else "channel.off", f"channel {locked.name}", before=before, after={"enabled": enabled})
    return locked


def channel_delete(channel: Channel, *, by: str, now: datetime) -> None:
    """With what it was told and was to be told."""
    with transaction.atomic():
        audit(by, "channel.delete", f"channel {channel.name}", before=channel_fields(channel))
        Channel.objects.filter(pk=channel.pk).delete()


def channel_test(channel: Channel, *, now: datetime) -> TestResult:
    """Send a real message, by a channel as stored or as typed; a stored one keeps what was said."""
    result = test_send(channel, now=now)
    if channel.pk:
        said = {"tested_at": now, "test_ok": result.ok, "test_said": result.sentence[:500]}
        Channel.objects.filter(pk=channel.pk).update(**said)
        for name, value in said.items():
            setattr(channel, name, value)
    return result


def test_send(channel: Channel, *, now: datetime) -> TestResult:
    secrets: Mapping[str, Any] = {}
    try:
        setup = replace(setup_of(channel), timeout=TEST_TIMEOUT)
        secrets = setup.secrets
        said = KINDS[channel.kind](setup, test_message(channel, now=now), now)
    except SecretError as error:
        return TestResult(False, f"{str(error)[0].upper()}{str(error)[1:]}.")
    except ChannelError as error:
        text = hidden(str(error), secrets)
        return TestResult(False, text if text.endswith((".", "!")) else f"{text}.", text, error.block)
    response = hidden(said.response if isinstance(said, Sent) else said, secrets)
    return TestResult(True, f"The test message arrived: {OFFER_OF[channel.kind].label} said “{response[:200]}”.", response)


def test_message(channel: Channel, *, now: datetime) -> Message:
    """What a real alert would look like, and nothing that fires."""
    content = {
        **{"alert": 0, "identity": "headroom-test", "rule": "headroom-test", "edge": "test", "severity": "info", "team": channel.team_id},
        **{"labels": {}, "deployment": None, "runbook_url": "", "value": None, "worst_value": None, "money": None, "currency": ""},
        **{"summary": "This channel works", "consequence": "", "first_action": "Nothing: somebody pressed Test.", "context": {}},
        **{"started_at": now.timestamp(), "fired_at": now.timestamp(), "resolved_at": None},
    }
    key = f"headroom-test-{channel.pk or 0}-{now.timestamp():.3f}"
    return Message(key, (Telling(key, "test", content),))
