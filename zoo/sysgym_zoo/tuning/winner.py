"""What a study found: its best trials, the winner as a recipe, and its one figure on a test set."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sysgym import UsageError, content_hash
from sysgym_agents.learning.ratios import geometric_mean
from sysgym_zoo.jobs.console import number
from sysgym_zoo.jobs.runs import set_device
from sysgym_zoo.jobs.selection import BEST
from sysgym_zoo.lookup.recipes import Recipe, load_recipe
from sysgym_zoo.lookup.records import load_run
from sysgym_zoo.lookup.resolve import build_agent, instance_names
from sysgym_zoo.tuning.files import FIRST_SEED, REPORT, alone, read_report, report_folder, run_folder, write_json
from sysgym_zoo.tuning.study import Study
from sysgym_zoo.tuning.worker import Interrupted, otherwise, trained

RECIPE = "recipe.toml"
SHOWN = 5  # trials of the table


def rows_of(study: Study, count: int | None = None) -> list[dict[str, Any]]:
    """The trials of a study, best first: complete ones, then pruned and failed ones; `count` of them."""
    order = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    places = {name: place for place, name in enumerate(order)}
    trials = sorted(study.finished(), key=lambda trial: (places[trial.state.name], _value(trial), trial.number))
    return [
        {
            "trial": trial.number, "state": "shipped" if trial.number == 0 else order[trial.state.name],
            "valid": trial.value if trial.state.name == "COMPLETE" else None,
            **{name: trial.params.get(name) for name in study.facts["space"]},
        }
        for trial in trials[:count]
    ]  # fmt: skip


def _value(trial: Any) -> float:
    return math.inf if trial.value is None else float(trial.value)


def hyper_of(study: Study, trial: Any) -> dict[str, Any]:
    """All hyper-parameters of a trial, as its training had them; UsageError if its folder holds another training."""
    folder = run_folder(study.folder, trial.number, FIRST_SEED)
    record = load_run(folder)
    if strange := otherwise(study.facts, trial.params, FIRST_SEED, record):
        raise UsageError(
            f"{folder} is not the training of trial {trial.number} ({strange}); put back the storage that the study "
            "was begun with."
        )
    return dict(record["agent"]["hyper"])


def origin_of(study: Study) -> dict[str, Any]:
    """Where the winner comes from."""
    facts, best, shipped = study.facts, study.best(), study.shipped()
    budget = {key: value for key, value in facts["budget"].items() if value is not None}
    states = [trial.state.name for trial in study.finished()]
    return {
        "by": "sysgym tune", "study": study.folder.name, "from": facts["recipe"] or facts["agent"],
        "trial": best.number, "trials": len(states), "pruned": states.count("PRUNED"), "failed": states.count("FAIL"),
        "seeds": list(range(FIRST_SEED, FIRST_SEED + facts["seeds"])), "each": budget,
        "valid": facts["eval"]["instances"],
        "valid_value": best.value, "shipped_valid_value": None if shipped is None else shipped.value,
        "sampler": facts["sampler"], "pruner": facts["pruner"], "started": facts["started"],
        "sysgym": facts["versions"]["sysgym"], "optuna": facts["versions"]["optuna"],
        **({"test": report} if (report := read_report(study.folder)) else {}),
    }  # fmt: skip


def write_recipe(study: Study) -> Path:
    """Write the winner as a recipe that `sysgym train --recipe` takes; its path."""
    facts, best = study.facts, study.best()
    word = facts["recipe"] or (facts["word"] if facts["word"].endswith(".toml") else "")
    base = load_recipe(word) if word else Recipe()
    run = load_run(run_folder(study.folder, best.number, FIRST_SEED))
    own = {*base.options, *(pair.partition("=")[0] for pair in facts["options"])}
    found = {
        "about": f"{base.about or facts['agent']} Tuned: trial {best.number} of {len(study.finished())}.",
        "agent": facts["agent"], "problem": run["problem"]["name"], "instances": facts["instances"],
        "options": {key: value for key, value in run["problem"]["options"].items() if key in own},
        "hyper": _told(hyper_of(study, best), base, facts),
        "budget": {key: value for key, value in facts["budget"].items() if value is not None},
        "ablation": dict(base.ablation), "eval": dict(facts["eval"]), "origin": origin_of(study),
    }  # fmt: skip
    path = study.folder / RECIPE
    partial = path.with_name(f".{RECIPE}")
    partial.write_text(toml(found))
    partial.replace(path)
    return path


def _told(hyper: Mapping[str, Any], base: Recipe, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters that the recipe says: those of the one it comes from, those set, and those tuned."""
    named = [*base.hyper, *(pair.partition("=")[0] for pair in facts["changes"]), *facts["space"]]
    return {key: hyper[key] for key in dict.fromkeys(named)}


