"""The batch in the OpenAPI document, made from the records that read it."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from msgspec.json import schema_components

from monitoring.agents import Body

View = TypeVar("View", bound=Callable[..., Any])
PREFIX = "Push"
WORDS = {
    "Body": "One batch of one agent. Names that are not known are passed over.",
    "AgentPart": "Who sends. `host` on the start, on change and each hour; else it is left out.",
    "EntityPart": "A node (the agent's own) or an accelerator, by its UUID; `parent` is the GPU of a MIG instance.",
    "ProcessPart": "A process on an accelerator, in live batches only.",
    "EventPart": "Something that happened to an accelerator, e.g. an Xid error.",
    "GapPart": "Readings the agent had to drop.",
    "Spool": "What waits in the agent's spool.",
}
OUTCOME = {
    "type": "object",
    "required": ["accepted", "duplicate", "rejected", "errors", "received_at"],
    "properties": {
        "accepted": {"type": "integer", "description": "Samples stored."},
        "duplicate": {"type": "integer", "description": "Samples that were here already; the first value stands."},
        "rejected": {"type": "integer", "description": "Samples refused, each alone."},
        "errors": {"type": "array", "items": {"type": "string"}, "maxItems": 10, "description": "The first reasons."},
        "received_at": {"type": "number", "description": "Our clock at the arrival, in Unix seconds."},
    },
}
EXAMPLE = {
    "agent": {"node": "gpu-7", "version": "0.1.0", "interval_seconds": 15},
    "seq": 42,
    "sent_at": 1795322460.0,
    "times": [1795322415.0, 1795322430.0],
    "entities": [{"kind": "node", "key": "gpu-7"}, {"kind": "accelerator", "key": "GPU-5f0c", "position": 0}],
    "columns": {"power_watts": [None, [412.0, 415.5]], "load1": [[1.5, None], None]},
}
REFUSED = {
    408: "The body did not arrive in time.",
    411: "Content-Length is missing.",
    503: "The database is away, or too many push at once.",
}


def described(view: View) -> View:
    problem = {"application/problem+json": {"$ref": "#/components/schemas/Problem"}}
    words: Callable[[View], View] = extend_schema(
        operation_id="ingest",
        request={"application/json": {"$ref": f"#/components/schemas/{PREFIX}Body"}},
        responses={
            200: OpenApiResponse(response=OUTCOME, description="What became of the samples, after COMMIT."),
            **{
                (status, "application/problem+json"): OpenApiResponse(response=problem["application/problem+json"], description=text)
                for status, text in REFUSED.items()
            },
        },
        examples=[OpenApiExample("a batch", EXAMPLE, request_only=True)],
        auth=[{"key": []}],  # type: ignore[list-item]
    )
    return words(view)


def schemas_add(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """A hook of drf-spectacular."""
    _, found = schema_components((Body,), ref_template=f"#/components/schemas/{PREFIX}{{name}}")
    for name, schema in found.items():
        result["components"]["schemas"][f"{PREFIX}{name}"] = {**older(schema), "description": WORDS[name]}
    return result


def older(schema: Any) -> Any:
    """JSON Schema as OpenAPI 3.0 has it: `nullable` for null, a flag for exclusive limits."""
    if isinstance(schema, list):
        return [older(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {name: older(part) for name, part in schema.items() if name != "required" or part}
    if "exclusiveMinimum" in out:
        out |= {"minimum": out["exclusiveMinimum"], "exclusiveMinimum": True}
    parts = out.get("anyOf")
    if parts is not None and {"type": "null"} in parts:
        del out["anyOf"]
        left = [part for part in parts if part != {"type": "null"}]
        return out | ({"allOf": left} if "$ref" in left[0] else left[0] if len(left) == 1 else {"anyOf": left}) | {"nullable": True}
    return out
