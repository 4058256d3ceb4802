"""The guarded client."""

from monitoring.http.addresses import Allowed, address_block
from monitoring.http.client import Reply, http_get
from monitoring.http.errors import (
    AddressBlocked,
    HttpBroken,
    HttpDns,
    HttpError,
    HttpRefused,
    HttpTimeout,
    HttpTls,
    HttpTooLarge,
    HttpUrl,
)

__all__ = [
    "AddressBlocked",
    "Allowed",
    "HttpBroken",
    "HttpDns",
    "HttpError",
    "HttpRefused",
    "HttpTimeout",
    "HttpTls",
    "HttpTooLarge",
    "HttpUrl",
    "Reply",
    "address_block",
    "http_get",
]
