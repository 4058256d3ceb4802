"""The agent's settings: environment over file over default; a wrong one is a sentence and status 2."""

from pathlib import Path

import pytest

from monitoring.agent.__main__ import main
from monitoring.agent.config import SETTINGS, ConfigError, config_read
from tests.fakes.ingest_server import KEY

GIVEN = {"HEADROOM_URL": "https://headroom.example", "HEADROOM_KEY": KEY}
WRONG = {
    "no address": ({"HEADROOM_KEY": KEY}, "HEADROOM_URL is not set"),
    "no scheme": ({**GIVEN, "HEADROOM_URL": "headroom.example"}, "HEADROOM_URL is 'headroom.example'"),
    "another scheme": ({**GIVEN, "HEADROOM_URL": "ftp://headroom.example"}, "HEADROOM_URL is"),
    "a port that is none": ({**GIVEN, "HEADROOM_URL": "http://x:port"}, "HEADROOM_URL is"),
    "no key": ({"HEADROOM_URL": "https://x.example"}, "There is no key"),
    "half a key": ({**GIVEN, "HEADROOM_KEY": KEY[:-1]}, "Copy it again"),
    "no key file": ({"HEADROOM_URL": "https://x.example", "HEADROOM_KEY_FILE": "/nowhere/key"}, "/nowhere/key cannot be read"),
    "no number": ({**GIVEN, "HEADROOM_AGENT_INTERVAL_SECONDS": "often"}, "must be a number from 1 to 300"),
    "no finite number": ({**GIVEN, "HEADROOM_AGENT_SEND_SECONDS": "nan"}, "must be a number from 1 to 600"),
    "too little": ({**GIVEN, "HEADROOM_AGENT_SPOOL_MEGABYTES": "0"}, "must be a number from 2 to"),
    "no authority": ({**GIVEN, "HEADROOM_AGENT_CA": "/nowhere/ca.pem"}, "HEADROOM_AGENT_CA is"),
    "no level": ({**GIVEN, "HEADROOM_AGENT_LOG_LEVEL": "LOUD"}, "HEADROOM_AGENT_LOG_LEVEL"),
    "a name with a line end": ({**GIVEN, "HEADROOM_NODE": "a\nb"}, "HEADROOM_NODE is"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_said_in_a_sentence(name: str) -> None:
    environment, words = WRONG[name]
    with pytest.raises(ConfigError) as error:
        config_read(environment)
    assert words in str(error.value) and str(error.value).endswith(".") and KEY not in str(error.value)


def test_defaults_stand_where_nothing_is_given() -> None:
    config = config_read(GIVEN)
    assert (config.interval_seconds, config.send_seconds, config.spool_megabytes, config.spool_hours) == (15.0, 60.0, 50.0, 24.0)
    assert config.node and config.spool == Path("/var/lib/headroom-agent") and config.root == Path("/")


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "agent.toml").write_text(
        f'url = "https://a.example"\nkey_file = "{tmp_path}/key"\ninterval_seconds = 5\nsend_seconds = 30\n'
    )
    config = config_read({"HEADROOM_AGENT_SEND_SECONDS": "20"}, file=str(tmp_path / "agent.toml"))
    assert (config.url, config.key, config.interval_seconds, config.send_seconds) == ("https://a.example", KEY, 5.0, 20.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("url = ", "no TOML"),
        ('adress = "x"', "unknown names: adress"),
        ("url = 7", "must be a text"),
        ('key_file = "/nowhere"', "/nowhere"),
    ],
)
def test_a_wrong_file_is_said_in_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "agent.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        config_read({}, file=str(tmp_path / "agent.toml"))


def test_a_missing_file_is_said_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config_read({}, file="/nowhere/agent.toml")


def test_a_wrong_start_ends_with_status_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    assert main(["--check"]) == 2
    assert capsys.readouterr().err.startswith("headroom-agent: HEADROOM_URL is not set")
