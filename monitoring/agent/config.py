"""The agent's settings: environment first, then the file named by --config, then defaults; a wrong one is said in a sentence."""

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

KEY_SHAPE = re.compile(r"hr_[a-z]{2}_[a-z0-9]{8}_[A-Za-z0-9]{43}")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class ConfigError(Exception):
    """What is wrong, in a sentence that says what to do."""


@dataclass(frozen=True)
class Setting:
    """One setting: its variable, its name in the file, default, bounds of a number, and what it is for."""

    variable: str
    name: str
    default: str | float
    meaning: str
    bounds: tuple[float, float] | None = None


SETTINGS = (
    Setting("HEADROOM_URL", "url", "", "Address of the Headroom server, such as https://headroom.example"),
    Setting("HEADROOM_KEY", "key", "", "Ingest key of this host's cluster; better kept in a file: HEADROOM_KEY_FILE"),
    Setting("HEADROOM_NODE", "node", "", "Name of this host on the screens; empty: its host name"),
    Setting("HEADROOM_AGENT_SPOOL", "spool", "/var/lib/headroom-agent", "Folder for readings the server does not have yet"),
    Setting(
        "HEADROOM_AGENT_SPOOL_MEGABYTES", "spool_megabytes", 50.0, "The spool never grows beyond this; oldest out first", (2.0, 10_000.0)
    ),
    Setting("HEADROOM_AGENT_SPOOL_HOURS", "spool_hours", 24.0, "Readings older than this are dropped and counted", (0.1, 720.0)),
    Setting("HEADROOM_AGENT_INTERVAL_SECONDS", "interval_seconds", 15.0, "Time between two readings", (1.0, 300.0)),
    Setting("HEADROOM_AGENT_SEND_SECONDS", "send_seconds", 60.0, "Time between two sendings", (1.0, 600.0)),
    Setting("HEADROOM_AGENT_JITTER_SECONDS", "jitter_seconds", 30.0, "The first sending waits a random time up to this", (0.0, 300.0)),
    Setting("HEADROOM_AGENT_CA", "ca", "", "PEM file of the authority that signed the server's certificate; empty: the system's"),
    Setting("HEADROOM_AGENT_ROOT", "root", "/", "Where the host's files are seen; a container mounts them elsewhere"),
    Setting("HEADROOM_AGENT_LOG_LEVEL", "log_level", "INFO", "DEBUG, INFO, WARNING or ERROR"),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Config:
    url: str
    key: str
    node: str
    spool: Path
    spool_megabytes: float
    spool_hours: float
    interval_seconds: float
    send_seconds: float
    jitter_seconds: float
    ca: str
    root: Path
    log_level: str


def config_read(environment: Mapping[str, str] = os.environ, *, file: str = "", sending: bool = True) -> Config:
    """ConfigError for what cannot work. `sending` False: address and key are not needed."""
    given = {**file_read(file), **environment_read(environment)}
    values = {setting.name: checked(setting, given.get(setting.name, setting.default)) for setting in SETTINGS}
    config = Config(
        **{**values, "spool": Path(values["spool"]), "root": Path(values["root"]), "node": values["node"] or socket.gethostname()}
    )
    check(config, sending=sending)
    return config


def file_read(path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        found = tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"The settings file {path} is no TOML: {error}.") from error
    key_file = found.pop("key_file", "")
    unknown = sorted(set(found) - set(BY_NAME))
    if unknown:
        raise ConfigError(f"The settings file {path} has unknown names: {', '.join(unknown)}. Known are: {', '.join(BY_NAME)}, key_file.")
    return {**found, **({"key": secret_read(str(key_file))} if key_file else {})}


def environment_read(environment: Mapping[str, str]) -> dict[str, str]:
    found = {setting.name: environment[setting.variable] for setting in SETTINGS if environment.get(setting.variable)}
    if environment.get("HEADROOM_KEY_FILE") and "key" not in found:
        found["key"] = secret_read(environment["HEADROOM_KEY_FILE"])
    return found


def secret_read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be read: {error.strerror}. Write the key into it, readable by the agent.") from error


def checked(setting: Setting, value: Any) -> Any:
    if setting.bounds is None:
        if not isinstance(value, str):
            raise ConfigError(f"{setting.name} is {value!r}; it must be a text in quotes.")
        return value.strip()
    low, high = setting.bounds
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not low <= number <= high:
        raise ConfigError(f"{setting.variable} ({setting.name}) is {value!r}; it must be a number from {low:g} to {high:g}.")
    return number


def check(config: Config, *, sending: bool) -> None:
    if len(config.node) > 253 or not config.node.isprintable():
        raise ConfigError(f"HEADROOM_NODE is {config.node!r}; a name has at most 253 printable characters.")
    if config.log_level.upper() not in LEVELS:
        raise ConfigError(f"HEADROOM_AGENT_LOG_LEVEL is {config.log_level!r}; it must be one of {', '.join(LEVELS)}.")
    if config.ca and not Path(config.ca).is_file():
        raise ConfigError(f"HEADROOM_AGENT_CA is {config.ca!r}, which is no file; name the PEM file of your authority or leave it empty.")
    if not sending:
        return
    try:
        parts = urlsplit(config.url)
        well = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well = False
    if not well:
        said = f"HEADROOM_URL is {config.url!r}" if config.url else "HEADROOM_URL is not set"
        raise ConfigError(f"{said}; it must be the server's address, such as https://headroom.example.")
    if not config.key:
        raise ConfigError("There is no key. Make an ingest key on the page Keys and set HEADROOM_KEY_FILE to a file that holds it.")
    if not KEY_SHAPE.fullmatch(config.key):
        raise ConfigError("The key is not one of Headroom's: it begins with hr_ and has 58 characters. Copy it again, whole.")
