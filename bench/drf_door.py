"""The peer door: as one writes it with Django REST framework, a serializer a sample and `bulk_create`. A WSGI application of its own."""

import os
from typing import Any

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capacity.config.settings")
settings.ROOT_URLCONF = __name__  # type: ignore[misc]
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.parsers import JSONParser  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

METRICS = [(name, name) for name in os.environ.get("HEADROOM_BENCH_METRICS", "").split(",")]


class Sample(models.Model):
    accelerator = models.CharField(max_length=120)
    metric = models.CharField(max_length=80)
    time = models.DateTimeField()
    value = models.FloatField()

    class Meta:
        app_label, db_table, managed = "bench", "bench_sample", False


class SampleSerializer(serializers.Serializer[Any]):
    accelerator = serializers.CharField(max_length=120)
    metric = serializers.ChoiceField(choices=METRICS)
    time = serializers.DateTimeField()
    value = serializers.FloatField()


class Door(APIView):
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()
    parser_classes = (JSONParser,)

    def post(self, request: Request) -> Response:
        serializer = SampleSerializer(data=request.data, many=True)
        serializer.is_valid(raise_exception=True)
        rows = [Sample(**fields) for fields in serializer.validated_data]
        Sample.objects.bulk_create(rows, batch_size=5000, ignore_conflicts=True)
        return Response({"accepted": len(rows)})


urlpatterns = [path("samples", Door.as_view())]
application = get_wsgi_application()
