"""`sysgym bench decoding`: steps of episodes in which text is written, against the network's own forward passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from sysgym import make_problem
from sysgym.text.catalogue import is_here, load_model
from sysgym.text.hypotheses import Hypotheses
from sysgym.text.memory_bank import MemoryBank
from sysgym.text.model import TextModel
from sysgym.text.search import Beam, beam_search, greedy
from sysgym_zoo.jobs.measuring import LEAST, Measured, left_out, median, row

PACKAGED, PUBLIC = ("translit", "ar2en/train"), ("multi30k", "multi30k/train")
EARLY, LATE, WINDOW = 5, 45, 5  # positions whose steps are compared


def steps(model: str, instances: str, count: int, num_envs: int, form: str = "dynamic") -> Measured:
    """CPU seconds of a step of one of many environments that always take the most probable token, resets counted."""
    env: Any = gym.make_vec(
        "sysgym/NMTDecoding-v0", num_envs=num_envs, vectorization_mode="vector_entry_point", model=model,
        instances=instances, obs=form,
    ).unwrapped  # fmt: skip
    env.reset(seed=0)
    actions, spent = np.zeros(num_envs, np.int64), []
    for _ in range(20):
        env.step(actions)
    for _ in range(LEAST):
        started = time.process_time()
        for _ in range(count):
            env.step(actions)
        spent.append((time.process_time() - started) / count / num_envs)
    return median(spent)


def sources_of(model: TextModel, instances: str, count: int) -> list[Any]:
    """Token ids of the first sentences of a split, again and again."""
    problem = make_problem("NMTDecoding")
    group, _, split = instances.partition("/")
    names = problem.instance_sets()[group].names(split)[:count]
    found = [model.ids(line) for name in names for line in problem.load(name).sources]
    return [found[i % len(found)] for i in range(count)]


def forward(model: TextModel, sources: list[Any], first: int, count: int) -> float:
    """CPU seconds of a step of the network for one of many hypotheses, at positions from `first` on."""
    bank = MemoryBank(model, len(sources))
    rows = bank.rows([model.read(source) for source in sources])
    state, tokens = model.network.start(bank.memory, rows), np.full(len(sources), model.special.begin)
    spent = 0.0
    for position in range(first + count):
        started = time.process_time()
        logp, _, state = model.network.step(bank.memory, state, tokens)
        if position >= first:
            spent += time.process_time() - started
        logp[:, model.special.end] = -np.inf
        tokens = logp.argmax(axis=1)
    return spent / count / len(sources)


def decoding(model: TextModel, sources: list[Any]) -> list[dict[str, Any]]:
    """Whole sentences by greedy and by beam search."""
    searches: dict[str, Callable[[], Hypotheses]] = {
        "greedy": lambda: greedy(model, sources), "beam 5": lambda: beam_search(model, sources, Beam(width=5)),
    }  # fmt: skip
    found = []
    for name, search in searches.items():
        search()
        spent, tokens = [], 0
        for _ in range(LEAST):
            started = time.process_time()
            tokens = int(search().forwards.sum())
            spent.append(time.process_time() - started)
        found.append(row(f"{model.name}, {name}, {len(sources)} sentences", tokens / median(spent), "forwards/s"))
    return found


def of_model(names: tuple[str, str], count: int, num_envs: int, targets: tuple[str, str]) -> list[dict[str, Any]]:
    """Figures of one network; `targets` are of its steps, and of their share of a bare forward pass."""
    name, instances = names
    if not is_here(name):
        return [left_out(f"{name} is not on this machine")]
    model = load_model(name)
    sources = sources_of(model, instances, num_envs)
    raw = median([forward(model, sources, 0, 12) for _ in range(LEAST)])
    env = steps(name, instances, count, num_envs)
    found = [
        row(f"{name}, a network's step, {num_envs} hypotheses", 1 / raw, "steps/s"),
        row(f"{name}, token mode, {num_envs} environments", 1 / env, "steps/s", targets[0]),
        row(f"{name}, token mode / a network's step, in speed", raw / env, "x", targets[1]),
    ]
    early, late = (median([forward(model, sources, at, WINDOW) for _ in range(LEAST)]) for at in (EARLY, LATE))
    about = f"{name}, a step at position {LATE} / at {EARLY}"
    return [*found, row(about, late / early, "x", "<= 1.2"), *decoding(model, sources)]


def segments(count: int) -> list[dict[str, Any]]:
    """Candidate sets of conversation: the first segments of messages, drawn and scored under 15 messages each."""
    problem = make_problem("ResponseDecoding")
    instances, spent = [problem.load(f"selfdialogue/train-{i}") for i in range(count + 1)], list[float]()
    for instance in instances:
        state = problem.dynamics.start(instance, np.random.default_rng(0))
        started = time.process_time()
        problem.dynamics.offers(instance, state)
        spent.append(time.process_time() - started)
    return [row("dialogue, candidate sets of 8 segments", 1 / median(spent[1:]), "sets/s")]


def rows(quick: bool) -> list[dict[str, Any]]:
    """Figures of decoding."""
    count = 20 if quick else 200
    found = of_model(PUBLIC, count, 32, (">= 5000", ">= 0.5"))
    return found + of_model(PACKAGED, count, 128, ("", "")) + segments(count // 4)
