import socket
import time

import pytest

from ssdet_cli.engine.lifeline import Lifeline
from ssdet_cli.errors import RankLost


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
            time.sleep(30)
        assert (lost.value.exit_code, lost.value.speaks) == (2, False)
    finally:
        main.release()
        other.release()
