"""The server's ingest door over one kept connection: a body in, a status and a few headers out.

The standard library and not requests: ten megabytes less, and no netrc file, cookie or redirect ever decides where the key goes.
"""

import contextlib
import email.utils
import gzip
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_SECONDS, READ_SECONDS, TOTAL_SECONDS = 5.0, 15.0, 30.0
ANSWER_BYTES = 2**20
GZIP_FROM_BYTES, GZIP_RATIO_MOST = 1000, 100  # a server takes what unpacks to much more for a bomb
PATH = "/api/v1/ingest"


class DoorError(Exception):
    """No answer: the network, a name, a certificate, a time limit. The same request may succeed later."""


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    retry_after: float | None  # seconds
    date: float | None  # the server's clock, Unix seconds


class Door:
    """Keeps its connection; an answer that takes too long ends it."""

    def __init__(
        self, url: str, key: str, *, ca_file: str = "", version: str = "", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        parts = urlsplit(url)
        self.secure, self.host, self.port = parts.scheme == "https", parts.hostname or "", parts.port
        self.path = parts.path.rstrip("/") + PATH
        self.headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "User-Agent": f"headroom-agent/{version}",
        }
        # Certificates are always verified; a company's own authority is named by its file.
        self.tls = ssl.create_default_context(cafile=ca_file or None) if self.secure else None
        self.monotonic = monotonic
        self.connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes) -> Reply:
        headers = self.headers
        packed = gzip.compress(body, 6, mtime=0) if len(body) >= GZIP_FROM_BYTES else body
        if len(packed) < len(body) <= len(packed) * GZIP_RATIO_MOST:
            body, headers = packed, {**headers, "Content-Encoding": "gzip"}
        try:
            if self.connection is not None:
                with contextlib.suppress(http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                    return self.exchange(body, headers)
                self.close()  # the server had closed the kept one; a repeat is harmless
            return self.exchange(body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise DoorError(f"{self.shown} does not answer: {error or type(error).__name__}") from error

    def post_json(self, content: dict[str, Any]) -> Reply:
        return self.post(json.dumps(content).encode())

    @property
    def shown(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.host}{f':{self.port}' if self.port else ''}"

    def exchange(self, body: bytes, headers: dict[str, str]) -> Reply:
        deadline = self.monotonic() + TOTAL_SECONDS
        connection = self.connection or self.connect()
        connection.request("POST", self.path, body, headers)
        response = connection.getresponse()
        answer = b""
        while part := self.read_part(response, deadline, len(answer)):
            answer += part
        response.close()  # read1 stops at the announced length without noticing that this was the end
        if response.will_close:
            self.close()
        return Reply(response.status, answer, seconds_of(response), date_of(response.getheader("Date")))

    def read_part(self, response: http.client.HTTPResponse, deadline: float, have: int) -> bytes:
        left = deadline - self.monotonic()
        if left <= 0 or have > ANSWER_BYTES:
            raise TimeoutError(f"the answer took longer than {TOTAL_SECONDS:.0f} s" if left <= 0 else "the answer is longer than 1 MiB")
        if self.connection is not None and self.connection.sock is not None:
            self.connection.sock.settimeout(min(READ_SECONDS, left))
        return response.read1(65536)

    def connect(self) -> http.client.HTTPConnection:
        proxy = self.proxy()
        host, port = (proxy.hostname or "", proxy.port or 3128) if proxy is not None else (self.host, self.port)
        if self.tls is not None:
            made: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=self.tls)
        else:
            made = http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
        if proxy is not None:
            made.set_tunnel(self.host, self.port or (443 if self.secure else 80))
        made.connect()
        assert made.sock is not None
        made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.sock.settimeout(READ_SECONDS)
        self.connection = made
        return made

    def proxy(self) -> SplitResult | None:
        """As HTTPS_PROXY, HTTP_PROXY and NO_PROXY say."""
        address = getproxies().get("https" if self.secure else "http", "")
        return urlsplit(address) if address and not proxy_bypass(self.host) else None

    def close(self) -> None:
        if self.connection is not None:
            with contextlib.suppress(OSError):
                self.connection.close()
        self.connection = None


def seconds_of(response: http.client.HTTPResponse) -> float | None:
    """Retry-After, which is seconds or a date."""
    text = (response.getheader("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    date, own = date_of(text), date_of(response.getheader("Date"))
    return max(0.0, date - own) if date is not None and own is not None else None


def date_of(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError, OverflowError):
        return None
