"""The door over real sockets: one kept connection, verified certificates, time limits, headers read."""

import gzip
import json
from pathlib import Path

import pytest

from monitoring.agent.door import Door, DoorError, Reply
from monitoring.agent.shown import verdict
from tests.fakes.ingest_server import KEY, FakeIngest, Fault
from tests.servers.loopback import Handler, authority, serving
from tests.servers.processes import free_port

EMPTY = json.dumps({"times": [], "entities": [], "columns": {}, "agent": {"node": "n"}}).encode()
LONG = json.dumps([round(number**0.5, 4) for number in range(1000)]).encode()


def answer(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.reply(200, b'{"accepted": 0}')


def test_one_connection_serves_many_bodies() -> None:
    ports = []

    def respond(handler: Handler) -> None:
        ports.append(handler.client_address[1])
        answer(handler)

    with serving(respond) as server:
        server.RequestHandlerClass = type("Kept", (Handler,), {"protocol_version": "HTTP/1.1"})
        door = Door(server.url, KEY)
        for _ in range(3):
            assert door.post(EMPTY).status == 200
        door.close()
    assert len(ports) == 3 and len(set(ports)) == 1


def test_a_kept_connection_that_the_server_closed_is_opened_again() -> None:
    with serving(lambda handler: handler.reply(200, b"{}")) as server:  # HTTP/1.0 underneath: closed after each answer
        server.RequestHandlerClass = type(
            "Liar", (Handler,), {"protocol_version": "HTTP/1.1", "handle": lambda self: self.handle_one_request()}
        )
        door = Door(server.url, KEY)
        assert [door.post(EMPTY).status for _ in range(2)] == [200, 200]


def test_a_long_body_is_packed_and_a_short_one_is_not() -> None:
    with serving(lambda handler: handler.reply(200, b"{}")) as server:
        door = Door(server.url, KEY, version="1.2")
        door.post(LONG)
        door.post(b"y")
    packed, plain = server.seen
    assert gzip.decompress(packed.body) == LONG and packed.headers["Content-Encoding"] == "gzip"
    assert plain.body == b"y" and "Content-Encoding" not in plain.headers
    assert plain.headers["Authorization"] == f"Bearer {KEY}" and plain.headers["User-Agent"] == "headroom-agent/1.2"


def test_what_would_look_like_a_bomb_is_not_packed() -> None:
    with serving(lambda handler: handler.reply(200, b"{}")) as server:
        Door(server.url, KEY).post(b"0," * 100_000)
    assert "Content-Encoding" not in server.seen[0].headers


def test_an_address_with_a_path_keeps_it() -> None:
    with serving(lambda handler: handler.reply(200, b"{}")) as server:
        Door(f"{server.url}/headroom/", KEY).post(EMPTY)
    assert server.seen[0].path == "/headroom/api/v1/ingest"


def test_a_certificate_is_verified_against_the_authority_that_was_named(tmp_path: Path) -> None:
    pem, context = authority(tmp_path, "localhost")
    (tmp_path / "ca.pem").write_text(pem)
    with serving(lambda handler: handler.reply(200, b"{}"), tls=context) as server:
        address = f"https://localhost:{server.port}"
        assert Door(address, KEY, ca_file=str(tmp_path / "ca.pem")).post(EMPTY).status == 200
        with pytest.raises(DoorError, match="certificate"):
            Door(address, KEY).post(EMPTY)
        assert len(server.seen) == 1  # the key never went out


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    pem, context = authority(tmp_path, "other.example")
    (tmp_path / "ca.pem").write_text(pem)
    with (
        serving(lambda handler: handler.reply(200, b"{}"), tls=context) as server,
        pytest.raises(DoorError, match=r"[Hh]ostname|not valid for"),
    ):
        Door(f"https://localhost:{server.port}", KEY, ca_file=str(tmp_path / "ca.pem")).post(EMPTY)


def test_nobody_there_is_an_error_in_words() -> None:
    port = free_port()
    with pytest.raises(DoorError, match=f"http://127.0.0.1:{port} does not answer"):
        Door(f"http://127.0.0.1:{port}", KEY).post(EMPTY)


def test_an_answer_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(400):
            handler.wfile.write(b"x" * 65536)

    with serving(drip) as server, pytest.raises(DoorError, match="longer than 1 MiB"):
        Door(server.url, KEY).post(EMPTY)


def test_an_answer_that_takes_too_long_is_cut() -> None:
    times = iter([0.0, 1.0, 31.0])
    with serving(lambda handler: handler.reply(200, b"x" * 10)) as server, pytest.raises(DoorError, match="longer than 30 s"):
        Door(server.url, KEY, monotonic=lambda: next(times)).post(EMPTY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Thu, 01 Jan 2026 99:02:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, expected: float | None) -> None:
    def respond(handler: Handler) -> None:
        handler.date_time_string = lambda timestamp=None: "Thu, 01 Jan 2026 00:00:00 GMT"  # type: ignore[method-assign]
        handler.reply(503, b"{}", {"Retry-After": text} if text else {})

    with serving(respond) as server:
        assert Door(server.url, KEY).post(EMPTY).retry_after == expected


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with serving(lambda handler: handler.reply(307, b"", {"Location": "http://127.0.0.1:9/"})) as server:
        assert Door(server.url, KEY).post(EMPTY).status == 307
    assert len(server.seen) == 1


def test_a_netrc_file_does_not_replace_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(lambda handler: handler.reply(200, b"{}")) as server:
        Door(server.url, KEY).post(EMPTY)
    assert server.seen[0].headers["Authorization"] == f"Bearer {KEY}"


def test_a_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def connect(handler: Handler) -> None:
        seen.append(handler.path)

    with serving(lambda handler: None) as server:
        server.RequestHandlerClass = type("Proxy", (Handler,), {"do_CONNECT": lambda self: (connect(self), self.send_error(403))})
        monkeypatch.setenv("http_proxy", server.url)
        with pytest.raises(DoorError):
            Door("http://headroom.example:8080", KEY).post(EMPTY)
    assert seen == ["headroom.example:8080"]


@pytest.mark.parametrize(
    ("reply", "well", "words"),
    [
        (Reply(200, b'{"accepted": 0}', None, 1000.0), True, "Address and key work."),
        (Reply(200, b'{"accepted": 0}', None, 1900.0), True, "clocks differ by 900 s"),
        (Reply(200, b"<html>", None, None), False, "not Headroom's"),
        (Reply(404, b"", None, None), False, "status 404"),
        (Reply(401, b"", None, None), False, "does not know this key"),
        (Reply(403, b"", None, None), False, "may not send"),
    ],
)
def test_check_has_a_sentence_for_each_answer(reply: Reply, well: bool, words: str) -> None:
    found = verdict(reply, now=1000.0)
    assert found[0] is well and words in found[1]


def test_the_fake_door_refuses_a_wrong_key() -> None:
    """The fake is no rubber stamp: it fails the request whose key is another one."""
    made = FakeIngest(fault=lambda number: Fault(401) if number == 1 else None)
    with serving(made.respond) as server:
        assert Door(server.url, KEY).post(EMPTY).status == 401
        with pytest.raises(DoorError):
            Door(server.url, KEY[:-1] + "x").post(EMPTY)
