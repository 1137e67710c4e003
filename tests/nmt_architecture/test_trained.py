"""Trained networks: the packaged table, the command that makes it, and trainings while one looks on."""

from __future__ import annotations

import hashlib
import json
import statistics
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import sysgym
from sysgym.core.data import cache_folder
from sysgym.nmt_architecture import catalogue, live
from sysgym.nmt_architecture.instance import table
from sysgym.nmt_architecture.live import known, trainings
from sysgym.nmt_architecture.networks import network, searched
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.decoding.training.trials import Trial, Trials
from sysgym_agents.general.random import sample_action
from sysgym_zoo.embed import architectures as embed
from sysgym_zoo.jobs.runs import hardware

PROBLEM = sysgym.make_problem("NMTArchitecture")
GOLDEN = Path(__file__).parents[1] / "golden" / "instances" / "architecture.json"
FEW = {"embedding": ("8",), "cell": ("GRU",), "encoder": ("Uni-1",), "decoder": ("1",),
       "attention": ("Add-8", "None-State"), "beam": ("B1", "B2-LP-0.5")}  # fmt: skip


def played(name: str) -> tuple[Any, float]:
    """A random episode, and its return."""
    env: Any = gym.make("sysgym/NMTArchitecture-v0", instance=name).unwrapped
    env.reset(seed=0)
    rng, total, over = np.random.default_rng(0), 0.0, False
    while not over:
        _, reward, over, _, _ = env.step(sample_action(rng, env.action_space, env.action_masks()))
        total += reward
    return env, total


def told() -> Any:
    return json.loads(embed.TARGET.read_text())


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a few hundred pairs, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(catalogue.packaged_pairs("train").splitlines(True)[:300]))
    return path


# -------------------------------------------------------------------------------------------- the packaged table


def test_the_table_is_complete_and_says_how_it_was_made() -> None:
    content, about = told(), told()["about"]
    factors = content["parameters"]
    assert {name: tuple(values) for name, values in factors.items()} == dict(embed.FACTORS)
    assert [tuple(row["values"]) for row in content["rows"]] == list(product(*factors.values()))
    assert all(len(row["runs"]) == about["seeds"] == 3 for row in content["rows"])
    assert about["trainings"] == 3 * len(content["rows"]) // len(factors["beam"])
    assert embed.TARGET.stat().st_size < 100_000 and about["cpu_seconds"] > 0
    for split, checksum in about["sha256"].items():
        assert hashlib.sha256(catalogue.packaged_pairs(split).encode()).hexdigest() == checksum


def test_a_row_is_judged_by_its_runs() -> None:
    """Means, and deviations halfway to those of near rows, by another library; sizes by the formula of the paper."""
    instance, content = PROBLEM.load("table/test-7"), told()
    best = max(statistics.fmean(row["runs"]) for row in content["rows"])
    for row in content["rows"]:
        named = dict(zip(content["parameters"], row["values"], strict=True))
        verdict = PROBLEM.judge(instance, PROBLEM.named_solution(instance, named))
        mean, variance = statistics.fmean(row["runs"]), statistics.variance(row["runs"])
        near = sorted(content["rows"], key=lambda other: round(abs(statistics.fmean(other["runs"]) - mean), 4))
        usual = statistics.median(statistics.variance(other["runs"]) for other in near[:31])
        assert verdict.cost == pytest.approx(100 - mean, abs=1e-4)
        assert verdict.metrics["spread"] == pytest.approx(((variance + usual) / 2) ** 0.5, abs=1e-4)
        assert verdict.metrics["regret"] == pytest.approx(best - mean, abs=2e-4)
        assert round(verdict.metrics["parameters"] * 1e6) == formula(named, **content["networks"])


def formula(named: dict[str, str], vocabulary: int, units: int) -> int:
    """Trained numbers by Britz et al.'s network, in the words of the paper."""

    def cells(width: int) -> int:
        return {"GRU": 3, "LSTM": 4}[named["cell"]] * units * (width + units + 1)

    embedding, depth, ways = int(named["embedding"]), int(named["decoder"]), 2 if named["encoder"] == "Bidi-2" else 1
    memory, (kind, _, size) = ways * units, named["attention"].partition("-")
    total = 2 * vocabulary * embedding + ways * cells(embedding) + (depth - 1) * cells(units)
    total += vocabulary * units + vocabulary
    if kind == "None":
        state = depth * units * (2 if named["cell"] == "LSTM" else 1)
        return total + cells(embedding) + state * (memory + 1)
    maps = int(size) * (memory + 1) + int(size) * (units + 1) + (int(size) if kind == "Add" else 0)
    return total + cells(embedding + memory) + maps + units * (units + memory + 1)


