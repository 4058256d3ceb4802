"""What the bench of alerts needs in a running install; prints the key to push with.

    python -m bench.alerts_plant URL DEPLOYMENTS

Run with the install's own environment: the channel's secret is encrypted with its key.
"""

import base64
import json
import os
import sys
from urllib.parse import urlsplit

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capacity.config.settings")
django.setup()

from monitoring.access import key_create, secret_encrypt  # noqa: E402
from monitoring.models import AllowedAddress, Channel, Cluster, Deployment, Rule, Scope  # noqa: E402


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    cluster, _ = Cluster.objects.get_or_create(name="bench")
    Deployment.objects.bulk_create(
        Deployment(cluster=cluster, namespace="prod", workload=f"model-{number}", model_name=f"model-{number}", name=f"model-{number}")
        for number in range(count)
    )
    AllowedAddress.objects.get_or_create(network="127.0.0.1/32", port=urlsplit(url).port, defaults={"reason": "the bench"})
    signing = "whsec_" + base64.b64encode(b"bench-bench-bench-bench-bench-32").decode()
    secret = secret_encrypt(json.dumps({"url": url, "signing": [signing]}))
    Channel.objects.create(name="bench", kind="webhook", secret=secret, group_wait_seconds=0)
    Rule.objects.create(
        name="bench-hot",
        entity="accelerator",
        signal="temperature_celsius",
        threshold=90.0,
        window_seconds=60,
        for_seconds=0,
        keep_firing_seconds=86400,
        summary="An accelerator is hot",
    )
    _, text = key_create("bench", scope=Scope.INGEST, created_by=None, cluster=cluster)
    print(text)


if __name__ == "__main__":
    main()