def toml(table: Mapping[str, Any], within: str = "") -> str:
    """Plain data as TOML: tables after what stands alone, None left out.

    >>> print(toml({"a": 1, "b": {"c": [1, 2], "d": None, "e": 1e-07, "f": {"g": True}}}), end="")
    a = 1
    <BLANKLINE>
    [b]
    c = [1, 2]
    e = 1e-07
    <BLANKLINE>
    [b.f]
    g = true
    """
    lines = [f"{key} = {_toml(value)}" for key, value in table.items()
             if value is not None and not isinstance(value, Mapping)]  # fmt: skip
    text = "".join(f"{line}\n" for line in lines)
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            name = f"{within}{key}"
            text += f"\n[{name}]\n{toml(value, f'{name}.')}"
    return text


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)


def compared(study: Study) -> str:
    """A sentence on the winner beside what it started from, on the same seeds and budget."""
    best, shipped = study.best(), study.shipped()
    start = study.facts["recipe"] or study.facts["agent"]
    on = f"on {study.facts['eval']['instances']}, {study.facts['seeds']} seeds"
    if shipped is None:
        return f"trial {best.number} is the winner with {number(best.value)} {on}; {start} itself did not train."
    if best.number == 0:
        return f"nothing better than {start} was found: {number(best.value)} {on}."
    return (
        f"trial {best.number} is the winner: {number(best.value)} {on}, where {start} has {number(shipped.value)}. It "
        "was chosen there, so expect less elsewhere; --report SET tells."
    )


# ------------------------------------------------------------------------------------------------ the one report


def report(study: Study, words: str) -> dict[str, Any]:
    """Train the winner with report seeds, let each model solve a test set once, and keep the figure; never twice.

    UsageError where the study has reported already, or an instance was trained or chosen on.
    """
    if not study.over:
        raise UsageError(f"{study.folder} is not finished; run the same command again before --report.")
    with alone(study.folder):
        _refuse_second(study)
        found = _reported(study, words)
        write_json(study.folder / REPORT, found)
    write_recipe(study)
    return found


def _refuse_second(study: Study) -> None:
    earlier = read_report(study.folder)
    if earlier is not None:
        told = f"ratio {number(earlier['ratio'])}, in {study.folder / REPORT}"
        raise UsageError(
            f"the winner of {study.folder} was reported on {earlier['set']} already ({told}); a study has one test "
            "figure, begin a new study for another."
        )


def _reported(study: Study, words: str) -> dict[str, Any]:
    from sysgym.core.registry import make_problem
    from sysgym_agents.core import Budget
    from sysgym_zoo.jobs.evaluate import solve_once

    set_device(study.facts["device"])
    best, rows = study.best(), list[dict[str, Any]]()
    run = load_run(run_folder(study.folder, best.number, FIRST_SEED))
    problem = make_problem(study.facts["problem"], **run["problem"]["options"])
    instances = [problem.load(name) for name in instance_names(problem, words)]
    seen = {*study.facts["hashes"]["train"], *study.facts["hashes"]["valid"]}
    for item in instances:
        if content_hash(item) in seen:
            raise UsageError(
                f"{item.name} was trained or chosen on, so it tells nothing; name a test set for --report."
            )
    for seed in range(study.facts["seeds"]):
        out = report_folder(study.folder, best.number, seed)
        record = trained(study.facts, best.params, seed, out)
        if record["status"] == "interrupted":
            raise Interrupted
        model = out / BEST if record.get("best") else out
        solver = build_agent(str(model), problem)
        rows += [solve_once(problem, item, solver.agent, solver.name, seed, Budget())[0] for item in instances]
    return {"set": words, "seeds": list(range(study.facts["seeds"])), "instances": len(instances), **_figure(rows)}


def _figure(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The geometric mean ratio, the mean cost and the feasible share of all answers; None where they mean nothing."""
    ratios = [row.get("ratio") for row in rows if row["feasible"]]
    known = [ratio for ratio in ratios if ratio is not None]
    costs = [row["cost"] for row in rows if row["feasible"]]
    return {
        "ratio": geometric_mean(known) if known and len(known) == len(ratios) else None,
        "cost": float(np.mean(costs)) if costs else None, "feasible": float(np.mean([row["feasible"] for row in rows])),
    }  # fmt: skip
