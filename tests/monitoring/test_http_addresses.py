"""Which addresses the guard lets through."""

import pytest

from monitoring.http import Allowed, address_block

NEVER = (
    "169.254.169.254",  # AWS, GCP, Azure, OpenStack
    "169.254.170.2",  # AWS containers
    "168.63.129.16",  # Azure
    "100.100.100.200",  # Alibaba Cloud
    "fd00:ec2::254",  # AWS by IPv6
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "0.0.0.0",
    "0.1.2.3",
    "192.0.0.192",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "ff02::1",
    "::",
    "::127.0.0.1",
    "::10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378::1",
    "::ffff:169.254.169.254",
    "::ffff:168.63.129.16",
    "::ffff:0.0.0.0",
)
PRIVATE = (
    "127.0.0.1",
    "127.8.9.1",
    "::1",
    "10.0.0.5",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.254",
    "198.18.0.1",
    "192.0.2.1",
    "fc00::1",
    "fd12:3456::1",
    "2001:db8::1",
    "::ffff:10.0.0.5",
    "::ffff:127.0.0.1",
)
PUBLIC = ("1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8")


@pytest.mark.parametrize("address", NEVER)
def test_no_admin_can_allow_it(address: str) -> None:
    everything = (Allowed("0.0.0.0/0"), Allowed("::/0"), Allowed("0.0.0.0/0", 9090), Allowed("::/0", 9090))
    block = address_block(address, 9090, allowed=everything)
    assert block is not None
    assert not block.allowable


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_inside_is_closed_until_allowed(address: str) -> None:
    block = address_block(address, 9090, allowed=())
    assert block is not None
    assert block.allowable
    assert address_block(address, 9090, allowed=(Allowed(f"{address.split('%')[0]}", 9090),)) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_open_on_web_ports(address: str) -> None:
    for port in (80, 443, 8080, 9090, 9999):
        assert address_block(address, port, allowed=()) is None


@pytest.mark.parametrize("port", [22, 25, 81, 3306, 5432, 6379, 8079, 10000, 65535])
def test_another_port_is_closed_even_on_a_public_address(port: int) -> None:
    block = address_block("8.8.8.8", port, allowed=())
    assert block is not None
    assert block.allowable
    assert address_block("8.8.8.8", port, allowed=(Allowed("8.8.8.8/32", port),)) is None


def test_a_pair_without_a_port_opens_the_usual_ports_only() -> None:
    pair = (Allowed("10.0.0.0/8"),)
    assert address_block("10.1.2.3", 9090, allowed=pair) is None
    assert address_block("10.1.2.3", 5432, allowed=pair) is not None


def test_a_pair_opens_its_own_port_and_network_only() -> None:
    pair = (Allowed("10.0.0.0/24", 9090),)
    assert address_block("10.0.0.7", 9090, allowed=pair) is None
    assert address_block("10.0.0.7", 8080, allowed=pair) is not None
    assert address_block("10.0.1.7", 9090, allowed=pair) is not None
    assert address_block("::ffff:10.0.0.7", 9090, allowed=pair) is None


def test_a_pair_written_as_mapped_ipv6_opens_the_ipv4_network() -> None:
    assert address_block("10.0.0.7", 9090, allowed=(Allowed("::ffff:10.0.0.0/120", 9090),)) is None
    assert address_block("10.0.1.7", 9090, allowed=(Allowed("::ffff:10.0.0.0/120", 9090),)) is not None
