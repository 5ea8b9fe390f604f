"""A line between every rank and rank 0, by which all of them hear at once that one has failed or was killed.

A collective whose partner is gone may wait for hours, and then tells of its own trouble. Here every rank holds a TCP
connection to rank 0 open. A rank that fails says why; of one that is killed the system closes the connection, whatever
killed it. Either way the others leave what they are doing within moments, and tell that rank's error.

What is said are lines of JSON; a new connection first says a word that only the ranks of this run know.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch.distributed as dist

from ssdet_cli.engine import network
from ssdet_cli.errors import BY_SRUN, RankLost, SsdetError
from ssdet_cli.telling import tell_error

#: Seconds that a rank has to leave by itself once it hears of another's end, or after its own; what waits in a
#: collective for a rank that is gone never does.
GRACE = 5.0
#: Seconds to wait for news when a collective breaks: the line is as fast as the collective.
_NEWS = 3.0
#: Seconds that ranks may start apart.
_LATE = 600.0
#: Interrupts the main thread; nothing else uses it.
_SIGNAL = getattr(signal, "SIGUSR2", None)


def told_by_rank_0() -> bool:
    """Whether rank 0 says what ends any rank: where the processes were started by `srun`, which shows what all say.

    Else whoever started them says the first error, or each says its own.
    """
    return BY_SRUN in os.environ


@dataclass(frozen=True)
class News:
    """A rank's end.

    Attributes:
        rank: Which.
        message: Its error; None where it could not say anything.
        code: Its exit code.
        where: Host and process.
    """

    rank: int
    message: str | None = None
    code: int = 1
    where: str = ""

    def error(self, here: int) -> RankLost:
        """The error of rank `here` that follows."""
        if self.message is not None:
            return RankLost(self.message, self.code, speaks=here == 0 and told_by_rank_0())
        where = f" ({self.where})" if self.where else ""
        text = f"rank {self.rank}{where} was killed; its machine may be out of memory, or out of reach."
        return RankLost(text, self.code, speaks=here == int(self.rank == 0))


class Lifeline:
    """This rank's end of the line.

    Args:
        rank: This rank.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._peers: dict[int, socket.socket] = {}
        self._news: News | None = None
        self._heard, self._answered, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._complete = threading.Event()
        self._leaving = self._over = self._alone = False
        self._before: Any = None
        if _SIGNAL is not None and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(_SIGNAL, self._interrupt)

    def serve(self, world_size: int, meeting: str) -> tuple[str, int, str, str]:
        """As rank 0: take the others' connections; returns address, port, word and place, for `reach`."""
        server, word = network.listen(), secrets.token_hex(16)
        threading.Thread(target=self._accept, args=(server, word, world_size), daemon=True).start()
        return network.address_for(meeting), server.getsockname()[1], word, _here()

    def reach(self, host: str, port: int, word: str, where: str) -> None:
        """As another rank: connect with rank 0.

        Raises:
            SsdetError: It cannot be reached.
        """
        try:
            connection = socket.create_connection((host, port), timeout=60)
        except OSError as error:
            raise SsdetError(f"rank {self.rank} cannot reach rank 0 ({where}) at {host}:{port}: {error}.") from error
        hello = {"word": word, "rank": self.rank, "where": _here()}
        connection.sendall(json.dumps(hello).encode() + b"\n")
        self._hold(0, connection, where)

    def address(self) -> str | None:
        """This machine's address among the ranks; None where all that this rank is connected with are on it."""
        if self.rank == 0:
            self._complete.wait(_LATE)
        with self._lock:
            return next(filter(None, map(network.own_end, self._peers.values())), None)

    def _accept(self, server: socket.socket, word: str, world_size: int) -> None:
        with server:
            server.settimeout(_LATE)
            while len(self._peers) < world_size - 1:
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    missing = min(set(range(1, world_size)) - set(self._peers))
                    self._take(News(missing, f"rank {missing} has not started within {_LATE / 60:.0f} minutes."))
                    return
                hello = _hello(connection)
                if hello.get("word") == word:
                    self._hold(hello["rank"], connection, hello["where"])
                else:  # somebody else's
                    connection.close()
        self._complete.set()

    def _hold(self, peer: int, connection: socket.socket, where: str) -> None:
        connection.settimeout(None)
        network.ask_after(connection)
        with self._lock:
            self._peers[peer] = connection
            if self._news is not None:  # it comes too late
                _send(connection, vars(self._news))
        threading.Thread(target=self._listen, args=(peer, connection, where), daemon=True).start()

    def _listen(self, peer: int, connection: socket.socket, where: str) -> None:
        line = b""
        with contextlib.suppress(OSError), connection.makefile("rb") as lines:
            line = lines.readline()
        whole = line.endswith(b"\n")
        said = json.loads(line) if whole else vars(News(peer, where=where))
        if peer == 0:
            self._alone = not whole or not said
            self._answered.set()
        if said:  # nothing is said by a rank that is done
            self._take(News(**said))

    def _take(self, news: News) -> None:
        if not self._spread(news) or self._leaving:
            return
        if self._before is not None:
            signal.pthread_kill(threading.main_thread().ident, _SIGNAL)
        self._end_within_grace(news.error(self.rank))

    def _spread(self, news: News) -> bool:
        """Keep the first news there are and let the others know; False where there are some already."""
        with self._lock:
            if self._news is not None:
                return False
            self._news = news
            self._heard.set()
            for connection in self._peers.values():
                _send(connection, vars(news))
        return True

    def _interrupt(self, _: int, __: FrameType | None) -> None:
        """Leave Python code by an exception; what waits in C is not left, and ended after the grace.

        Where a collective broke before the news came, or this rank has an error of its own, that is on its way already.
        """
        now = sys.exception()
        unwinding = isinstance(now, SsdetError | KeyboardInterrupt) or _is_of_a_collective(now)
        if self._news is not None and not self._leaving and not unwinding:
            self._leaving = True
            raise self._news.error(self.rank)

    def _end_within_grace(self, error: RankLost) -> None:
        def end() -> None:
            if not self._over:
                os._exit(tell_error(error))

        _in(GRACE, end)

    def end_anyway(self, code: int) -> None:
        """End this process after the grace, whatever it does: its error is told by then."""
        _in(GRACE, lambda: os._exit(code))

    def why(self, error: BaseException) -> RankLost | None:
        """The end of another rank that an error here comes from; None where the error is this rank's own."""
        self._leaving = True
        if isinstance(error, RankLost):
            return error
        if _is_of_a_collective(error):
            self._heard.wait(_NEWS)
            return self._news.error(self.rank) if self._news is not None else None
        return None

    def fail(self, message: str, code: int) -> bool:
        """Tell the others that this rank ends, and why; returns whether rank 0 has heard of that or of an earlier end.

        It says again whatever news it hears, and its own; one that is done or was killed says none. Rank 0 waits a
        moment for ranks that are just connecting: to them it would look as if it had been killed.
        """
        self._leaving = True
        self._spread(News(self.rank, message, code, _here()))
        if self.rank == 0:
            self._complete.wait(_NEWS)
            return True
        return self._answered.wait(_NEWS) and not self._alone

    def close(self) -> None:
        """Leave without news: this rank is done, or all leave together."""
        self._leaving = True
        with self._lock:
            for connection in self._peers.values():
                _send(connection, {})

    def release(self) -> None:
        """Give the signal back."""
        self._over = True
        if self._before is not None:
            signal.signal(_SIGNAL, self._before)