def test_noise_is_that_of_the_instance() -> None:
    one, same, other = (PROBLEM.load(name) for name in ("table/test-3", "table:seed=3", "table:seed=4,evaluations=9"))
    assert (one.seed, one.evaluations, other.evaluations) == (3, 20, 9) and one.measure == "100 - CER"
    results = [known(each).result(each.seed, 5, 17) for each in (one, same, other)]
    assert results[0] == results[1] != results[2]
    env, total = played("table/test-3")
    space = table(env.instance.space)
    first, verdict = float(space.cost[0]), PROBLEM.judge(one, env.solution())
    assert total == pytest.approx((first - verdict.cost) / space.cost[space.number(one.space.baseline)], abs=1e-9)


def test_runs_of_a_file_of_ones_own(tmp_path: Path) -> None:
    rows = [{"values": ["gru", 1], "runs": [70.0, 72.0]}, {"values": ["lstm", 1], "runs": [60, 60.5, 61]},
            {"values": ["lstm", 2], "mean": 50.0, "std": 3.0}]  # fmt: skip
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**json.loads(GOLDEN.read_text()), "rows": rows, "about": {"by": "hand"}}))
    space = PROBLEM.load(str(path)).space
    assert space.mean.tolist() == [71.0, 60.5, 50.0]
    usual = (2.0 + 0.25) / 2  # the median of both variances
    assert space.deviation == pytest.approx([((2 + usual) / 2) ** 0.5, ((0.25 + usual) / 2) ** 0.5, 3.0], abs=1e-4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rows": [{"values": ["gru", 1], "runs": [1]}]}, "row 0: runs must be a list of 2 to"),
        ({"rows": [{"values": ["gru", 1], "runs": [1, "2"]}]}, "row 0: a run must be a number from 0 to 100, got '2'"),
        ({"rows": [{"values": ["gru", 1], "runs": [1, 2], "std": 1}]}, "row 0 must have values, mean and std, or"),
        ({"networks": {"units": 64}}, "networks must have vocabulary and units"),
        ({"networks": {"units": 64, "vocabulary": 0}}, "vocabulary must be a whole number from 1 to"),
        ({"networks": {"units": 64, "vocabulary": 9}}, "no network has embedding None"),
    ],
)
def test_malformed_runs_are_a_sentence(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**json.loads(GOLDEN.read_text()), **change}))
    with pytest.raises(sysgym.UsageError) as caught:
        PROBLEM.load(str(path))
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------------- the command


class Stopped(Trials):
    """Trainings of which the fourth is interrupted."""

    left = 3

    def run(self, *words: Any) -> Trial:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().run(*words)


def test_the_command_goes_on_where_it_was_stopped(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "UNITS", 8)
    lines = pairs.read_text().splitlines(True)
    texts = "".join(lines[:100]), "".join(lines[:40])
    baseline = [values[0] for values in FEW.values()]

    def made(kind: type[Trials], name: str) -> Any:
        return embed.table_of(kind(*texts, epochs=10, warmup=1, learning_rate=2e-2), FEW, baseline, tmp_path / name)

    whole = made(Trials, "whole.jsonl")
    with pytest.raises(KeyboardInterrupt):
        made(Stopped, "parts.jsonl")
    lines = (tmp_path / "parts.jsonl").read_text()
    assert lines.count("\n") == 1 + Stopped.left
    (tmp_path / "parts.jsonl").write_text(lines + '{"seed": 1, "val')  # killed while it wrote
    parts = made(Trials, "parts.jsonl")
    for found in (whole, parts):
        found["about"].pop("cpu_seconds")
    assert catalogue.space_of("whole", whole)[0].mean.tolist() == catalogue.space_of("parts", parts)[0].mean.tolist()
    assert parts == whole and len(whole["rows"]) == 4 and len({tuple(row["runs"]) for row in whole["rows"]}) > 1
    kept = (tmp_path / "parts.jsonl").read_text()
    assert kept.startswith(lines) and [json.loads(line)["seed"] for line in kept.splitlines()[1:]] == [0, 0, 1, 1, 2, 2]
    with pytest.raises(sysgym.UsageError, match="other texts, settings or libraries"):
        embed.table_of(Trials(*texts, epochs=2), FEW, baseline, tmp_path / "parts.jsonl")


