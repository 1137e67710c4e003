"""A process of a study: it asks for a trial, trains its seeds one after another, and tells what came out, until all
trials are finished.

The value of a trial is what its models do on the valid set: of every seed the best evaluation, the geometric mean of
their ratios to the references, and INFEASIBLE more for the share of answers that are infeasible. While the first seed
is trained, its best evaluation so far is told after every so many steps, which have the same meaning in every trial:
the same seed, the same instances. By that alone trials are pruned; later seeds of a trial are always trained to the
end.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sysgym.core.errors import SysgymError, UsageError, shortened
from sysgym.core.options import file_hashes, parse_pairs
from sysgym.core.registry import problem_class
from sysgym_agents.core import Budget
from sysgym_agents.learning.devices import accelerator
from sysgym_agents.learning.ratios import geometric_mean
from sysgym_zoo.jobs.console import clean, number, say
from sysgym_zoo.jobs.plan import CHECKPOINT_SECONDS, Training
from sysgym_zoo.jobs.runs import set_device
from sysgym_zoo.jobs.selection import Score, Wanted
from sysgym_zoo.jobs.train import Hear, train
from sysgym_zoo.lookup.records import checkpoints, load_run
from sysgym_zoo.lookup.trust import file_options
from sysgym_zoo.tuning.files import FIRST_SEED, TRIALS, run_folder, set_aside
from sysgym_zoo.tuning.space import suggested, word_of
from sysgym_zoo.tuning.study import Claim, Study, library, quiet

INFEASIBLE = 1e6  # what an infeasible share of 1 adds to a value: no ratio makes up for it
POLL = 0.5  # seconds between looks at what others finished


class Interrupted(KeyboardInterrupt):
    """The user stopped a training; its trial goes on when the command runs again."""


class Changed(UsageError):
    """What a study is about changed while it runs; its trial is not told a value, and is tried again."""


def work(folder: Path) -> None:
    """Work on the study in a folder until all of its trials are finished, those of other processes too.

    Several processes may, on one machine or several. KeyboardInterrupt where a training was stopped.
    """
    study = Study(folder)
    set_device(study.facts["device"])  # refuses one that is not here, before a trial fails for it
    while (claim := study.claim()) is not None:
        if claim == "wait":
            time.sleep(POLL)
            continue
        try:
            tried(study, claim)
        finally:
            claim.lock.release()


def tried(study: Study, claim: Claim) -> None:
    """Train the seeds of a trial and tell its value; what a killed process has done of it is not done again."""
    with quiet():
        params, trial = suggested(claim.trial, study.facts["space"]), claim.trial
    log = study.folder / TRIALS / f"{claim.number:04d}.log"
    log.parent.mkdir(exist_ok=True)
    bests: list[Mapping[str, Any] | None] = []
    try:
        for seed in range(FIRST_SEED, FIRST_SEED + study.facts["seeds"]):
            hear = heard(study, claim) if seed == FIRST_SEED else None
            record = trained(study.facts, params, seed, run_folder(study.folder, claim.number, seed), hear, log)
            if record["status"] == "interrupted":
                raise Interrupted
            if record.get("pruned"):
                study.optuna.tell(trial.number, state=library().trial.TrialState.PRUNED)
                say(f"trial {claim.number} is pruned: {_shown(params)} {_progress(study)}")
                return
            bests.append(record.get("best"))
    except (Interrupted, Changed):
        raise
    except Exception as error:  # of any learner: hyper-parameters may be such that nothing can be learnt
        why = shortened(" ".join(str(error).split()) or type(error).__name__, 300)
        trial.set_user_attr("error", why if isinstance(error, SysgymError) else f"{type(error).__name__}: {why}")
        study.optuna.tell(trial.number, state=library().trial.TrialState.FAIL)
        say(f"trial {claim.number} failed: {why} {_shown(params)} {_progress(study)}")
        return
    value = value_of(bests)
    trial.set_user_attr("seeds", [value_of([best]) for best in bests])
    trial.set_user_attr("missed", missed(bests))
    study.optuna.tell(trial.number, value)
    say(f"trial {claim.number}: {number(value)} with {_shown(params)} {_progress(study)}")


def value_of(bests: Sequence[Mapping[str, Any] | None]) -> float:
    """One number for the best evaluations of a trial's seeds, least for the best; None: there was no evaluation.

    Ratios count by their geometric mean, costs, where an instance has no reference, by their mean.

    >>> value_of([{"feasible": 1.0, "ratio": 1.0, "cost": 8.0}, {"feasible": 1.0, "ratio": 4.0, "cost": 8.0}])
    2.0
    >>> value_of([{"feasible": 0.5, "ratio": 1.0, "cost": 8.0}, None])
    750001.0
    """
    added = INFEASIBLE * missed(bests)
    told = [best for best in bests if best is not None and best["feasible"] > 0]
    ratios = [best["ratio"] for best in told]
    if told and all(ratio is not None for ratio in ratios):
        return added + geometric_mean(ratios)
    costs = [best["cost"] for best in told]
    return added + (sum(costs) / len(costs) if costs else 0.0)


def missed(bests: Sequence[Mapping[str, Any] | None]) -> float:
    """The share of infeasible answers in the best evaluations of a trial's seeds; of no evaluation, all."""
    return sum(1.0 if best is None else 1.0 - float(best["feasible"]) for best in bests) / len(bests)


