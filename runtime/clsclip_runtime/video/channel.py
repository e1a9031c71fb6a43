"""A bounded queue between two threads that can be closed from either side."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Channel(Generic[Item]):
    """At most ``capacity`` items wait; whoever puts more waits, or with ``newest_wins`` throws away the oldest.

    Attributes:
        dropped: items that were thrown away for newer ones.
    """

    def __init__(self, capacity: int, *, newest_wins: bool = False) -> None:
        """An open channel."""
        self._capacity = capacity
        self._newest_wins = newest_wins
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, item: Item) -> bool:
        """Add an item; False if the channel is closed and nobody will take it."""
        with self._changed:
            while len(self._items) >= self._capacity and not self._closed:
                if self._newest_wins:
                    self._items.popleft()
                    self.dropped += 1
                else:
                    self._changed.wait()
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self, most: int = 1) -> list[Item]:
        """The oldest items: ``most`` of them, and fewer only at the end or where the newest wins; none at the end.

        ``most`` above the capacity is the capacity.
        """
        wanted = 1 if self._newest_wins else min(most, self._capacity)
        with self._changed:
            while len(self._items) < wanted and not self._closed:
                self._changed.wait()
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._changed.notify_all()
            return taken

    def close(self, *, discard: bool = False) -> None:
        """Take no more items; those that wait can still be taken unless they are to be discarded."""
        with self._changed:
            self._closed = True
            if discard:
                self._items.clear()
            self._changed.notify_all()
