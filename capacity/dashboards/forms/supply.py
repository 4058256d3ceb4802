"""The form of what is reserved or on order; what may stand in it is checked where the API checks it too."""

from datetime import datetime
from typing import Any

from django import forms
from django.db.models import QuerySet

from capacity.analysis.supply_change import OPEN_STATES, SupplyError, order_values
from capacity.dashboards.forms.prices import day_field, must
from capacity.models import SupplyOrder, SupplyState
from monitoring.models import Cluster


class OrderForm(forms.Form):
    cluster = forms.ModelChoiceField(label="Cluster", queryset=Cluster.objects.none(), empty_label=None)
    state = forms.ChoiceField(label="State", choices=list(OPEN_STATES.items()), initial=SupplyState.ON_ORDER)
    accelerators = forms.CharField(
        label="Accelerators", required=False, help_text="How many, e.g. 8.", widget=forms.TextInput(attrs={"inputmode": "numeric"})
    )
    accelerator_model = forms.CharField(
        label="Of which model",
        required=False,
        help_text="As the page Accelerators names it, e.g. NVIDIA H100 80GB HBM3.",
        widget=forms.TextInput(attrs={"list": "supply-models", "autocomplete": "off"}),
    )
    nodes = forms.CharField(
        label="Nodes", required=False, help_text="How many they come in, e.g. 1.", widget=forms.TextInput(attrs={"inputmode": "numeric"})
    )
    instance_type = forms.CharField(
        label="Instance type",
        required=False,
        help_text="E.g. p5.48xlarge.",
        widget=forms.TextInput(attrs={"list": "supply-types", "autocomplete": "off"}),
    )
    arrives_on = day_field("Arrives on", help_text="Empty: not known yet; plans do not count on it then.")
    note = forms.CharField(label="Note", required=False, help_text="E.g. purchase order 2026-114.")

    made: SupplyOrder | None

    def __init__(self, *args: Any, clusters: QuerySet[Cluster], now: datetime, order: SupplyOrder | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order, self.now, self.made = order, now, None
        self.fields["cluster"].queryset = clusters.order_by("name")  # type: ignore[attr-defined]
        if order is not None:
            del self.fields["cluster"]  # what goes elsewhere is another order
        must(self.fields["accelerators"])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        fields = {name: value for name, value in cleaned.items() if name != "cluster"}
        if self.order is not None and str(fields.get("arrives_on") or "") == str(self.order.arrives_on or ""):
            fields.pop("arrives_on", None)  # a late order may be corrected without another day
        try:
            self.made = order_values(fields, order=self.order, now=self.now)
        except SupplyError as error:
            for name, sentence in error.problems.items():
                self.add_error(name or None, sentence)
        return cleaned


def order_initial(order: SupplyOrder) -> dict[str, Any]:
    names = ("state", "accelerator_model", "instance_type", "note")
    return {name: getattr(order, name) for name in names} | {
        "accelerators": order.accelerators or "",
        "nodes": order.nodes or "",
        "arrives_on": order.arrives_on.isoformat() if order.arrives_on else "",
    }
