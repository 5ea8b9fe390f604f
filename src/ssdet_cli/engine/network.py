"""Sockets between the machines of a run: where they listen, and over which network card they reach each other."""

import contextlib
import os
import socket
from ipaddress import ip_address

#: Names the card to gloo.
GLOO_CARD = "GLOO_SOCKET_IFNAME"


def listen() -> socket.socket:
    """A socket at a free port of every address of this machine."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # a kernel without it
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    return socket.create_server(("", 0), backlog=1024)


def address_for(meeting: str) -> str:
    """Under which the others reach this machine: the meeting place's name where it is here, else the address from which
    this machine reaches the meeting place. No packet is sent for that.
    """
    family, *_, place = socket.getaddrinfo(meeting, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(place)
        own = probe.getsockname()[0]
    return meeting if own == place[0] else own


def ask_after(connection: socket.socket) -> None:
    """A machine without power closes nothing: ask for it every ten seconds, six times."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def own_end(connection: socket.socket) -> str | None:
    """This machine's address on a connection; None where the other end is on this machine, or is gone."""
    try:
        address, other = _plain(connection.getsockname()[0]), _plain(connection.getpeername()[0])
    except OSError:
        return None
    return None if address == other or ip_address(address).is_loopback else address


def card_of(address: str) -> str | None:
    """Name of the network card of this machine that has an address; None where none has it."""
    import psutil  # only runs of several machines need it

    for card, entries in psutil.net_if_addrs().items():
        if any(
            entry.family in (socket.AF_INET, socket.AF_INET6) and _plain(entry.address) == address for entry in entries
        ):
            return card
    return None


def name_card(address: str | None) -> None:
    """Let gloo use the card of an address, unless the user has named one.

    By itself it takes what this machine's own name stands for. On many machines, Debian's among them, that is the
    loopback, which no other machine reaches.

    Args:
        address: By which this machine reaches the others; None where all ranks are on it.
    """
    if address is not None and not os.environ.get(GLOO_CARD) and (card := card_of(address)) is not None:
        os.environ[GLOO_CARD] = card


def _plain(address: str) -> str:
    """Without the form of an IPv4 address on an IPv6 socket, and without the zone of a link."""
    return address.partition("%")[0].removeprefix("::ffff:")
