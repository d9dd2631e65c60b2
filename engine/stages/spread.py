"""Work on several items at once by threads that never keep the process from ending."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

Given = TypeVar("Given")
Hand = TypeVar("Hand")
Made = TypeVar("Made")


def spread(work: Callable[[Given, Hand], Made], items: Sequence[Given], hands: Sequence[Hand]) -> list[Made]:
    """`work` on every item, each hand on one at a time; results in the order of the items.

    The first error begins no further item; what runs by then is waited for, and the error raised. An interruption of
    the calling thread is raised at once: the threads are daemons and are left behind.
    """
    waiting, made, errors = deque(enumerate(items)), dict[int, Made](), list[BaseException]()

    def run(hand: Hand) -> None:
        while waiting and not errors:
            try:
                place, item = waiting.popleft()
            except IndexError:  # another hand took the last one
                return
            try:
                made[place] = work(item, hand)
            except BaseException as error:  # handed to the calling thread, which raises it
                errors.append(error)

    threads = [threading.Thread(target=run, args=(hand,), name="prepare", daemon=True) for hand in hands[: len(items)]]
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