def _in(seconds: float, act: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


def _is_of_a_collective(error: BaseException | None) -> bool:
    """Whether an error comes out of the communication with other ranks; of gloo it is no class of its own."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in ("gloo", "NCCL", "TCPStore"))
    )


def _hello(connection: socket.socket) -> dict[str, Any]:
    """The first line, which must not take more than what follows; empty where it is none."""
    connection.settimeout(10)
    line = b""
    with contextlib.suppress(OSError, ValueError):
        while not line.endswith(b"\n") and len(line) < 4096 and (part := connection.recv(1)):
            line += part
        said = json.loads(line)
        return said if isinstance(said, dict) else {}
    return {}


def _send(connection: socket.socket, said: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # it is gone, which `_listen` tells
        connection.sendall(json.dumps(said).encode() + b"\n")


def _here() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


#: Rank 0's value, given to every rank.
Exchange = Callable[[Any], Any]


def open_line(rank: int, world_size: int, meeting: str, exchange: Exchange) -> Lifeline:
    """Connect all ranks with rank 0.

    Args:
        rank: This rank.
        world_size: Number of ranks.
        meeting: Host that all can reach, and on which rank 0 may be or not.
        exchange: Gives rank 0's value to all.

    Raises:
        SsdetError: Rank 0 cannot be reached.
    """
    line = Lifeline(rank)
    place = exchange(line.serve(world_size, meeting) if rank == 0 else None)
    if rank != 0:
        line.reach(*place)
    return line
