import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from ssdet_cli.engine.lifeline import Lifeline
from ssdet_cli.errors import RankLost


def be_interrupted():
    for _ in range(600):  # a signal just before a single long sleep would not end it
        time.sleep(0.05)


def test_a_stranger_is_turned_away_and_the_failure_of_a_rank_interrupts_the_other():
    other, main = Lifeline(1), Lifeline(0)  # signals go to the one that came last
    try:
        place = main.serve(2, "localhost")
        assert place[0] == "localhost"  # where the ranks meet is here
        with socket.create_connection(place[:2]) as stranger:
            stranger.sendall(b'{"word": "a guess", "rank": 1, "where": ""}\n')
            assert stranger.recv(1) == b""
        other.reach(*place)
        with pytest.raises(RankLost, match="clip 7 is no video") as lost:
            other.fail("clip 7 is no video.", 2)
            be_interrupted()
        assert (lost.value.exit_code, lost.value.speaks) == (2, False)
    finally:
        main.release()
        other.release()


@contextmanager
def reached(play):
    """The line of rank 1; `play` is rank 0, given the connection and the lines that come over it."""
    with socket.create_server(("localhost", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                lines.readline()  # who it is
                play(connection, lines)

        threading.Thread(target=serve, daemon=True).start()
        line = Lifeline(1)
        try:
            line.reach("localhost", server.getsockname()[1], "word", "there")
            yield line
        finally:
            line.release()


def test_the_error_of_a_rank_is_heard_where_rank_0_answers():
    with reached(lambda connection, lines: connection.sendall(lines.readline())) as line:
        assert line.fail("clip 7 is no video.", 2)


@pytest.mark.parametrize("answer", [b"", b"{}\n", b'{"rank": 0, "mess'], ids=["killed", "done", "killed in a word"])
def test_the_error_of_a_rank_is_not_heard_where_rank_0_is_gone_meanwhile(answer):
    def play(connection, lines):
        lines.readline()
        connection.sendall(answer)

    with reached(play) as line:
        assert not line.fail("clip 7 is no video.", 2)


def test_the_error_of_a_rank_is_not_heard_where_rank_0_was_killed_before():
    gone = threading.Event()
    with reached(lambda connection, lines: gone.wait(30)) as line:
        with pytest.raises(RankLost, match="rank 0 .* was killed"):
            gone.set()
            be_interrupted()
        assert not line.fail("clip 7 is no video.", 2)


def test_rank_0_that_fails_waits_for_a_rank_that_is_just_connecting():
    other, main = Lifeline(1), Lifeline(0)
    try:
        place = main.serve(2, "localhost")
        failed = threading.Thread(target=main.fail, args=("clip 7 is no video.", 2))
        failed.start()
        time.sleep(0.3)
        assert failed.is_alive()
        other._leaving = True  # as where its own error is on the way
        other.reach(*place)
        failed.join(2)
        assert not failed.is_alive() and other.fail("clip 7 is no video.", 2)
    finally:
        main.release()
        other.release()


def test_rank_0_that_has_told_an_earlier_end_has_heard():
    said = {"rank": 0, "message": "the disk is full.", "code": 1, "where": ""}
    told = threading.Event()

    def play(connection, lines):
        told.wait(30)
        connection.sendall(json.dumps(said).encode() + b"\n")

    with reached(play) as line:
        with pytest.raises(RankLost, match="the disk is full"):
            told.set()
            be_interrupted()
        assert line.fail("clip 7 is no video.", 2)
