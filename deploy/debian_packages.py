"""Install the Debian programs that tests need when root; else stop with the one command that does. Never a silent skip."""

import os
import shutil
import subprocess
import sys

# package -> a program of it
PACKAGES = {
    "chromium": "chromium",
    "gcc": "cc",  # the fake NVML of tests/fakes
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "redis-server": "redis-server",
    "systemd": "systemd-analyze",  # reads the unit of the agent; installed, it runs nothing
}


def missing() -> list[str]:
    return [
        package for package, program in PACKAGES.items() if not (shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/bin"))
    ]


def main() -> int:
    packages = missing()
    if not packages:
        return 0
    words = "apt-get install -y --no-install-recommends " + " ".join(packages + (["libc6-dev"] if "gcc" in packages else []))
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(
            f"\nTests drive real programs, and these are not here: {', '.join(packages)}. Install them, then run the same command again:",
            file=sys.stderr,
        )
        print(f"\n  sudo apt-get update && sudo {words}\n", file=sys.stderr)
        return 2
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
    # Installed, not started: the tests start their own on free ports.
    policy = "/usr/sbin/policy-rc.d"
    made = not os.path.exists(policy)
    if made:
        with open(policy, "w") as file:
            file.write("#!/bin/sh\nexit 101\n")
        os.chmod(policy, 0o755)
    try:
        installed = subprocess.run(words.split(), env=environment, check=False)
    finally:
        if made:
            os.unlink(policy)
    return 0 if installed.returncode == 0 and not missing() else 2


if __name__ == "__main__":
    sys.exit(main())
