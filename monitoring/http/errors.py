"""What can go wrong between us and an address; each error is a sentence for people: what was tried, what came back, what to do.

HttpError
├── HttpUrl         the address itself cannot be used
├── HttpDns         the name is not known
├── AddressBlocked  the guard refuses this address or port
├── HttpRefused     nothing listens, or the connection was cut
├── HttpTimeout     no answer in time
├── HttpTls         the certificate is not trusted, or TLS failed
├── HttpTooLarge    the answer is longer than the cap
└── HttpBroken      the answer is no HTTP, or its compression is broken
"""


class HttpError(Exception):
    """Family of all failures of `http_get`; `str(error)` is fit for a screen."""


class HttpUrl(HttpError):
    """The address cannot be used as it stands."""


class HttpDns(HttpError):
    """The host name has no address."""


class HttpRefused(HttpError):
    """The host does not accept the connection, or cut it."""


class HttpTimeout(HttpError):
    """No answer, or no whole answer, in time."""


class HttpTls(HttpError):
    """The secure connection failed."""


class HttpTooLarge(HttpError):
    """The answer is longer than the caller takes."""


class HttpBroken(HttpError):
    """The answer cannot be read as HTTP."""


class AddressBlocked(HttpError):
    """The guard refuses an address; `allowable` says whether an admin may allow this pair of address and port."""

    def __init__(self, *, host: str, address: str, port: int, reason: str, allowable: bool) -> None:
        self.host = host
        self.address = address
        self.port = port
        self.reason = reason
        self.allowable = allowable
        advice = f"An admin can allow {address} on port {port}." if allowable else "This cannot be allowed."
        where = address if host == address else f"{host} ({address})"
        super().__init__(f"Did not call {where} on port {port}: {reason}. {advice}")
