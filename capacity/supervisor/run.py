"""`make up`: from nothing to a page that answers, then watch over it."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from capacity.supervisor.children import Child, log_fold
from capacity.supervisor.ending import end_with_parent
from capacity.supervisor.environment import Address, address_read, agent_environment, children_environment, database_check, port_check
from capacity.supervisor.folders import CHECKOUT, Owner, data_folder, folders_make, lock_take, owner_here, secret_file, secrets_load
from capacity.supervisor.postgres import Postgres, binaries_find, port_free
from capacity.supervisor.problems import CannotStart, from_os_error, last_lines
from capacity.supervisor.static import static_finish, static_start

PATIENCE_SECONDS = 90.0  # for the first page
SILENT_SECONDS = 60.0  # web without an answer for so long is started again
CANARY_SECONDS = 180.0  # a queue without a sign of life for so long: the worker is started again
QUEUES = "poll,import,alerts,upkeep,analysis"


def say(text: str) -> None:
    print(text, flush=True)


@dataclass
class Supervisor:
    environment: Mapping[str, str]
    data: Path
    address: Address
    owner: Owner
    started: float
    postgres: Postgres | None = None
    children: list[Child] = field(default_factory=list)
    stopping: bool = False
    admin_new: bool = False
    healthy_at: float = field(default_factory=time.monotonic)
    looked_at: float = field(default_factory=time.monotonic)

    def up(self) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            folders_make(self.data, owner=self.owner)
            with lock_take(self.data, address=self.address.url):
                try:
                    self.run()
                except OSError as error:
                    raise from_os_error(error, place=self.data) from error
                finally:
                    self.stop()

    def run(self) -> None:
        port_check(self.address)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.stop_asked)
        secrets = secrets_load(self.data)
        url = self.environment.get("DATABASE_URL") or self.postgres_start(secrets["database_password"])
        environment = children_environment(self.environment, address=self.address, data=self.data, secrets=secrets, database_url=url)
        owner = children_owner(self.owner, data=self.data)
        self.prepare(environment, owner=owner, password=secrets["admin_password"])
        self.children = children_list(environment, owner=owner, data=self.data, address=self.address)
        if self.agent_wanted:
            self.children.append(self.agent_child(owner))
        for child in self.children:
            child.start()
        self.wait_ready()
        self.welcome()
        while not self.stopping:
            self.watch(now=time.monotonic())
            time.sleep(0.2)

    def stop_asked(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:
            return
        self.stopping = True
        raise KeyboardInterrupt

    def postgres_start(self, password: str) -> str:
        began = time.monotonic()
        (self.data / "log" / "postgres.log").touch()
        log_fold(self.data / "log" / "postgres.log")
        self.postgres = Postgres(
            binaries=binaries_find(owner=self.owner),
            data=self.data / "postgres",
            owner=self.owner,
            port=int(self.environment.get("HEADROOM_POSTGRES_PORT") or port_free()),
            password=password,
            log=self.data / "log" / "postgres.log",
        )
        self.postgres.prepare()
        self.postgres.start()
        url = self.postgres.url
        secret = self.data / "secrets" / "database_url"
        secret.unlink(missing_ok=True)
        secret_file(self.data, "database_url", value=url)
        say(f"  Postgres (built in) answers on 127.0.0.1:{self.postgres.port}  {time.monotonic() - began:.1f} s")
        return url

    def prepare(self, environment: Mapping[str, str], *, owner: Owner, password: str) -> None:
        """Tables and the first admin; style sheets and scripts at the same time, when they changed."""
        began = time.monotonic()
        if not self.postgres:
            database_check(environment["DATABASE_URL"])
        gathering = static_start(self.data, environment=environment, owner=owner)
        agent_key = ["--agent-key"] if self.agent_wanted and not (self.data / "secrets" / "agent_key").exists() else []
        tables = subprocess.run(
            [sys.executable, "manage.py", "prepare", "--admin-email", admin_email(self.environment), *agent_key],
            env={**environment, "HEADROOM_PROCESS": "prepare"},
            input=f"{password}\n".encode(),
            cwd=CHECKOUT,
            capture_output=True,
            check=False,
            preexec_fn=end_with_parent(),
            **owner.popen,
        )
        static_finish(self.data, gathering)
        if tables.returncode:
            raise CannotStart(f"The tables could not be made:\n{last_lines(tables.stderr)}")
        self.admin_new = b"admin made" in tables.stdout
        made = re.search(r"^agent key (\S+)$", tables.stdout.decode(), re.MULTILINE)
        if made:
            secret_file(self.data, "agent_key", value=made.group(1))
        say(f"  Tables ready  {time.monotonic() - began:.1f} s")

    @property
    def agent_wanted(self) -> bool:
        return self.environment.get("HEADROOM_LOCAL_AGENT", "1").lower() not in ("0", "no", "off", "false")

    def agent_child(self, owner: Owner) -> Child:
        """This machine's own agent: it stops first and starts last, and waits for a web that is not there yet."""
        key = (self.data / "secrets" / "agent_key").read_text()
        return Child(
            name="agent",
            command=[sys.executable, "-m", "monitoring.agent"],
            environment=agent_environment(self.environment, address=self.address, data=self.data, key=key),
            owner=owner,
            log=self.data / "log" / "agent.log",
            stop_seconds=1.0,  # what it has not sent lies in its spool
        )

    def wait_ready(self) -> None:
        ending = time.monotonic() + PATIENCE_SECONDS
        while not self.answers("/readyz"):
            for child in self.children:
                line = child.watch(now=time.monotonic())
                if line:
                    say(f"  {line}")
            if time.monotonic() > ending:
                raise CannotStart(f"Web does not answer after {PATIENCE_SECONDS:.0f} s. See {self.data / 'log' / 'web.log'}")
            time.sleep(0.1)
        self.healthy_at = time.monotonic()

    def welcome(self) -> None:
        password = self.data / "secrets" / "admin_password"
        shown = f"the one you chose; the first was kept in {password}"
        if self.admin_new:
            shown = f"{password.read_text()}   (shown once; kept in {password})"
        say(f"\nHeadroom is ready at {self.address.url}   ({time.time() - self.started:.0f} s after the start)\n")
        say(f"  Log in as   {admin_email(self.environment)}")
        say(f"  Password    {shown}")
        say("  Next        open the address: Setup asks for your Prometheus, or loads a demo fleet to look around")
        say(f"  Logs        {self.data / 'log'}")
        say("  Stop        Ctrl-C here, or `make down` in another terminal\n")

    def watch(self, *, now: float) -> None:
        if self.postgres and self.postgres.process and self.postgres.process.poll() is not None:
            say(f"{clock()} Postgres ended; starting it again.")
            self.postgres.start()
            say(f"{clock()} Postgres answers again.")
        for child in self.children:
            line = child.watch(now=now)
            if line:
                say(f"{clock()} {line}")
        if now - self.looked_at > 15.0:
            self.looked_at = now
            self.look(now=now)

    def look(self, *, now: float) -> None:
        """A process that lives but does nothing is started again too."""
        for child in self.children:
            log_fold(child.log)
        health = self.health()
        if health is not None:
            self.healthy_at = now
            oldest = health.get("oldest_canary_seconds")
            worker = next(child for child in self.children if child.name == "worker")
            if oldest is not None and oldest > CANARY_SECONDS and now - worker.started > CANARY_SECONDS:
                say(f"{clock()} the worker has taken nothing for {oldest:.0f} s; starting it again.")
                worker.kill_all()
        elif now - self.healthy_at > SILENT_SECONDS:
            say(f"{clock()} web does not answer; starting it again.")
            self.healthy_at = now
            next(child for child in self.children if child.name == "web").kill_all()

    def health(self) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        return found if self.answers("/healthz", into=found.update) else None

    def answers(self, path: str, *, into: Callable[[Any], None] | None = None) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.address.host, self.address.host)
        connection = http.client.HTTPConnection(host, self.address.port, timeout=5)
        try:
            connection.request("GET", path, headers={"Host": "localhost"})
            response = connection.getresponse()
            body = response.read()
            if into is not None:
                into(json.loads(body))
            return response.status == 200 or (into is not None and response.status == 503)
        except (OSError, ValueError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """Beat, worker, web, Postgres: nothing new comes, what runs ends, the last page is served, then the data closes."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.stopping = True
        began = time.monotonic()
        for child in reversed(self.children):
            child.stop()
        if self.postgres:
            self.postgres.stop()
        if self.children:
            say(f"Stopped in {time.monotonic() - began:.1f} s. Everything is kept in {self.data}; `make up` goes on from there.")


def children_owner(owner: Owner, *, data: Path) -> Owner:
    """Root's children run unprivileged too where that user may read the program; a checkout in /root stays root's."""
    needs = (("r", CHECKOUT / "manage.py"), ("r", Path(__file__)), ("x", Path(sys.executable)), ("w", data / "static"))
    return owner if all(owner.may(access, path) for access, path in needs) else Owner(os.geteuid(), os.getegid(), dropped=False)


def children_list(environment: Mapping[str, str], *, owner: Owner, data: Path, address: Address) -> list[Child]:
    python = sys.executable
    gunicorn = ["-m", "gunicorn", "capacity.config.wsgi", "--bind", address.bind, "--worker-class", "gthread"]
    gunicorn += ["--workers", "2", "--threads", "24", "--timeout", "60", "--graceful-timeout", "2", "--no-control-socket"]
    celery = ["-m", "celery", "-A", "capacity.config", "--quiet"]
    worker = ["worker", "--pool", "threads", "--concurrency", "6", "--queues", QUEUES, "--without-gossip", "--without-mingle"]
    worker += ["--without-heartbeat"]  # no events: nobody reads them
    beat = ["beat", "--pidfile=", "--schedule", str(data / "beat" / "schedule")]
    recipes = (
        ("web", gunicorn, "5", 2.5),
        ("worker", [*celery, *worker], "60", 2.5),
        ("beat", [*celery, *beat], "60", 1.0),
    )
    return [
        Child(
            name=name,
            command=[python, *arguments],
            environment={**environment, "HEADROOM_PROCESS": name, "HEADROOM_STATEMENT_TIMEOUT_SECONDS": timeout},
            owner=owner,
            log=data / "log" / f"{name}.log",
            stop_seconds=patience,
            orphan_signal=signal.SIGQUIT if name == "web" else signal.SIGKILL,  # gunicorn takes its workers along, at once
        )
        for name, arguments, timeout, patience in recipes
    ]


def admin_email(environment: Mapping[str, str]) -> str:
    return environment.get("HEADROOM_ADMIN_EMAIL") or "admin@localhost"


def clock() -> str:
    return time.strftime("%H:%M:%S")


def up(environment: Mapping[str, str]) -> None:
    address = address_read(environment)
    started = float(environment.get("HEADROOM_STARTED_AT") or time.time())
    Supervisor(environment, data_folder(environment), address, owner_here(), started).up()
