"""The OpenAPI document: how one signs in, what every error looks like, which tag a path has."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

PROBLEM = {
    "type": "object",
    "description": "An error as RFC 9457 describes it.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "example": "about:blank"},
        "title": {"type": "string", "example": "Bad Request"},
        "status": {"type": "integer", "example": 400},
        "detail": {"type": "string", "example": "1 thing in the query cannot be accepted: limit must be a whole number from 1 to 1000"},
        "instance": {"type": "string", "example": "/api/v1/deployments"},
        "request_id": {"type": "string", "description": "The same as in the header X-Request-Id and in the log."},
        "errors": {
            "type": "array",
            "description": "One entry for each field (JSON pointer) or parameter that is wrong.",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {"pointer": {"type": "string"}, "parameter": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
ERRORS = {
    "400": "The query or the body cannot be accepted.",
    "401": "No session, and no key or a wrong one.",
    "403": "Known, but not allowed to do this.",
    "404": "There is no such thing, or it belongs to another team.",
    "429": "More calls in a minute than allowed; see Retry-After.",
}
CHANGES = {"409": "Not possible in the present state.", "413": "The body is too large.", "415": "The body is not application/json."}


class Schema(AutoSchema):
    def get_tags(self) -> list[str]:
        return [self.path.removeprefix("/api/v1/").split("/")[0]]


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "monitoring.api.door.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "hr_<kind>_<prefix>_<secret>"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "monitoring.api.door.PageSession"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "headroom_session", "description": "With X-CSRFToken for everything but GET."}


def problems_add(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Every operation can answer with a problem; write that once here, not in each view."""
    components = result["components"]
    components.setdefault("schemas", {})["Problem"] = PROBLEM
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    components["responses"] = {f"Problem{status}": {"description": text, "content": content} for status, text in (ERRORS | CHANGES).items()}
    for operations in result["paths"].values():
        for method, operation in operations.items():
            for status in ERRORS if method == "get" else ERRORS | CHANGES:
                operation["responses"].setdefault(status, {"$ref": f"#/components/responses/Problem{status}"})
    return result
