"""Every learner on another device: it takes the same course there, and what it keeps is at hand here.

No GPU is needed: the device of `away` refuses what CUDA would refuse, and computes as the CPU does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from away import AWAY, CALLS
from cases import LEARNERS, UNFIT, first_instance, plugin_registered, small

import sysgym
from sysgym.core.options import keyword_options
from sysgym.core.registry import make_problem, problem_class
from sysgym_agents.core import Budget, agent_class, make_agent
from sysgym_agents.learning import devices

STEPS = 16
SMALLER = {"pretrain": 16, "warm": 3, "grouper": 8, "designs": 60, "networks": 1}


def learners() -> list[Any]:
    """Parameters for `agent` and `name`: each learner on the last of its problems, and on all of them.

    Those of other packages do not know of devices, and some are no networks.
    """
    with plugin_registered():
        known = [(pair, agent_class(pair[0])) for pair in LEARNERS]
        own = [
            pair
            for pair, factory in known
            if factory.__module__.startswith("sysgym_agents.") and getattr(factory, "on_devices", True)
        ]
        last = dict(own)
        return [pytest.param(*pair, id=f"{pair[0]}-{pair[1].split('/')[1]}", marks=marks(pair, last)) for pair in own]


def marks(pair: tuple[str, str], last: dict[str, str]) -> list[Any]:
    """Each learner once among the slow tests; the whole product where a problem was touched."""
    return [pytest.mark.slow if last[pair[0]] == pair[1] else pytest.mark.full]


def smaller(name: str, **changes: Any) -> Any:
    """An agent that prepares itself for less long."""
    agent, known = small(name), keyword_options(agent_class(name))
    for key, value in {**{key: value for key, value in SMALLER.items() if key in known}, **changes}.items():
        setattr(agent, key, value)
    return agent


def unfit(name: str, variant: dict[str, Any], agent: str) -> str:
    """Why an agent cannot act in a mode, or ''."""
    problem = make_problem(name, **variant)
    try:
        smaller(agent).fit(problem, [problem.load(first_instance(problem))], np.random.default_rng(0), Budget(steps=1))
    except sysgym.UsageError as error:
        if not any(words in str(error) for words in UNFIT):
            raise
        return str(error)
    return ""


def trained(agent: str, problem: Any, folder: Path, changes: dict[str, Any]) -> tuple[Any, list[dict[str, float]], Any]:
    """A learner after a few steps with what it told, kept in a folder, and its answer."""
    learner, heard, before = smaller(agent, **changes), list[dict[str, float]](), CALLS[0]
    instance = problem.load(first_instance(problem))

    def hear(row: dict[str, float]) -> bool:
        heard.append(row)
        learner.save(folder / "agent")
        learner.save_training(folder / "agent")
        return True

    learner.fit(problem, [instance], np.random.default_rng(0), Budget(steps=STEPS), hear)
    learner.save(folder / "agent")
    assert (CALLS[0] > before + 100) == (devices.described()["device"] == AWAY.type), "it was trained elsewhere"
    return learner, heard, learner.solve(problem, instance, np.random.default_rng(1), Budget(steps=6))


@pytest.mark.parametrize(("agent", "name"), learners())
def test_learners_take_the_same_course_on_another_device(agent: str, name: str, tmp_path: Path, gpu: None) -> None:
    """The same metrics, weights and answer, but for sums in another order; both keep weights that either can load."""
    variant = next((dict(v) for v in problem_class(name).variants if not unfit(name, v, agent)), None)
    if variant is None:
        pytest.skip(f"no mode of {name} fits {agent}")
    same_course(agent, make_problem(name, **variant), tmp_path)


OTHER_WAYS = [
    ("cnc", {"loss": "neuncut", "guided": True}), ("cnc", {"loss": "pgcuts", "affinity": "siamese", "gumbel": False}),
    ("cnc", {"affinity": "batch", "trials": 2}), ("gdp", {"segment": 8}), ("placeto", {"start": "random", "epochs": 2}),
    ("gap", {"trials": 2, "coarsest": 0}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "changes"), OTHER_WAYS, ids=lambda value: str(value))
def test_so_they_do_with_other_hyper_parameters(agent: str, changes: dict[str, Any], tmp_path: Path, gpu: None) -> None:
    name = next(problem for learner, problem in LEARNERS if learner == agent)
    same_course(agent, make_problem(name), tmp_path, **changes)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
@pytest.mark.parametrize(("agent", "name"), learners())
def test_learners_begin_alike_on_a_gpu(agent: str, name: str, tmp_path: Path) -> None:
    """Later steps part ways by what is rounded differently."""
    variant = next((dict(v) for v in problem_class(name).variants if not unfit(name, v, agent)), None)
    if variant is None:
        pytest.skip(f"no mode of {name} fits {agent}")
    first = {}
    for wish in ("cpu", "cuda"):
        with devices.using(wish):
            _, heard, _ = trained(agent, make_problem(name, **variant), tmp_path / wish, {})
            assert devices.described()["device"] == wish
            first[wish] = heard[0]
    for key in first["cpu"].keys() - {"seconds", "cpu_seconds"}:
        assert first["cuda"][key] == pytest.approx(first["cpu"][key], rel=1e-2, abs=1e-3), key
    with devices.using("cpu"):
        make_agent(agent).load(tmp_path / "cuda" / "agent")


def same_course(agent: str, problem: Any, folder: Path, **changes: Any) -> None:
    """Train on the CPU and on the device, and compare all that can be seen."""
    with devices.using("cpu"):
        ours, heard, answer = trained(agent, problem, folder / "here", changes)
        assert devices.described()["device"] == "cpu"
    with devices.using("cuda"):
        theirs, told, found = trained(agent, problem, folder / "there", changes)
        facts = devices.described()
        assert facts["device"] == AWAY.type and not facts["reproducible"], "it computed on the CPU"
    for mine, other in zip(heard, told, strict=True):
        for key in mine.keys() - {"seconds", "cpu_seconds"}:
            within = 1e-3 if "explained" in key else 1e-5  # a difference of nearly the same numbers
            assert other[key] == pytest.approx(mine[key], rel=1e-3, abs=within), key
    kept = [learner.weights() for learner in (ours, theirs)]
    assert all(type(value) is torch.Tensor and value.device.type == "cpu" for each in kept for value in each.values())
    for key, value in kept[0].items():
        np.testing.assert_allclose(kept[1][key].numpy(), value.numpy(), rtol=1e-3, atol=1e-4, err_msg=key)
    assert all(np.array_equal(answer[key], found[key]) for key in answer)
    with devices.using("cpu"):
        make_agent(agent).load(folder / "there" / "agent")


ENOUGH = {"ppo": 32, "recurrent-ppo": 32, "gap": 22, "cnc": 104, "guided-genetic": 54}  # steps, so that it tells before


SLOWLY = ("gap", "guided-genetic")  # where tensors say on which device they are


@pytest.mark.parametrize(
    "agent", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOWLY else []) for name in ENOUGH]
)
def test_trainings_go_on_on_the_device(agent: str, tmp_path: Path, gpu: None) -> None:
    """What was saved there goes on there as if nothing had been, and on the CPU too."""
    (name,) = [pair[1] for pair in LEARNERS if pair[0] == agent][-1:]
    with plugin_registered():
        variant = next(dict(v) for v in problem_class(name).variants if not unfit(name, dict(v), agent))
        problem, total = make_problem(name, **variant), ENOUGH[agent]
    instances, whole, saved = [problem.load(first_instance(problem))], smaller(agent), tmp_path / "saved"

    def stop(row: dict[str, float]) -> bool:
        stopped.save(saved)
        assert stopped.save_training(saved)
        reached.append(int(row["steps"]))
        return False

    with devices.using("cuda"):
        whole.fit(problem, instances, np.random.default_rng(0), Budget(steps=total))
        stopped, reached = smaller(agent), list[int]()
        stopped.fit(problem, instances, np.random.default_rng(0), Budget(steps=total), stop)
    assert 0 < reached[0] < total
    for wish in ("cuda", "cpu"):
        with devices.using(wish):
            rest, left = make_agent(agent), Budget(steps=total - reached[0])
            rest.load(saved)
            assert rest.load_training(saved, left)
            rest.fit(problem, instances, np.random.default_rng(0), left)
            for key, value in whole.weights().items():
                np.testing.assert_allclose(
                    rest.weights()[key].numpy(), value.numpy(), rtol=1e-3, atol=1e-4, err_msg=key
                )
