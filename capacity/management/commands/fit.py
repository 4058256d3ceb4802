"""The fit gate of pipelines: does a deployment hold its SLO at a rate? Exit status 0 yes, 1 no, 2 wrongly asked."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from capacity.analysis.fit import FitError, asked_read, fit_check
from monitoring.models import Deployment, DeploymentState

OPTIONS = {"requests_per_second": "--rps", "slo_threshold_seconds": "--slo", "percentile": "--percentile", "version": "--version"}
WRONG = 2


class Command(BaseCommand):
    help = "Does it fit? Whether a deployment holds its latency SLO at a rate, with how many replicas, at which cost."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """--version is Django's own too, of which nobody asks here."""
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("deployment", help="its name, cluster/name, or id")
        parser.add_argument("--rps", required=True, help="requests per second, mean of the busiest hour")
        parser.add_argument("--slo", help="seconds to hold (default: the SLO)")
        parser.add_argument("--percentile", help="share of requests within it, 0.5 to 0.999 (default: the SLO's)")
        parser.add_argument("--version", help="a version of it, whose own speed counts where it is known", default="")
        parser.add_argument("--json", action="store_true", help="the whole answer as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        deployment = deployment_named(options["deployment"])
        given = {field: options[option.removeprefix("--")] for field, option in OPTIONS.items()}
        try:
            asked = asked_read(given)
        except FitError as error:
            told = "; ".join(f"{OPTIONS.get(name, name)}: {sentence}" for name, sentence in error.problems.items())
            raise CommandError(told, returncode=WRONG) from None
        found = fit_check(deployment, asked, now=timezone.now())
        if options["json"]:
            self.stdout.write(json.dumps({"deployment": deployment.pk, "name": deployment.name} | asdict(found), indent=2))
        else:
            self.stdout.write("\n".join([f"{deployment.name}: {found.sentence}", *(f"- {reason}" for reason in found.reasons)]))
        if not found.fits:
            sys.exit(1)


def deployment_named(text: str) -> Deployment:
    """By name, cluster/name, or id; of several of a name it says how to tell them apart."""
    rows = Deployment.objects.filter(state=DeploymentState.ACTIVE).select_related("cluster")
    cluster, slash, name = text.partition("/")
    found = list(rows.filter(name=text)[:4]) or (list(rows.filter(cluster__name=cluster, name=name)[:4]) if slash else [])
    if not found and text.isascii() and text.isdigit() and len(text) <= 18:
        found = list(rows.filter(pk=int(text)))
    if not found:
        raise CommandError(f"There is no active deployment {text[:80]!r}. Give its name, cluster/name, or id.", returncode=WRONG)
    if len(found) > 1:
        places = ", ".join(f"{row.pk} ({row.cluster.name}/{row.name} in {row.namespace or 'no namespace'})" for row in found)
        raise CommandError(
            f"More than one deployment is called {text[:80]!r}: say cluster/name or the id of one: {places}.", returncode=WRONG
        )
    return found[0]