@pytest.mark.slow
def test_a_row_that_is_trained_again_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit by bit with the same processor and libraries, else within what seeds differ by; and `live` is that row."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    instance, content = PROBLEM.load("live:seed=0"), told()
    row = content["rows"][len(content["rows"]) // 2]
    named = dict(zip(content["parameters"], row["values"], strict=True))
    costs = known(instance).judged(int(known(instance).number(instance.space.design(named))))  # type: ignore[attr-defined]
    about = content["about"]
    here = {name: version(name) for name in about["versions"]}
    if here == about["versions"] and hardware()["processor"] == about["hardware"]["processor"]:
        assert costs == pytest.approx([100 - run for run in row["runs"]], abs=1e-9)
    spread = table(PROBLEM.load("table/test-0").space).spread.max()
    assert abs(costs.mean() - (100 - np.mean(row["runs"]))) < 4 * spread


# -------------------------------------------------------------------------------------------- live


def test_live_trains_what_is_asked_for_and_keeps_it(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"live:seed=5,evaluations=2,epochs=12,units=8,pairs={pairs}"
    asked: list[tuple[Any, int]] = []
    train = Trials.run

    def counted(self: Trials, config: Any, seed: int, beams: Any) -> Trial:
        asked.append((config, seed))
        return train(self, config, seed, beams)

    monkeypatch.setattr(Trials, "run", counted)
    instance = PROBLEM.load(name)
    solution = make_agent("random-search").solve(PROBLEM, instance, np.random.default_rng(0), Budget())
    assert len(asked) == 2 and asked[0][1] != asked[1][1]  # one training an evaluation, each from a seed of its own
    named = {**instance.space.named(solution["design"]), "cell": "GRU", "attention": "None-State", "beam": "B5"}
    design = PROBLEM.named_solution(instance, named)
    verdict = PROBLEM.judge(instance, design)
    assert [seed for _, seed in asked[2:]] == [0, 1, 2] and verdict.feasible and 0 < verdict.cost < 100
    trials = Trials(pairs.read_text(), "", epochs=12)
    live_table: Any = known(instance)
    rates = live_table.judged(int(live_table.number(design["design"])))
    alone = train(trials, network(named, live_table.sizes), 1, [searched(named["beam"])]).rates[0]
    assert rates[1] == pytest.approx(min(alone, 100), abs=1e-3) and verdict.cost == pytest.approx(
        rates.mean(), abs=1e-3
    )
    assert verdict.metrics["spread"] == pytest.approx(statistics.stdev(rates), abs=1e-9)
    assert set(verdict.metrics) == {"quality", "spread", "parameters"} and PROBLEM.reference_costs(instance) == {}
    assert verdict.metrics["parameters"] * 1e6 == pytest.approx(formula(named, trials.vocabulary, 8))
    assert len(list(trainings().iterdir())) == 5 and trainings().parent == cache_folder().parent

    monkeypatch.setattr(Trials, "run", None)  # nothing is trained any more
    again = PROBLEM.load(name)
    assert again is not instance
    same = make_agent("random-search").solve(PROBLEM, again, np.random.default_rng(0), Budget())
    assert np.array_equal(same["design"], solution["design"]) and PROBLEM.judge(again, design).cost == verdict.cost
    (line,) = (line for line in PROBLEM.describe(again, design).splitlines() if "best other" in line)
    assert line.startswith("beam: ") and PROBLEM.render(again, design).ndim == 3  # all beams of a network are judged


def test_live_needs_a_trainer_and_sound_options(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = PROBLEM.load(f"live:pairs={pairs}")
    with monkeypatch.context() as patched:
        patched.setattr(live, "TRAINER", "poems")
        live.trainer.cache_clear()
        with pytest.raises(sysgym.UsageError, match="no installed package does"):
            PROBLEM.judge(instance, {"design": np.zeros(6, np.int64)})
    for word, sentence in (("epochs=0", "epochs must be a whole number from 1 to 1000"), ("unit=9", "Did you mean"),
                           ("pairs=nowhere.tsv", "there is no file 'nowhere.tsv'")):  # fmt: skip
        with pytest.raises(sysgym.UsageError, match=sentence):
            PROBLEM.load(f"live:{word}")
    with pytest.raises(sysgym.UsageError, match="epochs"):
        PROBLEM.load("table:epochs=3")


def test_an_environment_of_live_networks(pairs: Path) -> None:
    """Rewards are what the judge says."""
    name = f"live:seed=1,evaluations=2,epochs=1,units=8,pairs={pairs}"
    env, total = played(name)
    verdict = PROBLEM.judge(env.instance, env.solution())
    assert total == pytest.approx((known(env.instance).mean(0) - verdict.cost) / 100, abs=1e-9)
