"""The guarded client against real sockets: redirects, TLS, slow, huge, rebinding."""

import gzip
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from monitoring.http import (
    AddressBlocked,
    Allowed,
    HttpBroken,
    HttpDns,
    HttpError,
    HttpRefused,
    HttpTimeout,
    HttpTls,
    HttpTooLarge,
    HttpUrl,
    Reply,
    http_get,
)
from tests.servers.loopback import Handler, Server, authority, serving


def get(server: Server, path: str = "/", *, host: str = "127.0.0.1", scheme: str = "http", **options: object) -> Reply:
    """Ask the test server; names resolve to the loopback unless a resolver is given."""
    options.setdefault("resolver", lambda name, port: ["127.0.0.1"])
    options.setdefault("allowed", (Allowed("127.0.0.1/32", server.port),))
    return http_get(f"{scheme}://{host}:{server.port}{path}", **options)  # type: ignore[arg-type]


def fine(handler: Handler) -> None:
    handler.reply(200, b"fine", {"Set-Cookie": "a=1"})


def test_it_returns_status_headers_and_body() -> None:
    with serving(lambda handler: handler.reply(404, b"no such page", {"X-Kind": "test"})) as server:
        reply = get(server)
    assert (reply.status, reply.headers["X-Kind"], reply.body) == (404, "test", b"no such page")
    assert 0 < reply.seconds < 5


def test_it_sends_what_it_was_given_and_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(fine) as server:
        get(server, headers={"X-Team": "a"}, params={"q": 'up{job="a"}'}, host="prom.example")
        get(server, method="POST", params={"query": "up"}, auth=("user", "word"))
    first, second = server.seen
    assert first.path == "/?q=up%7Bjob%3D%22a%22%7D"
    assert first.headers["Host"] == f"prom.example:{server.port}"
    assert first.headers["X-Team"] == "a"
    assert second.body == b"query=up"
    assert second.headers["Authorization"] == "Basic dXNlcjp3b3Jk"
    assert "Cookie" not in second.headers


def test_it_does_not_follow_a_redirect() -> None:
    with serving(lambda handler: handler.reply(302, b"", {"Location": "http://169.254.169.254/"})) as server:
        reply = get(server)
    assert reply.status == 302
    assert len(server.seen) == 1


