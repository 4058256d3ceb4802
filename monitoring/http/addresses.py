"""Which addresses Headroom may call: public ones on web ports, others only where an admin allowed them."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_PORTS = frozenset({80, 443}) | frozenset(range(8080, 10000))


@dataclass(frozen=True)
class Allowed:
    """A network (CIDR) an admin allowed; port None means each of the default ports."""

    network: str
    port: int | None = None


@dataclass(frozen=True)
class Block:
    """Why an address or port is refused."""

    reason: str
    allowable: bool


# Never allowable, whatever an admin says. Cloud metadata first: one request there gives away the host's credentials.
NEVER: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("169.254.0.0/16", "a link-local address, where clouds keep their metadata"),
        ("168.63.129.16/32", "the metadata address of Azure"),
        ("100.100.100.200/32", "the metadata address of Alibaba Cloud"),
        ("fd00:ec2::/32", "a metadata address of AWS"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address, long withdrawn"),
        ("0.0.0.0/8", "not an address of a host"),
        ("192.0.0.0/24", "an address reserved for protocols"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
        ("ff00::/8", "a multicast address"),
        ("64:ff9b::/96", "a translated IPv4 address (NAT64)"),
        ("64:ff9b:1::/48", "a translated IPv4 address (NAT64)"),
        ("2002::/16", "a tunnelled IPv4 address (6to4)"),
        ("2001::/32", "a tunnelled IPv4 address (Teredo)"),
    )
)
LOOPBACK_6 = IPv6Address("::1")
COMPATIBLE = IPv6Network("::/96")  # IPv4 inside IPv6, withdrawn; ::1 and :: lie in it too
CARRIER = IPv4Network("100.64.0.0/10")  # is_private says no, is_global says no


def unwrap(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped one; the system connects to that."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def inside(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network


def never_reason(address: Address) -> str | None:
    for network, reason in NEVER:
        if inside(address, network):
            return reason
    if isinstance(address, IPv6Address) and address in COMPATIBLE and address != LOOPBACK_6:
        return "an IPv4 address written as IPv6"
    return None


def private_reason(address: Address) -> str | None:
    """Why an address is not public, in words; None where it is."""
    if address.is_loopback:
        return "it is this machine itself (loopback)"
    if isinstance(address, IPv4Address) and address in CARRIER:
        return "it is a shared address of a carrier (100.64.0.0/10)"
    if address.is_private:
        return "it is a private address"
    return None if address.is_global else "it is not a public address"


def is_allowed(address: Address, port: int, allowed: Sequence[Allowed]) -> bool:
    """True where a pair of the list covers address and port."""
    return any(
        inside(address, unwrap_network(ip_network(pair.network, strict=False)))
        and (port in DEFAULT_PORTS if pair.port is None else port == pair.port)
        for pair in allowed
    )


def unwrap_network(network: Network) -> Network:
    """An allowed IPv4-mapped network as the IPv4 network it means."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return IPv4Network((mapped, max(0, network.prefixlen - 96))) if mapped else network


def address_block(text: str, port: int, *, allowed: Sequence[Allowed]) -> Block | None:
    """Why this address and port must not be called, or None where it may."""
    address = unwrap(ip_address(text.split("%")[0]))
    never = never_reason(address)
    if never:
        return Block(f"it is {never}", allowable=False)
    if is_allowed(address, port, allowed):
        return None
    private = private_reason(address)
    if private:
        return Block(private, allowable=True)
    if port not in DEFAULT_PORTS:
        return Block("ports other than 80, 443 and 8080 to 9999 are closed", allowable=True)
    return None
