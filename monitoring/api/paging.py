"""Lists in pages: `limit` and `offset`, with the address of the next page."""

from typing import Any

from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request

from monitoring.api.problems import QueryError

LARGEST_OFFSET = 10**9


class Pages(LimitOffsetPagination):
    default_limit = 100
    max_limit = 1000

    def get_limit(self, request: Request) -> int:
        return whole(request, "limit", default=self.default_limit, low=1, high=self.max_limit)

    def get_offset(self, request: Request) -> int:
        return whole(request, "offset", default=0, low=0, high=LARGEST_OFFSET)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        limit = {"type": "integer", "minimum": 1, "maximum": self.max_limit, "default": self.default_limit}
        offset = {"type": "integer", "minimum": 0, "maximum": LARGEST_OFFSET, "default": 0}
        return [
            {"name": "limit", "in": "query", "required": False, "description": "Rows of a page.", "schema": limit},
            {"name": "offset", "in": "query", "required": False, "description": "Rows to skip.", "schema": offset},
        ]


def whole(request: Request, name: str, *, default: int, low: int, high: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise QueryError({name: [f"{name} must be a whole number from {low} to {high}, got {text[:40]!r}"]})
    return int(text)
