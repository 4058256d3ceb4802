"""What the checks of analysis refuse, as problem details with a pointer for each field."""

from collections.abc import Iterator
from contextlib import contextmanager

from rest_framework import serializers

from capacity.analysis.fields import FieldError


@contextmanager
def refusing() -> Iterator[None]:
    try:
        yield
    except FieldError as error:
        found = {name or "non_field_errors": [sentence] for name, sentence in error.problems.items()}
        raise serializers.ValidationError(found) from None
