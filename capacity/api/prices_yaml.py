"""Own prices and rates as one YAML document, out and in."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.analysis.prices_yaml import TEXT_MOST, prices_export, prices_import
from capacity.api.strict import Door, Strict, body_read
from capacity.models import CurrencyRate, Price, currency_get
from monitoring.access import actor_of, audit, nodes_for


class PriceYamlShape(serializers.Serializer[Any]):
    yaml = serializers.CharField()


class PriceYamlBody(Strict):
    yaml = serializers.CharField(max_length=TEXT_MOST, trim_whitespace=False)
    write = serializers.BooleanField(default=False, help_text="false: only say what would change.")


class PriceProblemShape(serializers.Serializer[Any]):
    row = serializers.CharField(help_text="Its place in the text, e.g. price 3.")
    sentences = serializers.ListField(child=serializers.CharField())


class PriceImportedShape(serializers.Serializer[Any]):
    made = serializers.ListField(child=serializers.CharField(), help_text="What costs, and since when.")
    changed = serializers.ListField(child=serializers.CharField())
    unchanged = serializers.ListField(child=serializers.CharField())
    problems = PriceProblemShape(many=True)


class PriceYaml(Door):
    access = {"GET": "member", "POST": "admin"}

    @extend_schema(responses=PriceYamlShape)
    def get(self, request: Request) -> Response:
        """The own prices one sees and the rates, ready to be taken over by another install. List prices come with each."""
        prices = Price.objects.of_nodes(nodes_for(actor_of(request))).filter(shipped=False).select_related("node__cluster")
        rates = CurrencyRate.objects.filter(into=currency_get())
        return Response({"yaml": prices_export(prices, rates)})

    @extend_schema(request=PriceYamlBody, responses=PriceImportedShape)
    def post(self, request: Request) -> Response:
        """Take prices and rates over: the same twice changes nothing, and a bad one loses nothing of the others."""
        actor, body = actor_of(request), body_read(PriceYamlBody, request)
        try:
            found = prices_import(body["yaml"], into=currency_get(), by=actor.name, now=timezone.now(), write=body["write"])
        except ValueError as error:
            raise serializers.ValidationError({"yaml": [str(error)]}) from None
        told = {name: getattr(found, name) for name in ("made", "changed", "unchanged")}
        if body["write"]:
            audit(actor, "price.import", "prices", after={name: len(rows) for name, rows in told.items()}, request=request)
        problems = [{"row": place, "sentences": list(sentences)} for place, sentences in found.problems.items()]
        return Response(told | {"problems": problems})
