"""Sources, their imports, and the private addresses Headroom may call: for admins of the install."""

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import django_filters
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.api.strict import Door, IdFilter, Nothing, Strict, StrictModel, body_read
from monitoring.access import (
    SecretError,
    actor_of,
    allowed_for,
    audit,
    import_get,
    imports_for,
    row_get,
    secret_encrypt,
    secret_tail,
    source_get,
    sources_for,
)
from monitoring.api.problems import Conflict
from monitoring.models import AllowedAddress, Auth, ChunkState, Cluster, ImportRun, RunState, Source
from monitoring.sources import (
    HEADER_NAME,
    LONGEST_IMPORT_DAYS,
    SELECTOR,
    STEPS,
    certificate_clean,
    credentials_missing,
    header_clean,
    import_pause,
    import_resume,
    import_start,
    selector_clean,
    source_test,
    url_clean,
)

OPEN = (RunState.WAITING, RunState.RUNNING, RunState.PAUSED)


class SourceShape(serializers.ModelSerializer[Source]):
    cluster = serializers.CharField(source="cluster.name")
    secret_tail = serializers.SerializerMethodField(help_text="The last four characters of the stored secret, if it is long enough.")
    finding = serializers.DictField(help_text="What the last test or the daily look found.")
    tls_ca_set = serializers.SerializerMethodField()

    class Meta:
        model = Source
        exclude = ("secret", "tls_ca", "lease_owner", "lease_until", "scrape_seconds")

    def get_secret_tail(self, row: Source) -> str:
        try:
            return secret_tail(row.secret)
        except SecretError:
            return "?"

    def get_tls_ca_set(self, row: Source) -> bool:
        return bool(row.tls_ca)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "typical", {"name": "prod-eu", "url": "https://prometheus.example.com", "cluster": "prod-eu", "auth": "none"}, request_only=True
        )
    ]
)
class SourceBody(StrictModel):
    cluster = serializers.CharField(max_length=120, help_text="Name of the cluster; made when it is new.")
    secret = serializers.CharField(max_length=4000, required=False, write_only=True, help_text="Kept encrypted, never shown again.")
    selector = serializers.RegexField(
        re.compile(SELECTOR), max_length=500, required=False, allow_blank=True, help_text='Label matchers, e.g. cluster="prod".'
    )
    header_name = serializers.RegexField(re.compile(HEADER_NAME), max_length=100, required=False, allow_blank=True)
    step_seconds = serializers.ChoiceField(choices=list(STEPS), required=False)

    class Meta:
        model = Source
        fields = ("name", "url", "cluster", "auth", "username", "header_name", "secret", "tls_ca", "selector", "step_seconds", "enabled")
        extra_kwargs = {"tls_ca": {"max_length": 100_000}}

    def validate_url(self, url: str) -> str:
        return worded(url_clean, url)

    def validate_selector(self, selector: str) -> str:
        return worded(selector_clean, selector)

    def validate_header_name(self, name: str) -> str:
        return worded(header_clean, name)

    def validate_tls_ca(self, pem: str) -> str:
        return worded(certificate_clean, pem)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        told = {name: attrs.get(name, getattr(self.instance, name, "")) for name in ("auth", "username", "header_name")}
        auth = told.pop("auth") or Auth.NONE
        kept = getattr(self.instance, "secret", "") and auth == getattr(self.instance, "auth", "")
        if missing := credentials_missing(auth, **told, secret=bool(kept or attrs.get("secret"))):
            raise serializers.ValidationError({name: [sentence] for name, sentence in missing.items()})
        return attrs


def worded(clean: Callable[[str], str], text: str) -> str:
    """The rule's own sentence as the field's error."""
    try:
        return clean(text)
    except ValueError as error:
        raise serializers.ValidationError(str(error)) from error


