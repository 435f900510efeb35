"""What counts as one address."""

from ipaddress import IPv6Address, IPv6Network, ip_address

_OF_ONE_CUSTOMER = 64
"""Bits: whoever has an IPv6 connection has all addresses below (RFC 6177)."""


def counted_as(client: str) -> str:
    """Under which name the attempts of a client are counted."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, _OF_ONE_CUSTOMER), strict=False))
