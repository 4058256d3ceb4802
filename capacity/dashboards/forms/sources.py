"""The form of a source: address, credentials, selector; errors with a valid example."""

import re
import ssl
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django import forms

from monitoring.access import secret_encrypt
from monitoring.models import Auth, Cluster, Source

STEPS = ((15, "15 s"), (30, "30 s"), (60, "1 min"), (120, "2 min"), (300, "5 min"))
# Pasted from the browser's address bar or from a Grafana data source.
PAGE_ENDINGS = ("/graph", "/query", "/targets", "/classic/graph", "/api/v1/query", "/api/v1")
MATCHER = r'[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\n]|\\.)*"'
SELECTOR = re.compile(rf"\s*{MATCHER}\s*(?:,\s*{MATCHER}\s*)*,?\s*")
HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
NEEDS = {
    Auth.BASIC: (("username", "Enter the user name."), ("new_secret", "Enter the password.")),
    Auth.BEARER: (("new_secret", "Enter the token, without the word Bearer."),),
    Auth.HEADER: (
        ("header_name", "Enter the name of the header, e.g. X-Scope-OrgID."),
        ("new_secret", "Enter the value of the header."),
    ),
}


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
        label="Step", choices=STEPS, coerce=int, initial=60, help_text="One row per step is kept; not shorter than the scrape interval."
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
        return url_clean(self.cleaned_data["url"])

    def clean_selector(self) -> str:
        selector: str = self.cleaned_data["selector"].strip().removeprefix("{").removesuffix("}").strip()
        if selector and not SELECTOR.fullmatch(selector):
            raise forms.ValidationError('This is not a list of label matchers. A valid one: cluster="prod", env=~"live|test"')
        return selector

    def clean_tls_ca(self) -> str:
        pem: str = self.cleaned_data["tls_ca"].strip()
        if pem:
            try:
                ssl.create_default_context().load_verify_locations(cadata=pem)
            except (ssl.SSLError, ValueError) as error:
                raise forms.ValidationError("No certificate can be read here. It starts with -----BEGIN CERTIFICATE-----.") from error
        return pem

    def clean_header_name(self) -> str:
        name: str = self.cleaned_data["header_name"].strip()
        if name and not HEADER_NAME.fullmatch(name):
            raise forms.ValidationError("A header name has letters, digits and dashes, e.g. X-Scope-OrgID.")
        return name

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        auth = cleaned.get("auth", Auth.NONE)
        kept = bool(self.instance.secret) and auth == self.initial.get("auth")
        for name, sentence in NEEDS.get(auth, ()):
            if not cleaned.get(name) and name not in self.errors and not (name == "new_secret" and kept):
                self.add_error(name, sentence)
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


def url_clean(url: str) -> str:
    """The base address: no page of the user interface, no credentials, no query."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https"):
        raise forms.ValidationError("Only http and https addresses can be asked, e.g. https://prometheus.example.com.")
    if parts.username or parts.password:
        raise forms.ValidationError("Leave user and password out of the address; there are fields for them below.")
    path = parts.path.rstrip("/")
    for ending in PAGE_ENDINGS:
        if path.endswith(ending):
            path = path.removesuffix(ending)
            break
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


class ImportForm(forms.Form):
    days = forms.IntegerField(min_value=1, max_value=90, initial=28)


class AllowForm(forms.Form):
    """A private address and port an admin allows, as Test found them."""

    address = forms.GenericIPAddressField()
    port = forms.IntegerField(min_value=1, max_value=65535)
