"""Which offset of a partition may be committed when records end in any order. Pure."""

from __future__ import annotations

from collections import deque


class OffsetTracker:
    """Records of one partition that are being worked on. What is committed is the first that is not done."""

    def __init__(self, start: int) -> None:
        self._next = start
        self._open: deque[int] = deque()
        """Offsets taken, ascending; those done at the head are dropped."""
        self._done: set[int] = set()

    def take(self, offset: int) -> None:
        """Work on this record has begun. Offsets ascend; a gap (an aborted or compacted record) is passed over."""
        if offset >= self._next:
            self._open.append(offset)
            self._next = offset + 1

    def done(self, offset: int) -> None:
        """What the record asked for is acknowledged. Twice, or of a record that was never taken, changes nothing."""
        if not self._open or offset < self._open[0]:
            return
        self._done.add(offset)
        while self._open and self._open[0] in self._done:
            self._done.discard(self._open.popleft())

    @property
    def committable(self) -> int:
        """The offset to commit: everything before it is done."""
        return self._open[0] if self._open else self._next

    @property
    def pending(self) -> int:
        """Records taken and not done."""
        return len(self._open) - len(self._done)
