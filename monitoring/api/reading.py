"""The one strict JSON reader of the API: what is no clean JSON is refused as such, never half understood."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

LARGEST_BODY_BYTES = 1 << 20


class TooLarge(APIException):
    status_code = 413
    default_detail = f"The body is larger than {LARGEST_BODY_BYTES} bytes."


class StrictJSONParser(BaseParser):
    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        body = stream.read(LARGEST_BODY_BYTES + 1)
        if len(body) > LARGEST_BODY_BYTES:
            raise TooLarge()
        return json_read(body)


def json_read(body: bytes) -> Any:
    """The value of a JSON text; ParseError with the reason for everything RFC 8259 or Postgres would not take."""
    try:
        text = body.decode("utf-8")
        value = json.loads(text, parse_constant=constant_refuse, parse_float=float_read, object_pairs_hook=pairs_read)
        text_check(value)
    except UnicodeDecodeError:
        raise ParseError("the body is not UTF-8") from None
    except RecursionError:
        raise ParseError("the JSON is nested too deeply") from None
    except (ValueError, OverflowError) as error:
        raise ParseError(f"the body is not clean JSON: {str(error)[:200]}") from None
    return value


def constant_refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null for a missing number")


def float_read(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def pairs_read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)[:80]!r} stands twice in an object")
    return value


def text_check(value: Any) -> None:
    """Refuse NUL, which Postgres cannot keep, and lone surrogates, which are no text."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a text holds NUL")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("a text holds half of a surrogate pair") from None
    elif isinstance(value, dict):
        for name, part in value.items():
            text_check(name)
            text_check(part)
    elif isinstance(value, list):
        for part in value:
            text_check(part)