class SourceList(generics.ListAPIView[Source]):
    """All sources, by name."""

    access = "admin"
    serializer_class = SourceShape

    def get_queryset(self) -> QuerySet[Source]:
        return sources_for(actor_of(self.request)).order_by("name")

    @extend_schema(request=SourceBody, responses={201: SourceShape})
    def post(self, request: Request) -> Response:
        """Add a source. Test it next: nothing is asked of it here."""
        source = source_keep(request, Source(), body_read(SourceBody, request))
        return Response(SourceShape(source).data, status=status.HTTP_201_CREATED)


class SourceOne(Door):
    access = "admin"

    @extend_schema(responses=SourceShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(SourceShape(source_get(actor_of(request), pk)).data)

    @extend_schema(request=SourceBody, responses=SourceShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given; a secret stays when the way to sign in stays and none is given."""
        source = source_get(actor_of(request), pk)
        return Response(SourceShape(source_keep(request, source, body_read(SourceBody, request, instance=source, partial=True))).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Forget the source; what it brought stays."""
        actor = actor_of(request)
        source = source_get(actor, pk)
        if source.demo:
            raise Conflict("This source belongs to the demo fleet; remove the demo fleet instead.")
        with transaction.atomic():
            audit(actor, "source.delete", f"source {source.name}", before={"url": source.url}, request=request)
            source.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


def source_keep(request: Request, source: Source, body: dict[str, Any]) -> Source:
    actor, new = actor_of(request), source.pk is None
    before = {} if new else {name: getattr(source, name) for name in body if name not in ("cluster", "secret")}
    told = {name: value for name, value in body.items() if name not in ("secret", "tls_ca")}
    with transaction.atomic():
        if "cluster" in body:
            source.cluster, _ = Cluster.objects.get_or_create(name=body.pop("cluster"))
        secret = body.pop("secret", "")
        for name, value in body.items():
            setattr(source, name, value)
        if source.auth == Auth.NONE:
            source.secret = source.username = source.header_name = ""
        elif secret:
            source.secret = secret_encrypt(secret)
        source.save()
        action = "source.create" if new else "source.change"
        audit(actor, action, f"source {source.name}", before=before, after=told | ({"secret": secret} if secret else {}), request=request)
    return source


class SourceTest(Door):
    access = "admin"

    @extend_schema(request=Nothing, responses=SourceShape)
    def post(self, request: Request, pk: int) -> Response:
        """Ask the source what it has; `finding` and `state` of the answer say it. Takes up to some seconds."""
        source = source_get(actor_of(request), pk)
        body_read(Nothing, request)
        source_test(source, now=timezone.now())
        source.refresh_from_db()
        return Response(SourceShape(source).data)


class ImportShape(serializers.ModelSerializer[ImportRun]):
    chunks = serializers.SerializerMethodField(help_text="Number of day chunks by state.")
    started_by = serializers.CharField(source="started_by.email", default=None, allow_null=True)

    class Meta:
        model = ImportRun
        fields = (
            "id",
            "source",
            "days",
            "state",
            "end_at",
            "samples",
            "queries",
            "slowdowns",
            "slowdown_text",
            "error",
            "started_by",
            "created_at",
            "finished_at",
            "rolled_up_at",
            "chunks",
        )

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "integer"}})
    def get_chunks(self, row: ImportRun) -> dict[str, int]:
        return {state: getattr(row, f"chunks_{state}", 0) for state in ChunkState.values}


def import_rows(request: Request) -> QuerySet[ImportRun]:
    counts = {f"chunks_{state}": Count("chunks", filter=Q(chunks__state=state)) for state in ChunkState.values}
    return imports_for(actor_of(request)).select_related("started_by").annotate(**counts)


class ImportFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    source = IdFilter(field_name="source_id", label="Id of the source.")

    class Meta:
        model = ImportRun
        fields = ("state",)


class ImportList(generics.ListAPIView[ImportRun]):
    """Imports of history, the newest first."""

    access = "admin"
    serializer_class = ImportShape
    filterset_class = ImportFilter

    def get_queryset(self) -> QuerySet[ImportRun]:
        return import_rows(self.request).order_by("-created_at", "pk")


