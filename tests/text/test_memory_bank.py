"""The bank of encoded sources: rows as if encoded alone, whatever came before, and no more than asked for."""

from __future__ import annotations

import copy
import pickle

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.memory_bank import MemoryBank
from sysgym.text.model import TextModel


def test_a_bank_changes_no_bit(every: TextModel, sentences: list[Array]) -> None:
    """Sources come and go at random, more than the bank holds; every step is as it is with a fresh memory."""
    bank, rng = MemoryBank(every, capacity=5), np.random.default_rng(0)
    read = [every.read(source) for source in sentences]
    for count in (1, 3, 5, 2, 8, 4, 8, 12, 3):
        chosen = rng.integers(len(read), size=count)
        rows = bank.rows([read[i] for i in chosen])
        assert len(set(rows)) == len(set(chosen)) and len(bank.places) <= bank.capacity
        tokens = rng.integers(3, 11, size=count)
        found = every.network.step(bank.memory, every.network.start(bank.memory, rows), tokens)
        memory = every.network.encode([read[i] for i in chosen])
        expected = every.network.step(memory, every.network.start(memory), tokens)
        assert np.array_equal(found[0], expected[0])
        long = memory.keys.shape[2]
        assert np.array_equal(found[1][:, :long], expected[1]) and not found[1][:, long:].any()


def test_a_bank_encodes_each_source_once_and_all_new_ones_together(every: TextModel, sentences: list[Array]) -> None:
    calls, plain = list[int](), every.network.encode

    def counted(sources: list[Array]) -> object:
        calls.append(len(sources))
        return plain(sources)

    every.network.encode = counted  # type: ignore[assignment, method-assign]
    bank = MemoryBank(every)
    first = bank.rows(sentences[:4])
    assert np.array_equal(bank.rows(sentences[:4][::-1]), first[::-1])
    bank.rows([*sentences[2:7], sentences[6]])
    assert calls == [4, 3]
    found = pickle.loads(pickle.dumps(bank))
    assert not found.places and found.model.hash == every.hash and copy.deepcopy(bank).model is every
