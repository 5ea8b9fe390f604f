"""Reading ahead in a thread, and ceasing to wait for what may never come."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")

#: Seconds between two looks at whether to go on.
_LOOK = 0.1
#: Seconds that a reader which has been told to leave is waited for; one that hangs in a read is left behind.
_PATIENCE = 2.0


def ahead(items: Generator[Item, None, None], size: int, stopped: Callable[[], bool] = lambda: False) -> Iterator[Item]:
    """Yield what a generator yields, which runs in a thread of its own and at most `size` items ahead.

    Args:
        items: Runs, ends and is closed in that thread.
        size: Items that may wait.
        stopped: Asked all the time, also while no item comes; what waits then is dropped.

    Raises:
        Exception: Whatever `items` raises.
    """
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(size)
    leave = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not leave.is_set():
            try:
                waiting.put((kind, value), timeout=_LOOK)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put("item", item)
                if leave.is_set():
                    break
            put("end", None)
        except BaseException as error:
            put("error", error)
        finally:
            items.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while not stopped():
            try:
                kind, value = waiting.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        leave.set()
        thread.join(_PATIENCE)


def in_thread(work: Callable[[], Item]) -> Item:
    """Return `work()`, done in a thread so that Ctrl-C is answered while it waits for another machine.

    Raises:
        Exception: Whatever `work` raises.
    """

    def once() -> Generator[Item, None, None]:
        yield work()

    return next(iter(ahead(once(), 1)))
