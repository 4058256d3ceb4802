"""The form of a source: address, credentials, selector; errors with a valid example."""

from collections.abc import Callable
from typing import Any

from django import forms

from monitoring.access import secret_encrypt
from monitoring.models import Auth, Cluster, Source
from monitoring.sources import LONGEST_IMPORT_DAYS, STEPS, certificate_clean, credentials_missing, header_clean, selector_clean, url_clean


def worded(clean: Callable[[str], str], text: str) -> str:
    """The rule's own sentence as the field's error."""
    try:
        return clean(text)
    except ValueError as error:
        raise forms.ValidationError(str(error)) from error


class SourceForm(forms.ModelForm):  # type: ignore[type-arg]
    url = forms.URLField(
        label="Address",
        assume_scheme="http",
        max_length=500,
        widget=forms.URLInput(attrs={"placeholder": "https://prometheus.example.com", "autocomplete": "url"}),
        help_text="Only queries leave this server. Private addresses need an entry in the allow list.",
    )
    cluster_name = forms.CharField(
        label="Cluster",
        max_length=120,
        widget=forms.TextInput(attrs={"list": "clusters"}),
        help_text="Whose machines these are, e.g. prod-eu.",
    )
    new_secret = forms.CharField(
        label="Secret",
        required=False,
        max_length=4000,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Kept encrypted; only its last four characters are ever shown again.",
    )
    step_seconds = forms.TypedChoiceField(
        label="Step",
        choices=tuple(STEPS.items()),
        coerce=int,
        initial=60,
        help_text="One row per step is kept; not shorter than the scrape interval.",
    )

    class Meta:
        model = Source
        fields = ("name", "url", "auth", "username", "header_name", "tls_ca", "selector", "step_seconds")
        labels = {"auth": "Sign in with", "username": "User", "header_name": "Header", "tls_ca": "Own TLS authority"}
        help_texts = {
            "name": "How screens call it, e.g. prod-eu.",
            "tls_ca": "PEM, only if the certificate is not signed by a public authority.",
            "selector": 'Optional label matchers added to each query, e.g. cluster="prod".',
        }
        widgets = {
            "tls_ca": forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["cluster_name"].initial = self.instance.cluster.name

    def clean_url(self) -> str:
        return worded(url_clean, self.cleaned_data["url"])

    def clean_selector(self) -> str:
        return worded(selector_clean, self.cleaned_data["selector"])

    def clean_tls_ca(self) -> str:
        return worded(certificate_clean, self.cleaned_data["tls_ca"])

    def clean_header_name(self) -> str:
        return worded(header_clean, self.cleaned_data["header_name"])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        auth = cleaned.get("auth", Auth.NONE)
        kept = bool(self.instance.secret) and auth == self.initial.get("auth")
        missing = credentials_missing(
            auth,
            username=cleaned.get("username", ""),
            header_name=cleaned.get("header_name", "") or ("x" if "header_name" in self.errors else ""),
            secret=kept or bool(cleaned.get("new_secret")),
        )
        for name, sentence in missing.items():
            self.add_error("new_secret" if name == "secret" else name, sentence)
        return cleaned

    def source(self) -> Source:
        """The source as typed, not saved, so that it can be tested first."""
        source: Source = self.instance
        name = self.cleaned_data["cluster_name"].strip()
        source.cluster = Cluster.objects.filter(name=name).first() or Cluster(name=name)
        if source.auth == Auth.NONE:
            source.secret = source.username = source.header_name = ""
        elif self.cleaned_data["new_secret"]:
            source.secret = secret_encrypt(self.cleaned_data["new_secret"])
        return source

    def keep(self) -> Source:
        source: Source = self.source()
        if source.cluster.pk is None:
            source.cluster.save()
            source.cluster = source.cluster
        source.save()
        return source


class ImportForm(forms.Form):
    days = forms.IntegerField(min_value=1, max_value=LONGEST_IMPORT_DAYS, initial=28)


class AllowForm(forms.Form):
    """A private address and port an admin allows, as Test found them."""

    address = forms.GenericIPAddressField()
    port = forms.IntegerField(min_value=1, max_value=65535)
