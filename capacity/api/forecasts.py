"""What is expected of a deployment, how good that was on its own past, and what limits it."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.analysis.forecasts import forecast_shown
from capacity.api.strict import Door, Strict
from capacity.models import ForecastRun, Horizon, SaturationRun
from monitoring.access import actor_of, deployment_get

QUANTITY = "requests_per_second"


class ForecastQuery(Strict):
    quantity = serializers.CharField(default=QUANTITY, max_length=60, help_text="A column of the catalogue that is forecast.")
    horizon = serializers.ChoiceField(choices=Horizon.choices, required=False, help_text="When left out, all.")


class ActualsShape(serializers.Serializer[Any]):
    times = serializers.ListField(child=serializers.FloatField(allow_null=True), help_text="Unix seconds, ends of steps.")
    actual = serializers.ListField(child=serializers.FloatField(allow_null=True), help_text="What came; null: not measured.")
    median = serializers.ListField(child=serializers.FloatField(allow_null=True))
    lower = serializers.ListField(child=serializers.FloatField(allow_null=True), help_text="The 5 % quantile.")
    upper = serializers.ListField(child=serializers.FloatField(allow_null=True), help_text="The 95 % quantile.")


class BacktestShape(serializers.Serializer[Any]):
    origins = serializers.IntegerField(help_text="Past moments it was forecast from.")
    mase = serializers.FloatField(allow_null=True, help_text="Mean absolute error over that of as a week (or day) before.")
    weighted_loss = serializers.FloatField(allow_null=True, help_text="Weighted quantile loss.")
    coverage_90 = serializers.FloatField(allow_null=True, help_text="Share of what came inside the 90 % band.")
    above_99 = serializers.FloatField(allow_null=True, help_text="Share of what came above the 99 % quantile.")
    method_errors = serializers.DictField(child=serializers.FloatField(allow_null=True), help_text="Error of each method tried.")
    actuals = ActualsShape(help_text="The last month, forecast and what came.")


class ForecastShape(serializers.Serializer[Any]):
    quantity = serializers.CharField()
    horizon = serializers.ChoiceField(choices=Horizon.choices)
    made_at = serializers.DateTimeField(help_text="Conditioned on what was known then.")
    fitted_at = serializers.DateTimeField(allow_null=True, help_text="Learned.")
    trained_from = serializers.DateTimeField(allow_null=True)
    trained_until = serializers.DateTimeField(allow_null=True)
    step_seconds = serializers.FloatField()
    times = serializers.ListField(child=serializers.FloatField(), help_text="Unix seconds, starts of steps; empty: see sentence.")
    quantiles = serializers.DictField(
        child=serializers.ListField(child=serializers.FloatField()), help_text="By level, 0.01 to 0.99, in the quantity's base unit."
    )
    method = serializers.CharField()
    flags = serializers.ListField(child=serializers.CharField(), help_text="E.g. thin, trend, shift.")
    sentence = serializers.CharField(help_text="Why there is none, or what to know of it.")
    backtest = BacktestShape(allow_null=True)


class DeploymentForecasts(Door):
    access = "member"
    query = ForecastQuery

    @extend_schema(parameters=[ForecastQuery], responses=ForecastShape(many=True))
    def get(self, request: Request, pk: int) -> Response:
        """The newest forecasts by horizon. A 7-day one learned from less than two weeks is withheld, with the sentence why."""
        deployment = deployment_get(actor_of(request), pk)
        rows = ForecastRun.objects.filter(deployment=deployment, quantity=self.asked["quantity"]).defer("fitted")
        wanted = [self.asked["horizon"]] if "horizon" in self.asked else list(Horizon.values)
        found = {row.horizon: row for row in rows if row.horizon in wanted}
        return Response([forecast_told(found[horizon]) for horizon in wanted if horizon in found])


def forecast_told(run: ForecastRun) -> dict[str, Any]:
    forecast, sentence = forecast_shown(run)
    facts = {name: getattr(run, name) for name in ("quantity", "horizon", "made_at", "fitted_at", "trained_from", "trained_until")}
    told = facts | {"step_seconds": run.step_seconds, "method": run.method, "flags": run.flags, "sentence": sentence}
    if forecast is None:
        return told | {"times": [], "quantiles": {}, "backtest": None}
    steps = forecast.quantiles.shape[1]
    times = [forecast.start_seconds + n * forecast.step_seconds for n in range(steps)]
    quantiles = {f"{level:g}": row.tolist() for level, row in zip(forecast.levels.tolist(), forecast.quantiles, strict=True)}
    backtest = dict(run.backtest) | {"method_errors": dict(run.backtest.get("method_errors", []))} if run.backtest else None
    return told | {"times": times, "quantiles": quantiles, "backtest": backtest}


class SaturationShape(serializers.ModelSerializer[SaturationRun]):
    limit = serializers.CharField(help_text="At the peaks; empty: none, or it cannot be told.")
    limit_now = serializers.CharField()
    cannot_tell = serializers.CharField(help_text="Which signal is missing; empty: it can be told.")
    verdicts = serializers.DictField(help_text="peaks and now: limit, confidence, evidence, what is missing.")

    class Meta:
        model = SaturationRun
        fields = (
            *("made_at", "window_start", "window_end", "limit", "limit_now", "confidence", "cannot_tell"),
            *("sentence", "sentence_now", "skew_ratio", "skew_replica", "verdicts"),
        )


class DeploymentSaturation(Door):
    access = "member"

    @extend_schema(responses=SaturationShape)
    def get(self, request: Request, pk: int) -> Response:
        """What limits the deployment at its peaks and now, with the evidence; 404 while it was not judged."""
        deployment = deployment_get(actor_of(request), pk)
        run = SaturationRun.objects.filter(deployment=deployment).first()
        if run is None:
            raise NotFound("What limits this deployment was not judged yet; it is within minutes of its first samples.")
        return Response(SaturationShape(run).data)
