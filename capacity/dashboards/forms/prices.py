"""The forms of prices and rates; what may stand in them is checked where the API checks it too."""

from datetime import date
from typing import Any

from django import forms

from capacity.analysis.prices_change import EXAMPLES, PriceError, price_make, rate_make
from capacity.models import CurrencyRate, Price, PriceKind


def day_field(label: str, **kwargs: Any) -> forms.CharField:
    return forms.CharField(label=label, required=False, widget=forms.TextInput(attrs={"type": "date"}), **kwargs)


def must(field: forms.Field) -> forms.Field:
    """Needed, though not refused by the form itself: the checks have the better sentence."""
    field.must = True  # type: ignore[attr-defined]
    return field


class PriceForm(forms.Form):
    kind = forms.ChoiceField(label="What costs", choices=PriceKind.choices, initial=PriceKind.INSTANCE)
    name = must(
        forms.CharField(
            label="Name",
            required=False,
            help_text="; ".join(f"{kind.label.lower()} {example}" for kind, example in EXAMPLES.items()) + ".",
            widget=forms.TextInput(attrs={"list": "price-names", "autocomplete": "off"}),
        )
    )
    hourly_rate = must(
        forms.CharField(
            label="Price an hour", required=False, widget=forms.TextInput(attrs={"inputmode": "decimal"}), help_text="E.g. 3.99."
        )
    )
    currency = must(forms.CharField(label="Currency", required=False, help_text="Three letters, e.g. USD or EUR."))
    valid_from = must(day_field("First day", help_text="It holds until a newer one begins."))
    valid_to = day_field("Ends on", help_text="First day on which it no longer holds; empty: open.")
    source = forms.CharField(label="Source", required=False, help_text="Who says so, e.g. contract 2026-114 or invoice of October.")
    region = forms.CharField(label="Region", required=False, help_text="Empty: everywhere.")
    provider = forms.CharField(label="Provider", required=False)

    def __init__(self, *args: Any, price: Price | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.price, self.made = price, None

    made: Price | None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        try:
            self.made = price_make(cleaned, price=self.price)
        except PriceError as error:
            errors_add(self, error)
        return cleaned


class RateForm(forms.Form):
    currency = must(forms.CharField(label="One unit of", required=False, help_text="Three letters, e.g. EUR."))
    rate = must(forms.CharField(label="Is worth", required=False, widget=forms.TextInput(attrs={"inputmode": "decimal"})))
    valid_from = must(day_field("First day", help_text="It holds until a newer one begins."))
    source = forms.CharField(label="Source", required=False, help_text="Who says so, e.g. ECB reference rate.")

    def __init__(self, *args: Any, into: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id, self.into, self.made = "rate_%s", into, None
        self.fields["rate"].help_text = f"In {into}, e.g. 1.08."

    made: CurrencyRate | None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        try:
            self.made = rate_make(cleaned, into=self.into)
        except PriceError as error:
            errors_add(self, error)
        return cleaned


def errors_add(form: forms.Form, error: PriceError) -> None:
    for name, sentence in error.problems.items():
        form.add_error(name or None, sentence)


def price_initial(price: Price | None, *, currency: str, today: date) -> dict[str, Any]:
    """Of a price to change, or of one to take over: then it begins today and its source is named."""
    if price is None:
        return {"currency": currency, "valid_from": today.isoformat()}
    names = ("kind", "name", "currency", "region", "provider", "source")
    kept = {name: getattr(price, name) for name in names} | {"hourly_rate": f"{price.hourly_rate.normalize():f}"}
    if price.shipped:
        source = f"As listed {price.valid_from:%Y-%m-%d}: {price.source}"[:300]
        return kept | {"valid_from": today.isoformat(), "source": source}
    return kept | {"valid_from": price.valid_from.isoformat(), "valid_to": price.valid_to.isoformat() if price.valid_to else ""}
