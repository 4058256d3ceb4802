"""The setup checklist: what is done, what runs, what to do next. A fixed number of queries."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Q
from django.urls import reverse

from capacity.analysis.prices import Certainty, node_prices, price_book
from capacity.dashboards import words
from capacity.dashboards.imports import ImportFacts, days_there, import_facts
from capacity.models import DemoRun
from monitoring.access import Actor, agents_for, deployments_for, nodes_for
from monitoring.models import AgentState, Channel, Cluster, DeploymentState, Invite, RunState, Source, SourceState, User

REACHED = (SourceState.OK, SourceState.SLOW, SourceState.EMPTY)
BROKEN = (SourceState.DOWN, SourceState.WRONG)


@dataclass(frozen=True)
class Step:
    """One line of the checklist. state: done, running, open, failed; `post` says that the action changes something."""

    slug: str
    title: str
    state: str
    text: str
    action: str = ""
    url: str = ""
    post: bool = False
    optional: bool = False  # not counted

    @property
    def done(self) -> bool:
        return self.state == "done"


@dataclass(frozen=True)
class Checklist:
    steps: tuple[Step, ...]
    source: Source | None  # the one the page shows beside the list
    facts: ImportFacts | None
    demo: DemoRun | None
    demo_here: bool

    def step(self, slug: str) -> Step:
        return next(step for step in self.steps if step.slug == slug)

    @property
    def needed(self) -> list[Step]:
        return [step for step in self.steps if not step.optional]

    @property
    def done(self) -> int:
        return sum(step.done for step in self.needed)

    @property
    def complete(self) -> bool:
        return self.done == len(self.needed)

    @property
    def next(self) -> Step | None:
        return next((step for step in self.needed if step.state in ("failed", "open")), None)

    @property
    def demo_open(self) -> bool:
        return self.demo is not None and self.demo.finished_at is None

    @property
    def poll_seconds(self) -> int:
        """Quick while something moves, else slow enough to cost nothing."""
        return 2 if self.demo_open or any(step.state == "running" for step in self.steps) else 10

    @property
    def states(self) -> str:
        """Changes only when a state does: then, and only then, it is read aloud."""
        return digest(*(f"{step.slug} {step.state}" for step in self.steps), self.demo.state if self.demo else "")

    @property
    def seen(self) -> str:
        """Changes when anything the reader sees does."""
        parts = [f"{step}" for step in self.steps]
        shown = [f"{self.facts}", f"{self.source.state_text if self.source else ''}"]
        demo = [f"{self.demo.pk} {self.demo.state} {self.demo.progress_ratio:.3f} {self.demo.text}"] if self.demo else []
        return digest(*parts, *shown, *demo, str(self.demo_here))


def digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def checklist_load(actor: Actor, *, now: datetime) -> Checklist:
    sources = list(Source.objects.filter(demo=False).select_related("cluster"))
    source = foremost(sources)
    facts = import_facts(source, now=now) if source else None
    owners = (
        deployments_for(actor)
        .filter(state=DeploymentState.ACTIVE, cluster__demo=False)
        .aggregate(all=Count("pk"), unowned=Count("pk", filter=Q(team=None)), promised=Count("pk", filter=Q(slo__isnull=False)))
    )
    people = User.objects.filter(is_active=True).count()
    invited = Invite.objects.filter(accepted_at=None, expires_at__gt=now).count()
    steps = (
        reach_step(sources, source),
        series_step(source),
        import_step(source, facts),
        owner_step(owners["all"], owners["unowned"]),
        slo_step(owners["all"], owners["promised"]),
        people_step(people, invited),
        *tell_steps(list(Channel.objects.order_by("pk"))),
        watch_step(),
        agents_step(actor, now=now),
        price_step(actor, now=now),
    )
    return Checklist(steps, source, facts, DemoRun.objects.first(), Cluster.objects.filter(demo=True).exists())


def foremost(sources: Sequence[Source]) -> Source | None:
    """The source the page is about: a broken one first, else the newest."""
    broken = [source for source in sources if source.state in BROKEN]
    return min(broken, key=lambda source: source.pk) if broken else max(sources, key=lambda source: source.pk, default=None)


def reach_step(sources: Sequence[Source], source: Source | None) -> Step:
    title, new = "Prometheus reachable", reverse("source_new")
    if source is None:
        return Step("reach", title, "open", "Enter its address; Test shows what is there before anything is stored.", "Add a source", new)
    url = reverse("source", kwargs={"pk": source.pk})
    if source.state in BROKEN:
        return Step("reach", title, "failed", f"{source.name}: {source.state_text or source.get_state_display()}", "Look", url)
    if source.state == SourceState.NEW:
        return Step("reach", title, "open", f"{source.name} is saved and not tested yet.", "Look", url)
    if source.state == SourceState.PAUSED or not source.enabled:
        return Step("reach", title, "open", f"{source.name}: polling is paused.", "Look", url)
    more = f"; {words.count(len(sources) - 1, 'more source')}" if len(sources) > 1 else ""
    return Step("reach", title, "done", finding_text(source) + more, "Edit", reverse("source_edit", kwargs={"pk": source.pk}))


def finding_text(source: Source) -> str:
    finding, parts = source.finding, [source.name]
    if finding.get("history_days") is not None:
        parts.append(f"{words.count(round(finding['history_days']), 'day')} of history")
    if finding.get("deployments") is not None:
        parts.append(f"{words.count(finding['deployments'], 'deployment')} found")
    return ", ".join(parts)


def series_step(source: Source | None) -> Step:
    title = "Series found"
    systems = source.finding.get("systems", []) if source else []
    if source is None or not systems:
        text = "Nothing asked yet." if source is None or not source.finding else "No model server or exporter was recognised there."
        return Step("series", title, "open", text)
    names = ", ".join(f"{system['name']} {system.get('version') or ''}".strip() for system in systems)
    missing = sum(len(system.get("missing", ())) for system in systems) + len(source.finding.get("not_found", ()))
    url = reverse("source", kwargs={"pk": source.pk}) + "#found"
    return Step("series", title, "done", names, "What is missing" if missing else "Look", url)


def import_step(source: Source | None, facts: ImportFacts | None) -> Step:
    title = "History import"
    if source is None or source.state not in REACHED:
        return Step("import", title, "open", "Comes after the source: 28 days, in some minutes, newest first.")
    if facts is None:
        url = reverse("source_import", kwargs={"pk": source.pk})
        days = words.count(days_there(source.finding), "day")
        return Step("import", title, "open", f"Brings in the last {days}, so that charts have a past.", f"Import {days}", url, post=True)
    run, page = facts.run, reverse("source", kwargs={"pk": source.pk}) + "#import"
    if run.state == RunState.PAUSED:
        url = reverse("import_change", kwargs={"pk": run.pk, "verb": "resume"})
        return Step("import", title, "open", f"{facts.progress}, paused", "Resume", url, post=True)
    if run.state == RunState.FAILED:
        return Step("import", title, "failed", f"{facts.progress}. {run.error}".strip(), "Look", page)
    if run.state == RunState.DONE:
        return Step("import", title, "done", f"{facts.progress}, {facts.samples_text}", "Look", page)
    url = reverse("import_change", kwargs={"pk": run.pk, "verb": "pause"})
    return Step("import", title, "running", f"{facts.progress}{facts.left_text}", "Pause", url, post=True)


def owner_step(total: int, unowned: int) -> Step:
    title, url = "Owners", reverse("team_rules")
    if total == 0:
        return Step("owners", title, "open", "Each deployment gets a team, by rules or by hand.", "Teams", reverse("teams"))
    if unowned:
        return Step(
            "owners", title, "open", f"{unowned} of {words.count(total, 'deployment')} have no team; only admins see them.", "Assign", url
        )
    return Step("owners", title, "done", f"each of {words.count(total, 'deployment')} has a team", "Rules", url)


def slo_step(total: int, promised: int) -> Step:
    title, url = "SLOs", reverse("slos")
    if total == 0:
        return Step("slos", title, "open", "A promise turns latency into a yes or a no; Headroom suggests one from history.")
    if promised < total:
        return Step("slos", title, "open", f"missing for {total - promised} of {words.count(total, 'deployment')}", "Set SLOs", url)
    return Step("slos", title, "done", f"set for each of {words.count(total, 'deployment')}", "Look", url)


def people_step(people: int, invited: int) -> Step:
    title, url = "Team members", reverse("teams")
    if people > 1:
        return Step("people", title, "done", f"{people} people" + (f", {invited} invited" if invited else ""), "Teams", url)
    text = (
        f"{words.count(invited, 'invitation')} sent, nobody came yet" if invited else "You are alone here; invite by e-mail or by a link."
    )
    return Step("people", title, "open", text, "Invite", url)


# kinds -> what the step is called, its slug, what to do first
TELLS = (
    (("email",), "Tell people by e-mail", "email", "A letter for each alert, one thread each; Test sends a real one."),
    (("slack", "slack_bot"), "Tell people in Slack", "slack", "Paste the address of an incoming webhook; Test posts a message."),
)


def tell_steps(channels: Sequence[Channel]) -> list[Step]:
    """E-mail and Slack: at least one way is needed, so where another channel works the missing one is optional."""
    works = any(tells(channel) for channel in channels)
    return [tell_step(kinds, title, slug, text, channels=channels, works=works) for kinds, title, slug, text in TELLS]


def tells(channel: Channel) -> bool:
    return channel.enabled and not channel.switched_off_why and bool(channel.test_ok)


def tell_step(kinds: Sequence[str], title: str, slug: str, text: str, *, channels: Sequence[Channel], works: bool) -> Step:
    mine = [channel for channel in channels if channel.kind in kinds]
    good = next((channel for channel in mine if tells(channel)), None)
    if good is not None:
        more = f"; {words.count(len(mine) - 1, 'more channel')}" if len(mine) > 1 else ""
        return Step(slug, title, "done", f"{good.name}: its test message arrived{more}", "Channels", reverse("channels"), optional=False)
    if not mine:
        return Step(
            slug,
            title,
            "open",
            text,
            f"Add {kinds[0].replace('email', 'e-mail').replace('slack', 'Slack')}",
            f"{reverse('channel_new')}?kind={kinds[0]}",
            optional=works,
        )
    worst = mine[-1]
    url = reverse("channel", kwargs={"pk": worst.pk})
    if worst.test_ok is None and not worst.switched_off_why:
        return Step(
            slug,
            title,
            "open",
            f"{worst.name} is saved and not tested yet." if worst.enabled else f"{worst.name} is switched off.",
            "Look",
            url,
            optional=works,
        )
    said = worst.switched_off_why or worst.test_said
    return Step(slug, title, "failed", f"{worst.name}: {said}", "Look", url, optional=works)


def watch_step() -> Step:
    """Optional: who tells when what tells has stopped?"""
    title = "A watcher outside"
    if settings.DEAD_MAN_URL:
        return Step("watcher", title, "done", "pinged each minute while alerts are evaluated and sent", optional=True)
    text = "If this install itself stops, nobody is told. Set HEADROOM_DEAD_MAN_URL to a ping address (Healthchecks or alike) and restart."
    return Step("watcher", title, "open", text, optional=True)


def price_step(actor: Actor, *, now: datetime) -> Step:
    """Optional: without prices everything is told in replica-hours."""
    title, url = "Prices", reverse("prices")
    nodes = list(nodes_for(actor, now=now).filter(cluster__demo=False))
    hours = node_prices(nodes, book=price_book(at=now)).values()
    priced = sum(hour.hourly_rate is not None for hour in hours)
    listed = sum(hour.certainty == Certainty.ESTIMATED for hour in hours)
    if not nodes:
        return Step("prices", title, "open", "What nodes cost; list prices of clouds are here already.", "Look", url, optional=True)
    if priced < len(nodes):
        text = f"{priced} of {words.count(len(nodes), 'node')} have a price; what runs on the others is told in replica-hours."
        return Step("prices", title, "open", text, "Enter prices", url, optional=True)
    text = f"each of {words.count(len(nodes), 'node')} has one" + (f"; {listed} by list prices, so estimated" if listed else "")
    return Step("prices", title, "done", text, "Look", url, optional=True)


def agents_step(actor: Actor, *, now: datetime) -> Step:
    """Optional: who has a DCGM exporter everywhere needs no agent."""
    title, mine = "Agents", agents_for(actor).filter(node__cluster__demo=False)
    total = mine.count()
    if total == 0:
        text = "Install agents where there is no DCGM exporter, or to see which process is on which GPU."
        return Step("agents", title, "open", text, "Install an agent", reverse("agents_install"), optional=True)
    silent = mine.in_state(AgentState.SILENT, now=now).count()
    if silent == total:
        return Step("agents", title, "failed", f"all of {words.count(total, 'agent')} silent", "Look", reverse("agents"), optional=True)
    sending = f"{total - silent} of {words.count(total, 'agent')}" if silent else words.count(total, "agent")
    text = f"{sending} send{'s' if total - silent == 1 else ''}"
    return Step("agents", title, "done", text, "Look", reverse("agents"), optional=True)
