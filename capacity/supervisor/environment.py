"""What children are told: secrets, the database, the address."""

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from capacity.supervisor.problems import CannotStart

OLDEST_POSTGRES = 150000
URL_SCHEMES = ("postgres", "postgresql")


@dataclass(frozen=True)
class Address:
    """Where web listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{shown}:{self.port}"

    @property
    def bind(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_read(environment: Mapping[str, str]) -> Address:
    text = environment.get("PORT") or "8080"
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise CannotStart(f"PORT is {text!r}; it must be a number from 1 to 65535.")
    return Address(environment.get("HEADROOM_BIND") or "127.0.0.1", int(text))


def port_check(address: Address) -> None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except PermissionError:
            raise CannotStart(f"Port {address.port} needs root. Choose one above 1023: PORT=8080 make up") from None
        except OSError as error:
            if address.host not in ("127.0.0.1", "0.0.0.0", "::1", "::") and error.errno != 98:
                raise CannotStart(f"HEADROOM_BIND={address.host} is no address of this machine ({error.strerror}).") from None
            raise CannotStart(
                f"Port {address.port} on {address.host} is in use by another program. Choose another: PORT={address.port + 1} make up"
            ) from None


def database_check(url: str) -> None:
    """A DATABASE_URL that does not work ends the start with what was tried."""
    parts = urlsplit(url)
    if parts.scheme not in URL_SCHEMES or not parts.path.strip("/"):
        raise CannotStart(
            f"DATABASE_URL must look like postgres://USER:PASSWORD@HOST:5432/NAME; this one begins with {parts.scheme or 'nothing'!r}. "
            "Correct it, or unset it to use the built-in Postgres."
        )
    shown = f"{parts.scheme}://{parts.username or ''}@{parts.hostname or ''}:{parts.port or 5432}{parts.path}"
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            version = connection.info.server_version
    except psycopg.Error as error:
        raise CannotStart(
            f"DATABASE_URL {shown} (password hidden) does not work: {' '.join(str(error).split())}\n"
            "Correct it, start that server, or unset DATABASE_URL to use the built-in Postgres."
        ) from None
    if version < OLDEST_POSTGRES:
        raise CannotStart(f"DATABASE_URL {shown} is Postgres {version // 10000}; Headroom needs 15 or newer.")


def children_environment(
    given: Mapping[str, str], *, address: Address, data: Path, secrets: Mapping[str, str], database_url: str
) -> dict[str, str]:
    """The person's own settings win; only what is not set is filled in."""
    made = {
        "HEADROOM_SECRET_KEY": secrets["secret_key"],
        "HEADROOM_ENCRYPTION_KEY": secrets["encryption_key"],
        "HEADROOM_PUBLIC_URL": address.url,
        "HEADROOM_ALLOW_LOOPBACK": "1",
        "HEADROOM_STATIC_ROOT": str(data / "static"),
    }
    kept = {name: value for name, value in made.items() if not given.get(name) and not given.get(f"{name}_FILE")}
    fixed = {
        "DATABASE_URL": database_url,
        "HEADROOM_BIND": address.host,
        "DJANGO_SETTINGS_MODULE": "capacity.config.settings",
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', '/usr/bin:/bin')}",
    }
    return {**given, **kept, **fixed}


def agent_environment(given: Mapping[str, str], *, address: Address, data: Path, key: str) -> dict[str, str]:
    """None of the server's secrets; the person's own settings of the agent win."""
    public = given.get("HEADROOM_PUBLIC_URL", "")  # where it is https, plain http is only redirected
    own = {
        name: value for name, value in given.items() if name.startswith("HEADROOM_AGENT_") or name in ("HEADROOM_NODE", "LD_LIBRARY_PATH")
    }
    return {
        "HEADROOM_AGENT_SPOOL": str(data / "agent"),
        "HEADROOM_AGENT_JITTER_SECONDS": "5",
        **own,
        "HEADROOM_URL": public if public.startswith("https://") else address.url,
        "HEADROOM_KEY": key,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', '/usr/bin:/bin')}",
        "PYTHONUNBUFFERED": "1",
    }
