"""The allow list of private addresses: an admin may add one address and port, metadata addresses never."""

from ipaddress import ip_address

from monitoring.http.addresses import address_block
from monitoring.models import AllowedAddress, User


class NeverAllowed(Exception):
    """The address can stand on no list; the text says why."""


def address_allow(address: str, *, port: int, by: User | None) -> tuple[AllowedAddress, bool]:
    """The entry, and whether it is new."""
    block = address_block(address, port, allowed=())
    if block is not None and not block.allowable:
        raise NeverAllowed(f"{address} is never called: {block.reason}.")
    network = f"{address}/{ip_address(address).max_prefixlen}"
    return AllowedAddress.objects.get_or_create(network=network, port=port, defaults={"reason": "allowed in Test", "allowed_by": by})
