"""The guarded client: the only door through which Headroom calls an address somebody typed in.

One resolution, every address checked, and the connection goes to a checked address while Host and SNI keep the name,
so that a name which changes its address between check and use gains nothing. No redirects, proxies, cookies or
netrc. A timer ends the whole exchange, because a time-out for each read lets a server drip for ever.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import certifi
import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProtocolError, ReadTimeoutError, SSLError
from urllib3.util.connection import create_connection

from monitoring.http.addresses import Allowed, address_block
from monitoring.http.errors import AddressBlocked, HttpBroken, HttpDns, HttpError, HttpRefused, HttpTimeout, HttpTls, HttpTooLarge, HttpUrl

Resolver = Callable[[str, int], Sequence[str]]
MEBIBYTE = 1024 * 1024
CHUNK = 64 * 1024


@dataclass(frozen=True)
class Reply:
    """An answer of any status; `body` is decoded from gzip."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


def addresses_of(host: str, port: int) -> list[str]:
    """All addresses of a name, in the order of the system."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Exchange:
    """One request: the addresses it may connect to, and the timer that ends it."""

    def __init__(self, addresses: Sequence[str], seconds: float) -> None:
        self.addresses = addresses
        self.expired = False
        self.copy: socket.socket | None = None
        self.timer = threading.Timer(seconds, self.expire)
        self.timer.daemon = True

    def __enter__(self) -> "Exchange":
        self.timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()
        if self.copy is not None:
            self.copy.close()

    def expire(self) -> None:
        self.expired = True
        if self.copy is not None:
            with contextlib.suppress(OSError):
                self.copy.shutdown(socket.SHUT_RDWR)

    def connect(self, connection: HTTPConnection) -> socket.socket:
        """Connect to the first checked address that answers; the name is not resolved again."""
        failure: OSError | None = None
        for address in self.addresses:
            try:
                opened = create_connection((address, connection.port), connection.timeout, socket_options=connection.socket_options)
            except OSError as error:
                failure = error
                continue
            self.copy = opened.dup()  # survives the wrapping by TLS
            return opened
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(connection, str(failure))
        raise NewConnectionError(connection, str(failure)) from failure


class PinnedConnection(HTTPConnection):
    """A connection that goes where the exchange says."""

    def __init__(self, *args: Any, exchange: Exchange, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exchange = exchange

    def _new_conn(self) -> socket.socket:
        return self.exchange.connect(self)


class PinnedTlsConnection(HTTPSConnection):
    """The same under TLS; SNI and the certificate check keep the host name."""

    def __init__(self, *args: Any, exchange: Exchange, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exchange = exchange

    def _new_conn(self) -> socket.socket:
        return self.exchange.connect(self)


class PinnedPool(HTTPConnectionPool):
    ConnectionCls = PinnedConnection


class PinnedTlsPool(HTTPSConnectionPool):
    ConnectionCls = PinnedTlsConnection


class PinnedAdapter(HTTPAdapter):
    """Hands every request of a session to one pool."""

    def __init__(self, pool: HTTPConnectionPool) -> None:
        super().__init__(max_retries=0)
        self.pool = pool

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self.pool

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """The context of the pool verifies; requests would add the public authorities to a private one."""


def url_checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise HttpUrl(f"{url} is not an address: {error}.") from error
    if parts.scheme not in ("http", "https"):
        raise HttpUrl(f"{url} does not begin with http:// or https://; enter the whole address, e.g. http://prometheus:9090.")
    if not parts.hostname or port == 0:
        raise HttpUrl(f"{url} names no host; enter the whole address, e.g. http://prometheus:9090.")
    if parts.username or parts.password:
        raise HttpUrl("The address holds a user or password; enter them in their own fields.")
    return parts


def addresses_checked(host: str, port: int, *, allowed: Sequence[Allowed], resolver: Resolver) -> list[str]:
    """All addresses of the host, each of them checked; one blocked address blocks the name."""
    try:
        addresses = list(resolver(host, port))
    except (OSError, UnicodeError) as error:
        raise HttpDns(f"The name {host} is not known here ({error}); check its spelling and the DNS of this machine.") from error
    if not addresses:
        raise HttpDns(f"The name {host} has no address; check its spelling and the DNS of this machine.")
    for address in addresses:
        block = address_block(address, port, allowed=allowed)
        if block:
            raise AddressBlocked(host=host, address=address, port=port, reason=block.reason, allowable=block.allowable)
    return addresses


def tls_context(tls_ca: str | None) -> ssl.SSLContext:
    """Public authorities, or the given one alone (PEM)."""
    if not tls_ca:
        return ssl.create_default_context(cafile=certifi.where())
    try:
        return ssl.create_default_context(cadata=tls_ca)
    except (ssl.SSLError, ValueError) as error:
        raise HttpTls("The certificate authority is not readable PEM; paste it with its BEGIN and END lines.") from error


def decoded(chunks: Iterator[bytes], *, encoding: str, max_bytes: int) -> Iterator[bytes]:
    """Chunks after gzip, never more than a little over `max_bytes`, whatever a bomb unpacks to."""
    if encoding not in ("gzip", "x-gzip"):
        yield from chunks
        return
    inflate = zlib.decompressobj(wbits=31)
    total = 0
    for chunk in chunks:
        plain = inflate.decompress(chunk, max_bytes + 1 - total)
        total += len(plain)
        yield plain
        if total > max_bytes:
            return
    if not inflate.eof:
        raise zlib.error("the compressed answer ends early")


def body_read(response: requests.Response, *, where: str, max_bytes: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    raw = response.raw.stream(CHUNK, decode_content=False)
    parts: list[bytes] = []
    total = 0
    for part in decoded(raw, encoding=encoding, max_bytes=max_bytes):
        total += len(part)
        if total > max_bytes:
            raise HttpTooLarge(f"The answer of {where} is longer than {max_bytes / MEBIBYTE:g} MiB; ask for less at a time.")
        parts.append(part)
    return b"".join(parts)


def trouble(error: Exception, *, where: str, exchange: Exchange, timeout: tuple[float, float]) -> HttpError:
    """The member of our tree for what requests and urllib3 raised."""
    inner = error.args[0] if isinstance(error, requests.RequestException) and error.args else error
    reason = getattr(inner, "reason", None) or inner
    if isinstance(reason, NewConnectionError) and not exchange.expired:
        return HttpRefused(f"{where} does not accept connections; check host and port, and that the server runs.")
    if exchange.expired or isinstance(error, requests.Timeout) or isinstance(reason, ConnectTimeoutError | ReadTimeoutError):
        limit = timeout[0] if isinstance(reason, ConnectTimeoutError) else timeout[1]
        return HttpTimeout(f"{where} gave no whole answer in time (limit {limit:g} s); it may be overloaded, or a firewall drops the call.")
    if isinstance(error, requests.exceptions.SSLError) or isinstance(reason, SSLError | ssl.SSLError):
        return HttpTls(
            f"The secure connection to {where} failed ({tls_words(reason)}); add its certificate authority, or check the host name."
        )
    is_strange = any(isinstance(part, http.client.BadStatusLine) for part in getattr(inner, "args", ()))
    if isinstance(error, requests.ConnectionError | ProtocolError | ConnectionError) and not is_strange:
        return HttpRefused(f"{where} cut the connection before its answer was whole; check the address, and whether it wants https.")
    return HttpBroken(f"{where} answered something that is not HTTP ({type(reason).__name__}); check the port.")


def tls_words(reason: object) -> str:
    text = getattr(reason, "verify_message", "") or str(reason)
    for inner in getattr(reason, "args", ()):
        text = getattr(inner, "verify_message", "") or text
    return text[:200]


def http_get(
    url: str,
    *,
    allowed: Sequence[Allowed],
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | AuthBase | None = None,
    tls_ca: str | None = None,
    params: Mapping[str, str | Sequence[str]] | None = None,
    method: str = "GET",
    body: bytes | None = None,
    timeout: tuple[float, float] = (5.0, 15.0),
    max_bytes: int = 5 * MEBIBYTE,
    resolver: Resolver = addresses_of,
) -> Reply:
    """Ask one address and read its answer, of any status; raises a member of HttpError.

    params: the query string of a GET, the form body of a POST that has no `body` of its own.
    timeout: seconds to connect, and for each read; the whole exchange ends after connect + 2 x read.
    """
    parts = url_checked(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    where = f"{parts.scheme}://{parts.netloc}"
    addresses = addresses_checked(host, port, allowed=allowed, resolver=resolver)
    started = time.monotonic()
    with Exchange(addresses, timeout[0] + 2 * timeout[1]) as exchange, requests.Session() as session:
        session.trust_env = False  # no proxy, no netrc
        session.mount(f"{parts.scheme}://", PinnedAdapter(pool_for(parts, host, port, exchange=exchange, tls_ca=tls_ca)))
        try:
            response = session.request(
                method,
                url,
                headers={"Accept-Encoding": "gzip", "User-Agent": "headroom", **(headers or {})},
                auth=auth,
                params=params if method == "GET" else None,
                data=body or (params if method == "POST" else None),
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            )
            with response:
                answer = body_read(response, where=where, max_bytes=max_bytes)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise trouble(error, where=where, exchange=exchange, timeout=timeout) from error
        except zlib.error as error:
            raise HttpBroken(f"The compressed answer of {where} cannot be unpacked ({error}).") from error
        if exchange.expired:  # a cut connection without a length reads as a short body
            raise trouble(TimeoutError(), where=where, exchange=exchange, timeout=timeout)
    return Reply(status=response.status_code, headers=response.headers, body=answer, seconds=time.monotonic() - started)


def pool_for(parts: SplitResult, host: str, port: int, *, exchange: Exchange, tls_ca: str | None) -> HTTPConnectionPool:
    if parts.scheme == "https":
        return PinnedTlsPool(host, port, ssl_context=tls_context(tls_ca), exchange=exchange)
    return PinnedPool(host, port, exchange=exchange)
