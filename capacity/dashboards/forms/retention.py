"""The form of one retention setting; its limits stand with the setting."""

from typing import Any

from django import forms

from monitoring.models import KNOWN


class RetentionForm(forms.Form):
    value = forms.IntegerField()

    def __init__(self, *args: Any, name: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = f"{name}_%s"  # three of these stand on one page
        known, field = KNOWN[name], self.fields["value"]
        low, high = round(known.minimum), round(known.maximum)
        field.label = f"{known.meaning.split(';')[0].rstrip('.')}, in {known.unit}"
        field.help_text = f"{low} to {high:,} {known.unit}"
        field.widget.attrs |= {"min": low, "max": high, "inputmode": "numeric"}
        field.error_messages["required"] = field.error_messages["invalid"] = f"Enter a whole number of {known.unit}, {low} to {high:,}."

    def clean_value(self) -> int:
        value: int = self.cleaned_data["value"]
        attrs = self.fields["value"].widget.attrs
        if not attrs["min"] <= value <= attrs["max"]:
            raise forms.ValidationError(f"It can be {self.fields['value'].help_text}, not {value:,}.")
        return value
