#!/usr/bin/env python3
"""Make .venv from a hashed lock and run a command in it. Needs nothing but Python.

    python3 deploy/bootstrap.py server capacity.supervisor up
    python3 deploy/bootstrap.py dev pytest

An unchanged lock is not installed again. Works with any Python from 3.6 on as far as telling that it is too old.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.environ.get("HEADROOM_VENV") or os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
OLDEST = (3, 11)
# Compiling what is never imported takes longer than installing it.
PIP_OPTIONS = ["--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps", "--require-hashes"]


def fail(sentence):
    sys.stderr.write("\n" + sentence + "\n")
    sys.exit(2)


def version():
    return ".".join(str(part) for part in sys.version_info[:2])


def python_check():
    if sys.version_info < OLDEST:
        fail(
            "Headroom needs Python 3.11 or newer; {} is {}. Install one and name it: PYTHON=python3.12 make up".format(
                sys.executable, version()
            )
        )
    try:
        import ensurepip  # noqa: F401  Debian leaves it out unless python3-venv is installed
        import venv  # noqa: F401
    except ImportError:
        package = "python3-venv" if sys.executable == "/usr/bin/python3" else "python{}-venv".format(version())
        sudo = "" if os.geteuid() == 0 else "sudo "
        fail(
            "Python's module venv is missing. Install it, then run the same command again:\n\n  {}apt-get install -y {}".format(
                sudo, package
            )
        )


def digest_of(lock):
    with open(os.path.join(ROOT, "requirements", lock + ".txt"), "rb") as file:
        return hashlib.sha256(file.read() + version().encode()).hexdigest()


def stamp(lock):
    return os.path.join(VENV, ".headroom-" + lock)


def installed(lock):
    try:
        with open(stamp(lock)) as file:
            return file.read() == digest_of(lock) and works("import django")
    except OSError:
        return False


def works(statement):
    """Whether the environment's Python still runs: its base may have been removed or changed."""
    try:
        check = "import sys; assert '%d.%d' % sys.version_info[:2] == '" + version() + "'; " + statement
        return subprocess.call([PYTHON, "-c", check], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def install(lock):
    began = time.time()
    print("Installing what Headroom needs into {} (once, and after a change of requirements/{}.txt)".format(VENV, lock), flush=True)
    python_check()
    if not works("import pip"):
        shutil.rmtree(VENV, ignore_errors=True)
    lines = os.path.join(ROOT, "requirements", lock + ".txt")
    try:
        if not os.path.exists(PYTHON):
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True, stdout=subprocess.PIPE)
        subprocess.run([PYTHON, "-m", "pip", "install", *PIP_OPTIONS, "-r", lines], check=True)
    except subprocess.CalledProcessError as error:
        fail("{} ended with status {}; its words stand above. Nothing was started.".format(" ".join(error.cmd[:4]), error.returncode))
    except OSError as error:
        fail("{} may not be written: {}".format(VENV, error.strerror))
    for name in (lock, "server"):  # the lock for development holds all of the server's
        with open(stamp(name), "w") as file:
            file.write(digest_of(name))
    print("  Installed  {:.1f} s".format(time.time() - began), flush=True)


def main():
    if len(sys.argv) < 2:
        fail("usage: bootstrap.py LOCK [MODULE ARGUMENTS]")
    os.environ.setdefault("HEADROOM_STARTED_AT", "{:.3f}".format(time.time()))
    lock, command = sys.argv[1], sys.argv[2:]
    if sys.version_info < OLDEST:
        python_check()
    if not installed(lock):
        install(lock)
    if command:
        os.environ["PATH"] = os.path.join(VENV, "bin") + os.pathsep + os.environ.get("PATH", "/usr/bin:/bin")
        os.chdir(ROOT)
        os.execv(PYTHON, [PYTHON, "-m", *command])


if __name__ == "__main__":
    main()