def heard(study: Study, claim: Claim) -> Hear:
    """What the first training of a trial calls after every evaluation: tells the best so far, and whether to go on.

    The steps of evaluations differ between trials, as rollouts do; what is told under number k is the best after the
    first evaluation at or after k times the planned distance. The trial of what is shipped is never pruned.
    """
    trial, every = claim.trial, study.facts["eval"]["every"]

    def hear(best: Score, steps: float) -> bool:
        known = study.optuna.get_trials(deepcopy=False)[claim.number].intermediate_values
        value = value_of([{"feasible": best.feasible, "ratio": best.ratio, "cost": best.cost}])
        for rung in range(max(known, default=0) + 1, math.floor(steps / every) + 1):
            trial.report(value, rung)
        return claim.number == 0 or not trial.should_prune()

    return hear


def trained(
    facts: Mapping[str, Any], params: Mapping[str, Any], seed: int, out: Path, hear: Hear | None = None,
    log: Path | None = None,
) -> Any:  # fmt: skip
    """The record of one training of a study: made now, gone on with, or as it is where it is done.

    Another training that is in its folder is set aside. log: takes what the training says. Changed where what was
    trained is not what the study is about.
    """
    _refuse_changed(facts)
    if not (out / "run.json").is_file():
        shutil.rmtree(out, ignore_errors=True)  # killed before it began
    elif strange := otherwise(facts, params, seed, load_run(out)) or _elsewhere(facts, out):
        say(f"note: {out} holds another training ({strange}); it is kept as {set_aside(out).name}.")
    with contextlib.ExitStack() as stack:
        if log is not None:
            stack.enter_context(contextlib.redirect_stderr(stack.enter_context(log.open("a"))))
        record = _trained(facts, params, seed, out, hear)
    if strange := otherwise(facts, params, seed, clean(record)):
        raise Changed(
            f"{out} was trained with {strange}: what {facts['word']} says has changed while the study runs; put it "
            "back, and the same command goes on."
        )
    return record


def _trained(facts: Mapping[str, Any], params: Mapping[str, Any], seed: int, out: Path, hear: Hear | None) -> Any:
    if not out.exists():
        return train(training_of(facts, params, seed, out), hear)[1]
    record = load_run(out)
    if record["status"] == "done":
        return record
    kind, valid = problem_class(facts["problem"]), Wanted(facts["eval"]["instances"])
    files = file_options(kind, parse_pairs(facts["options"], kind, facts["problem"]), out)
    named = [
        pair for pair in facts["options"] if pair.partition("=")[0] in files
    ]  # which are named again, as files are
    device = facts["device"] if _device_of(record) != "cpu" else "auto"  # which goes on there, as it asked no network
    again = Training(
        out=out, resume=True, options=named, instances=facts["instances"], evaluation=valid, device=device
    )  # fmt: skip
    return train(again, hear)[1]


