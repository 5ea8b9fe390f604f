"""Sockets between machines, as far as one machine shows them; `tests/cli/test_many_machines.py` has two."""

import socket
from contextlib import contextmanager

import psutil
import pytest

from ssdet_cli.engine import network


@contextmanager
def connected(host):
    with network.listen() as server, socket.create_connection((host, server.getsockname()[1])) as here:
        there, _ = server.accept()
        with there:
            yield here, there


def loopback():
    return next(
        name for name, entries in psutil.net_if_addrs().items() if any(each.address == "127.0.0.1" for each in entries)
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_ranks_on_one_machine_need_no_card(host):
    with connected(host) as (here, there):
        assert network.own_end(here) is None
        assert network.own_end(there) is None  # an IPv6 socket, where there are such


def test_what_is_closed_has_no_address():
    with connected("127.0.0.1") as (here, _):
        here.close()
        assert network.own_end(here) is None


def test_the_card_of_an_address():
    assert network.card_of("127.0.0.1") == loopback()
    assert network.card_of("203.0.113.7") is None  # kept for documents, nobody's


@pytest.mark.parametrize(
    ("address", "before", "after"),
    [
        ("127.0.0.1", None, "the loopback"),
        ("127.0.0.1", "mine", "mine"),  # the user's choice stays
        ("203.0.113.7", None, None),
        (None, None, None),
    ],
)
def test_gloo_is_told_the_card(monkeypatch, address, before, after):
    monkeypatch.setenv(network.GLOO_CARD, before or "")
    network.name_card(address)
    wanted = loopback() if after == "the loopback" else after or ""
    assert network.os.environ[network.GLOO_CARD] == wanted
