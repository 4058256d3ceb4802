"""The parts of the supervisor: sentences, folders, secrets, the lock."""

import collections
import errno
import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from capacity.supervisor.children import Child, log_fold
from capacity.supervisor.environment import Address, address_read, agent_environment, children_environment, database_check, port_check
from capacity.supervisor.folders import CHECKOUT, Owner, checkout_id, data_folder, disk_check, lock_read, lock_take, secrets_load
from capacity.supervisor.postgres import Postgres, initdb_sentence, port_free
from capacity.supervisor.problems import CannotStart, from_os_error
from capacity.supervisor.static import static_digest

ME = Owner(os.geteuid(), os.getegid(), dropped=False)


def secrets_folder(data: Path) -> Path:
    (data / "secrets").mkdir()
    return data


class TestTheAddress:
    def test_it_is_loopback_8080_unless_told(self) -> None:
        assert address_read({}) == Address("127.0.0.1", 8080)
        assert address_read({"PORT": "9000", "HEADROOM_BIND": "0.0.0.0"}).bind == "0.0.0.0:9000"

    @pytest.mark.parametrize("port", ["http", "0", "70000", "-1"])
    def test_a_wrong_port_is_told(self, port: str) -> None:
        with pytest.raises(CannotStart, match="must be a number from 1 to 65535"):
            address_read({"PORT": port})

    def test_a_busy_port_is_told_with_another_to_try(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(CannotStart, match=rf"Port {port} .* is in use .* PORT={port + 1} make up"):
                port_check(Address("127.0.0.1", port))

    def test_an_address_of_another_machine_is_told(self) -> None:
        with pytest.raises(CannotStart, match="no address of this machine"):
            port_check(Address("192.0.2.1", 8080))

    def test_a_free_port_passes(self) -> None:
        port_check(Address("127.0.0.1", port_free()))


class TestTheDatabaseUrl:
    def test_one_that_does_not_answer_is_told_without_its_password(self) -> None:
        with pytest.raises(CannotStart) as told:
            database_check(f"postgres://ann:hunter2@127.0.0.1:{port_free()}/shop")
        assert "postgres://ann@127.0.0.1:" in str(told.value) and "unset DATABASE_URL" in str(told.value)
        assert "hunter2" not in str(told.value)

    @pytest.mark.parametrize("url", ["mysql://ann:hunter2@h/shop", "hunter2", "postgres://ann:hunter2@h:5432/"])
    def test_one_of_another_shape_is_told_without_its_password(self, url: str) -> None:
        with pytest.raises(CannotStart, match="must look like postgres://") as told:
            database_check(url)
        assert "hunter2" not in str(told.value)

    def test_the_one_of_the_tests_passes(self) -> None:
        database_check(os.environ["DATABASE_URL"].rsplit("/", 1)[0] + "/postgres")


class TestTheDataFolder:
    def test_it_can_be_chosen(self, tmp_path: Path) -> None:
        assert data_folder({"HEADROOM_DATA": str(tmp_path)}) == tmp_path

    def test_an_ordinary_user_has_it_in_the_checkout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert data_folder({}) == CHECKOUT / "var" / "headroom"

    def test_two_checkouts_have_two_names_and_keep_them(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one" / "var" / "id", tmp_path / "two" / "var" / "id"
        assert checkout_id(one) == checkout_id(one) != checkout_id(two)

    def test_secrets_are_made_once_and_only_their_owner_reads_them(self, tmp_path: Path) -> None:
        data = secrets_folder(tmp_path)
        assert secrets_load(data) == secrets_load(data)
        files = list((data / "secrets").iterdir())
        assert len(files) == 4 and {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    def test_one_instance_holds_the_lock(self, tmp_path: Path) -> None:
        assert lock_read(tmp_path) is None
        with lock_take(tmp_path, address="http://127.0.0.1:1"):
            with open(tmp_path / "lock") as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with pytest.raises(CannotStart, match=rf"already runs .*pid {os.getpid()}, http://127.0.0.1:1.*make down"):
                lock_take(tmp_path, address="http://127.0.0.1:2")
        assert lock_read(tmp_path) is None


class TestAFullDisk:
    def test_it_is_told_before_anything_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = collections.namedtuple("usage", "total used free")(10**9, 9 * 10**8, 10**8)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(CannotStart, match="is full. Free some space"):
            disk_check(tmp_path)

    def test_it_is_told_when_it_fills_while_starting(self) -> None:
        assert "is full" in str(from_os_error(OSError(errno.ENOSPC, "No space left on device"), place="/data"))
        assert "is full" in initdb_sentence("initdb: could not write: No space left on device", data=Path("/data"))

    def test_a_folder_of_another_user_is_told_too(self) -> None:
        assert "Set HEADROOM_DATA" in str(from_os_error(PermissionError(errno.EACCES, "Permission denied"), place="/data"))


@pytest.mark.django_db
class TestMemory:
    def test_the_second_time_a_query_asks_the_kernel_for_nothing(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), current_setting('data_directory')")
            pid, folder = cursor.fetchone()
            if "headroom-test-" not in folder:
                pytest.skip("the tests run against a Postgres that was started elsewhere")
            for _ in range(3):
                before = page_faults(pid)
                cursor.execute("SELECT count(*) FROM (SELECT DISTINCT n FROM generate_series(1, 20000) AS n) AS numbers")  # about 2 MB
        assert page_faults(pid) - before < 100  # else 550


def page_faults(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[7])


class TestPostgresFolder:
    def test_another_major_version_is_refused_with_advice(self, tmp_path: Path) -> None:
        (tmp_path / "PG_VERSION").write_text("16\n")
        (tmp_path / "headroom_made").touch()
        server = Postgres(Path("/nowhere"), tmp_path, ME, 1, "x", tmp_path / "log")
        with pytest.raises(CannotStart, match="written by Postgres 16.*docs/operations.md"):
            server.prepare()

    def test_a_pid_file_that_names_another_program_is_removed(self, tmp_path: Path) -> None:
        (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n")
        Postgres(Path("/nowhere"), tmp_path, ME, 1, "x", tmp_path / "log").orphan_end()
        assert not (tmp_path / "postmaster.pid").exists()

    def test_a_pid_file_of_a_dead_one_stays_for_postgres_to_judge(self, tmp_path: Path) -> None:
        gone = subprocess.Popen(["/bin/true"])
        gone.wait()
        (tmp_path / "postmaster.pid").write_text(f"{gone.pid}\n")
        Postgres(Path("/nowhere"), tmp_path, ME, 1, "x", tmp_path / "log").orphan_end()
        assert (tmp_path / "postmaster.pid").exists()

    def test_a_user_without_a_name_is_told(self) -> None:
        assert "set DATABASE_URL" in initdb_sentence("initdb: could not look up effective user ID 4711", data=Path("/data"))


class TestAChild:
    def child(self, tmp_path: Path, *command: str) -> Child:
        return Child("web", list(command), {"PATH": "/usr/bin:/bin"}, ME, tmp_path / "web.log", stop_seconds=1.0)

    def test_it_is_started_again_with_pauses_that_grow(self, tmp_path: Path) -> None:
        child, said, now = self.child(tmp_path, "/bin/false"), [], 1000.0
        child.start()
        for _ in range(3):
            assert child.process
            child.process.wait()
            said.append(child.watch(now=now))
            assert child.watch(now=now) == "" and child.process is None  # not before its pause
            now = child.next_start
            child.watch(now=now)
        assert [line.split("again in ")[1].split(" s.")[0] for line in said] == ["0.5", "1", "2"]
        assert "status 1" in said[0]

    def test_one_that_ignores_sigterm_is_killed_with_its_children(self, tmp_path: Path) -> None:
        child = self.child(tmp_path, "/bin/sh", "-c", "trap '' TERM; echo ready; sleep 60 & wait; sleep 60")
        child.stop_seconds = 0.2
        child.start()
        child.stop()
        assert child.process and child.process.returncode in (-9, -15)

    def test_its_log_is_folded_and_goes_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("capacity.supervisor.children.LOG_BYTES", 100)
        log = tmp_path / "web.log"
        with open(log, "ab") as writer:
            writer.write(b"x" * 101)
            writer.flush()
            log_fold(log)
            writer.write(b"y")
        assert log.read_bytes() == b"y" and len((tmp_path / "web.log.1").read_bytes()) == 101


def test_children_get_what_is_missing_and_keep_what_was_set(tmp_path: Path) -> None:
    secrets = secrets_load(secrets_folder(tmp_path))
    given = {"HEADROOM_SECRET_KEY": "mine", "HEADROOM_ENCRYPTION_KEY_FILE": "/run/secrets/key", "PATH": "/bin"}
    made = children_environment(given, address=Address("127.0.0.1", 1), data=tmp_path, secrets=secrets, database_url="postgres://x/y")
    assert made["HEADROOM_SECRET_KEY"] == "mine" and "HEADROOM_ENCRYPTION_KEY" not in made
    assert made["DATABASE_URL"] == "postgres://x/y" and made["HEADROOM_PUBLIC_URL"] == "http://127.0.0.1:1"


def test_static_files_are_gathered_again_when_one_changes(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "server.txt").write_text("a==1")
    style = tmp_path / "capacity" / "static" / "look.css"
    style.parent.mkdir(parents=True)
    style.write_text("a {}")
    before = static_digest(tmp_path)
    style.write_text("a { color: red }")
    assert static_digest(tmp_path) != before


class TestBootstrap:
    def run(self, tmp_path: Path, program: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HEADROOM_VENV": str(tmp_path / "venv"), "PYTHONPATH": str(tmp_path)}
        return subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)

    def test_a_missing_venv_module_is_told_with_the_command(self, tmp_path: Path) -> None:
        (tmp_path / "ensurepip.py").write_text("raise ImportError")  # as Debian without python3-venv
        done = self.run(
            tmp_path, "import runpy, sys; sys.argv = ['b', 'server']; runpy.run_path('deploy/bootstrap.py', run_name='__main__')"
        )
        assert done.returncode == 2 and "apt-get install -y python3" in done.stderr and "-venv" in done.stderr
        assert "Traceback" not in done.stderr

    def test_an_old_python_is_told(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "import deploy.bootstrap as b; b.OLDEST = (99, 0); b.python_check()")
        assert done.returncode == 2 and "needs Python 3.11 or newer" in done.stderr and "PYTHON=" in done.stderr


class TestTheAgentOfThisMachine:
    given = {"HEADROOM_SECRET_KEY": "s", "DATABASE_URL": "postgres://x/x", "HEADROOM_AGENT_INTERVAL_SECONDS": "5", "PATH": "/bin"}

    def test_it_gets_none_of_the_servers_secrets(self, tmp_path: Path) -> None:
        told = agent_environment(self.given, address=Address("0.0.0.0", 8080), data=tmp_path, key="hr_k")
        assert "HEADROOM_SECRET_KEY" not in told and "DATABASE_URL" not in told
        assert (told["HEADROOM_URL"], told["HEADROOM_KEY"], told["HEADROOM_AGENT_INTERVAL_SECONDS"]) == (
            "http://127.0.0.1:8080",
            "hr_k",
            "5",
        )

    def test_where_http_is_redirected_it_takes_the_public_address(self, tmp_path: Path) -> None:
        given = {**self.given, "HEADROOM_PUBLIC_URL": "https://headroom.example"}
        assert (
            agent_environment(given, address=Address("127.0.0.1", 8080), data=tmp_path, key="k")["HEADROOM_URL"]
            == "https://headroom.example"
        )
