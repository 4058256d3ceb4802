"""From a source's row to its client: secrets opened, allowed addresses looked up."""

from django.conf import settings

from monitoring.access.secrets import secret_decrypt
from monitoring.http import Allowed
from monitoring.models import AllowedAddress, Auth, Source
from monitoring.prometheus import Prometheus

LOOPBACK = (Allowed("127.0.0.0/8"), Allowed("::1/128"))


def allowed_addresses() -> list[Allowed]:
    """What admins allowed; under `make up` this machine's own default ports too."""
    rows = AllowedAddress.objects.order_by("pk").values_list("network", "port")
    return [*(LOOPBACK if settings.ALLOW_LOOPBACK else ()), *(Allowed(network, port) for network, port in rows)]


def client_of(source: Source) -> Prometheus:
    secret = secret_decrypt(source.secret)
    return Prometheus(
        url=source.url,
        allowed=allowed_addresses(),
        selector=source.selector,
        username=source.username if source.auth == Auth.BASIC else "",
        password=secret if source.auth == Auth.BASIC else "",
        bearer=secret if source.auth == Auth.BEARER else "",
        headers={source.header_name: secret} if source.auth == Auth.HEADER else {},
        tls_ca=source.tls_ca,
    )
