"""Encoded sources that stay between steps: what a batch of episodes stands on, each on a sentence of its own.

Episodes begin and end at different times. A bank encodes the sources that it does not hold in one batch and keeps them
in rows of one Memory, so that a step copies no memory. It decides no bit: a source is encoded the same anywhere.

>>> import numpy as np
>>> from sysgym.text.catalogue import load_model
>>> model = load_model("translit")
>>> bank = MemoryBank(model)
>>> bank.rows([model.read(model.ids(name)) for name in ("آزا", "آب", "آزا")]).tolist()
[0, 1, 0]
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.model import TextModel
from sysgym.text.models.interface import Memory

CAPACITY = 256  # sources that are kept, more if one call needs more


class MemoryBank:
    """A Memory with the sources that were asked for last."""

    def __init__(self, model: TextModel, capacity: int = CAPACITY) -> None:
        self.model, self.capacity = model, max(1, capacity)
        self.places: OrderedDict[bytes, int] = OrderedDict()  # by content, those asked for last at the end
        self._memory: Memory | None = None

    def __reduce__(self) -> tuple[type[MemoryBank], tuple[TextModel, int]]:
        """A copy starts empty."""
        return MemoryBank, (self.model, self.capacity)

    @property
    def memory(self) -> Memory:
        """What `step` reads; rows that `rows` did not name last may hold anything."""
        assert self._memory is not None, "no source has been asked for"
        return self._memory

    def rows(self, sources: Sequence[Array]) -> Array:
        """The rows (N,) int64 of sources as the network reads them (`model.read`); new ones are encoded together.

        Rows of earlier calls hold until they are needed for others: ask again at every step.
        """
        keys = [np.asarray(source, dtype=np.int64).tobytes() for source in sources]
        new = {key: source for key, source in zip(keys, sources, strict=True) if key not in self.places}
        for key in keys:
            if key in self.places:
                self.places.move_to_end(key)
        if new:
            self._put(list(new), self.model.network.encode(list(new.values())), len(set(keys)))
        return np.array([self.places[key] for key in keys], dtype=np.int64)

    def _put(self, keys: list[bytes], fresh: Memory, needed: int) -> None:
        """Give each new source a row: one that is free, or that of the source not asked for longest."""
        self.capacity = max(self.capacity, needed)
        free = self.capacity - len(self.places)
        rows = list(range(len(self.places), min(self.capacity, len(self.places) + len(keys))))
        rows += [self.places.popitem(last=False)[1] for _ in range(len(keys) - free)]
        old = self._memory or fresh.take(np.zeros(0, dtype=np.int64))
        longest = max(old.keys.shape[2], fresh.keys.shape[2])
        if len(old.lengths) <= max(rows) or longest > old.keys.shape[2]:
            count = len(old.lengths) if len(old.lengths) > max(rows) else min(self.capacity, 2 * (max(rows) + 1))
            old = _grown(old, count, longest)
        at = np.array(rows)
        old.lengths[at], old.hidden[at] = fresh.lengths, fresh.hidden
        old.keys[at, :, : fresh.keys.shape[2]], old.values[at, : fresh.values.shape[1]] = fresh.keys, fresh.values
        self._memory = old
        self.places.update(zip(keys, rows, strict=True))


def _grown(old: Memory, count: int, longest: int) -> Memory:
    """The same memory with room for more rows and longer sources; a row that holds none has the length 1."""
    more = count - len(old.lengths)
    wider = longest - old.keys.shape[2]
    return Memory(
        np.pad(old.lengths, (0, more), constant_values=1),
        np.pad(old.keys, ((0, more), (0, 0), (0, wider))),
        np.pad(old.values, ((0, more), (0, wider), (0, 0))),
        np.pad(old.hidden, ((0, more), (0, 0))),
    )
