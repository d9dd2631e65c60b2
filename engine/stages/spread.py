"""Process items in parallel with daemon threads, which never block process exit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

Given = TypeVar("Given")
Hand = TypeVar("Hand")
Made = TypeVar("Made")


def spread(work: Callable[[Given, Hand], Made], items: Sequence[Given], hands: Sequence[Hand]) -> list[Made]:
    """Apply `work` to every item and return the results in the order of the items.

    Each element of `hands` (for example an executor) has its own thread and handles one item at a time. After the first
    error, no further item starts; running items finish, then the error is raised. An interrupt of the calling thread is
    raised at once, and the daemon threads are abandoned.
    """
    waiting, made, errors = deque(enumerate(items)), dict[int, Made](), list[BaseException]()

    def run(hand: Hand) -> None:
        while waiting and not errors:
            try:
                place, item = waiting.popleft()
            except IndexError:  # another thread took the last item
                return
            try:
                made[place] = work(item, hand)
            except BaseException as error:  # raised in the calling thread
                errors.append(error)

    threads = [threading.Thread(target=run, args=(hand,), name="spread", daemon=True) for hand in hands[: len(items)]]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        waiting.clear()
    if errors:
        raise errors[0]
    return [made[place] for place in range(len(items))]