def test_it_connects_to_the_address_it_checked_when_the_name_moves() -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    def moving(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    with serving(fine) as server:
        assert get(server, host="moving.example", resolver=moving).body == b"fine"
        assert len(answers) == 1  # asked once
        with pytest.raises(AddressBlocked):
            get(server, host="moving.example", resolver=moving)


def test_one_blocked_address_among_good_ones_blocks_the_name() -> None:
    with serving(fine) as server, pytest.raises(AddressBlocked) as caught:
        get(server, host="two.example", resolver=lambda host, port: ["127.0.0.1", "10.0.0.1"])
    assert (caught.value.address, caught.value.port, caught.value.allowable) == ("10.0.0.1", server.port, True)
    assert "10.0.0.1" in str(caught.value)
    assert "An admin can allow" in str(caught.value)
    assert server.seen == []


def test_it_tries_the_next_address_when_the_first_does_not_answer() -> None:
    with serving(fine) as server:
        everywhere = (Allowed("127.0.0.0/8", server.port),)
        reply = get(server, host="two.example", allowed=everywhere, resolver=lambda host, port: ["127.0.0.2", "127.0.0.1"])
    assert reply.body == b"fine"


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost"])
def test_other_spellings_of_the_loopback_are_blocked_too(host: str) -> None:
    with pytest.raises(AddressBlocked):
        http_get(f"http://{host}:9090/", allowed=())


@pytest.mark.parametrize(
    "url", ["ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//example.com", "http://", "http://:80", "http://a:99999"]
)
def test_it_takes_http_addresses_only(url: str) -> None:
    with pytest.raises(HttpUrl):
        http_get(url, allowed=())


def test_it_wants_logins_in_their_own_fields() -> None:
    with pytest.raises(HttpUrl, match="own fields"):
        http_get("http://user:word@example.com/", allowed=())


def test_an_unknown_name_is_said_so() -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(HttpDns, match=r"nowhere\.example"):
        http_get("http://nowhere.example/", allowed=(), resolver=unknown)


def test_a_closed_port_is_said_so() -> None:
    with serving(fine) as server:
        pass
    with pytest.raises(HttpRefused, match="does not accept connections"):
        get(server)


def test_it_gives_up_on_a_server_that_says_nothing() -> None:
    def silent(handler: Handler) -> None:
        handler.server.release.wait(30)

    with serving(silent) as server, pytest.raises(HttpTimeout):
        get(server, timeout=(1.0, 0.2))


def test_it_gives_up_on_a_server_that_drips() -> None:
    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not handler.server.release.wait(0.05):
            handler.wfile.write(b".")
            handler.wfile.flush()

    started = time.monotonic()
    with serving(drip) as server, pytest.raises(HttpTimeout):
        get(server, timeout=(0.2, 0.4))
    assert time.monotonic() - started < 3


def test_it_gives_up_on_headers_that_drip() -> None:
    def drip(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not handler.server.release.wait(0.05):
            handler.wfile.write(b".")
            handler.wfile.flush()

    with serving(drip) as server, pytest.raises(HttpTimeout):
        get(server, timeout=(0.2, 0.4))


def test_it_stops_reading_at_the_cap() -> None:
    with serving(lambda handler: handler.reply(200, b"x" * 100_000)) as server:
        assert len(get(server, max_bytes=100_000).body) == 100_000
        with pytest.raises(HttpTooLarge):
            get(server, max_bytes=99_999)


def test_it_unpacks_gzip_up_to_the_cap() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with serving(lambda handler: handler.reply(200, bomb, {"Content-Encoding": "gzip"})) as server:
        with pytest.raises(HttpTooLarge):
            get(server, max_bytes=1_000_000)
        assert len(get(server, max_bytes=50_000_000).body) == 50_000_000


@pytest.mark.parametrize("body", [b"not gzip at all", gzip.compress(os.urandom(5_000))[:-500]])
def test_broken_compression_is_said_so(body: bytes) -> None:
    with serving(lambda handler: handler.reply(200, body, {"Content-Encoding": "gzip"})) as server, pytest.raises(HttpBroken):
        get(server)


def test_an_answer_cut_short_is_no_answer() -> None:
    with serving(lambda handler: handler.reply(200, b"half", {"Content-Length": "400"})) as server, pytest.raises(HttpRefused):
        get(server, timeout=(1.0, 1.0))


def test_something_that_is_not_http_is_said_so() -> None:
    with serving(lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")) as server, pytest.raises(HttpError):
        get(server)


def test_it_trusts_the_given_authority_and_keeps_the_name(tmp_path: Path) -> None:
    pem, context = authority(tmp_path, "prom.example")
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with serving(fine, tls=context) as server:
        assert get(server, scheme="https", host="prom.example", tls_ca=pem).body == b"fine"
        with pytest.raises(HttpTls):
            get(server, scheme="https", host="other.example", tls_ca=pem)
        with pytest.raises(HttpTls):
            get(server, scheme="https", host="prom.example")
    assert names == ["prom.example", "other.example", "prom.example"]


def test_an_authority_that_is_no_certificate_is_said_so() -> None:
    with serving(fine) as server, pytest.raises(HttpTls, match="PEM"):
        get(server, scheme="https", tls_ca="-----BEGIN NONSENSE-----")


def test_plain_http_on_a_tls_port_is_no_answer(tmp_path: Path) -> None:
    _, context = authority(tmp_path, "prom.example")
    with serving(fine, tls=context) as server, pytest.raises(HttpError):
        get(server, timeout=(1.0, 1.0))