@extend_schema_serializer(examples=[OpenApiExample("typical", {"days": 28}, request_only=True)])
class ImportBody(Strict):
    days = serializers.IntegerField(default=28, min_value=1, max_value=LONGEST_IMPORT_DAYS)


class ImportStart(Door):
    access = "admin"

    @extend_schema(request=ImportBody, responses={202: ImportShape})
    def post(self, request: Request, pk: int) -> Response:
        """Bring in so many days of history, newest first; 409 while an import of this source is open."""
        actor = actor_of(request)
        source = source_get(actor, pk)
        days = body_read(ImportBody, request)["days"]
        if source.imports.filter(state__in=OPEN).exists():
            raise Conflict("An import of this source is open already.")
        with transaction.atomic():
            run = import_start(source, days=days, user=actor.user, now=timezone.now())
            audit(actor, "import.start", f"source {source.name}", after={"days": days}, request=request)
        return Response(ImportShape(import_rows(request).get(pk=run.pk)).data, status=status.HTTP_202_ACCEPTED)


class ImportOne(Door):
    access = "admin"

    @extend_schema(responses=ImportShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(ImportShape(row_get(import_rows(request), pk)).data)


class ImportPause(Door):
    access = "admin"

    @extend_schema(request=Nothing, responses=ImportShape)
    def post(self, request: Request, pk: int) -> Response:
        """Stop after the chunks that are being read now."""
        return import_move(request, pk, "pause")


class ImportResume(Door):
    access = "admin"

    @extend_schema(request=Nothing, responses=ImportShape)
    def post(self, request: Request, pk: int) -> Response:
        """Go on where it was paused."""
        return import_move(request, pk, "resume")


def import_move(request: Request, pk: int, verb: str) -> Response:
    actor = actor_of(request)
    run = import_get(actor, pk)
    body_read(Nothing, request)
    if not {"pause": import_pause, "resume": import_resume}[verb](run):
        raise Conflict(f"This import is {run.get_state_display().lower()} and cannot {verb}.")
    audit(actor, f"import.{verb}", f"source {run.source.name}", request=request)
    return Response(ImportShape(import_rows(request).get(pk=run.pk)).data)


class AllowedShape(serializers.ModelSerializer[AllowedAddress]):
    allowed_by = serializers.CharField(source="allowed_by.email", default=None, allow_null=True)

    class Meta:
        model = AllowedAddress
        fields = ("id", "network", "port", "reason", "allowed_by", "created_at")


class AllowedBody(Strict):
    network = serializers.CharField(max_length=50, help_text="An address or CIDR, e.g. 10.0.0.5 or 10.0.0.0/8.")
    port = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1, max_value=65535)
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)

    def validate_network(self, text: str) -> str:
        try:
            return str(ip_network(text.strip()))
        except ValueError:
            raise serializers.ValidationError("write an address or a network like 10.0.0.0/8") from None


class AllowedList(generics.ListAPIView[AllowedAddress]):
    """Private addresses Headroom may call. Metadata addresses stay blocked whatever stands here."""

    access = "admin"
    serializer_class = AllowedShape

    def get_queryset(self) -> QuerySet[AllowedAddress]:
        return allowed_for(actor_of(self.request)).select_related("allowed_by")

    @extend_schema(request=AllowedBody, responses={201: AllowedShape})
    def post(self, request: Request) -> Response:
        actor = actor_of(request)
        body = body_read(AllowedBody, request)
        with transaction.atomic():
            row = AllowedAddress.objects.create(allowed_by=actor.user, **body)
            audit(actor, "address.allow", f"address {row.network}", after=body, request=request)
        return Response(AllowedShape(row).data, status=status.HTTP_201_CREATED)


class AllowedOne(Door):
    access = "admin"

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        actor = actor_of(request)
        row = row_get(allowed_for(actor), pk)
        with transaction.atomic():
            audit(actor, "address.forbid", f"address {row.network}", before=dict(AllowedShape(row).data), request=request)
            row.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)