def _refuse_changed(facts: Mapping[str, Any]) -> None:
    """Changed where a file that an option of the problem names is not what it was when the study began."""
    solved, told = facts.get("solved", {}), facts.get("files", {})
    now = file_hashes(problem_class(facts["problem"]), solved)
    for name in [name for name, digest in told.items() if now.get(name) != digest]:
        raise Changed(f"{solved[name]} ({name}) has changed since the study began; put it back, or start a new one.")


def _device_of(record: Mapping[str, Any]) -> str:
    return str(record.get("device", {}).get("device", "cpu"))


def _elsewhere(facts: Mapping[str, Any], out: Path) -> str:
    """On which device a training was begun that cannot go on here as the study asks for; '' if it can.

    One that was killed before a network was asked says `cpu`, whatever it was to use.
    """
    record = load_run(out)
    there = _device_of(record)
    if record["status"] == "done":
        return ""
    if there == "cpu":
        return "begun on the CPU" if facts["device"] == "cuda" and not checkpoints(out) else ""
    return f"begun on {there}, which is not here" if accelerator() is None else ""


def otherwise(facts: Mapping[str, Any], params: Mapping[str, Any], seed: int, record: Mapping[str, Any]) -> str:
    """What a record of a training says otherwise than a study asks for, the first such thing; '' if it is as asked."""
    agent, problem = record.get("agent", {}), record["problem"]
    hyper, has, solved = clean({**facts.get("hyper", {}), **params}), agent.get("hyper", {}), problem["options"]
    files = problem.get("files", {})
    pairs = {
        "agent": (agent.get("name"), facts["agent"]), "seed": (record.get("seed"), seed),
        "instances": (_hashes(record), facts["hashes"]["train"]),
        "valid instances": (_hashes(record.get("eval") or {}), facts["hashes"]["valid"]),
        **{name: (has.get(name), value) for name, value in hyper.items()},
        **{f"option {name}": (solved.get(name), value) for name, value in facts.get("solved", {}).items()},
        **{f"the file of option {name}": (files.get(name), value) for name, value in facts.get("files", {}).items()},
    }  # fmt: skip
    found = next((name for name, (there, asked) in pairs.items() if not _alike(there, asked)), None)
    there, asked = ("", "") if found is None else (shortened(str(value), 60) for value in pairs[found])
    return "" if found is None else f"{found} {there}, not {asked}"


def _hashes(told: Mapping[str, Any]) -> list[str]:
    return [item["hash"] for item in told.get("instances", [])]


def _alike(one: Any, two: Any) -> bool:
    """Whether plain values are the same; numbers may differ by what a database rounds."""
    if isinstance(one, float) and isinstance(two, float):
        return math.isclose(one, two, rel_tol=1e-9)
    return bool(one == two)


def training_of(facts: Mapping[str, Any], params: Mapping[str, Any], seed: int, out: Path) -> Training:
    """What is trained with some hyper-parameters and a seed: the same for trials and for the report."""
    recipe, budget = facts["word"].endswith(".toml"), Budget(**facts["budget"])
    return Training(
        agent=None if recipe else facts["word"], recipe=facts["word"] if recipe else None, problem=facts["problem"],
        options=facts["options"], instances=facts["instances"], steps=budget.steps, cpu_seconds=budget.cpu_seconds,
        changes=[*facts["changes"], *(word_of(name, value) for name, value in params.items())],
        seed=seed, threads=facts["threads"], device=facts["device"], out=out, save_every=CHECKPOINT_SECONDS / 3,
        evaluation=Wanted(facts["eval"]["instances"], facts["eval"]["every"], None),
    )  # fmt: skip


def _shown(params: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={number(value)}" for name, value in params.items())


def _progress(study: Study) -> str:
    return f"({len(study.finished())} of {study.facts['trials']})"
