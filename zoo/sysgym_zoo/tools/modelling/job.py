"""A training of a model from what was asked to the folder that problems read."""

from __future__ import annotations

import hashlib
import math
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError, announce
from sysgym.core.options import option_table
from sysgym.core.solutions import read_json
from sysgym.resources import limit_pools
from sysgym.text.catalogue import load_model
from sysgym.text.model import Special, TextModel
from sysgym.text.model_files import built
from sysgym.text.models.config import RecurrentConfig
from sysgym_agents.core import Budget, Clock, uncounted
from sysgym_agents.decoding.training.setting import Wanted, wanted
from sysgym_agents.decoding.training.texts import make_vocabulary, separator_of
from sysgym_zoo.jobs.console import Progress, number, say
from sysgym_zoo.jobs.plan import resumed_device
from sysgym_zoo.jobs.runs import Run, fresh_folder, keep_metrics, set_device, set_threads, tell_device
from sysgym_zoo.tools.modelling.card import Spent, finished, heading
from sysgym_zoo.tools.modelling.corpus import OWN, Corpus, Files, ModelRecipe, load_model_recipe, plain, read_corpus
from sysgym_zoo.tracking.writers import Tracking

CHECKPOINT, RECORD, EVERY = "checkpoint", "run.json", 20  # steps between rows of metrics
MOST_BYTES = 2**24


@dataclass(frozen=True)
class Asked:
    """What a user asked for; the steps of the budget are epochs."""

    name: str | None
    files: Files
    changes: tuple[str, ...]
    budget: Budget
    seed: int
    threads: int
    start: str | None = None  # model to go on from
    device: str = "auto"  # where it is computed

    def record(self) -> dict[str, Any]:
        """It as a run keeps it, so that `--resume` needs no word of it again."""
        return {"name": self.name, "files": plain(self.files), "changes": list(self.changes),
                "budget": self.budget._asdict(), "seed": self.seed, "threads": self.threads,
                "start": self.start}  # fmt: skip


def train(asked: Asked, folder: Path, resume: bool = False, save_every: float = 60.0) -> tuple[str, dict[str, Any]]:
    """Train, or go on, and write the model; how it ended, and the card."""
    before = dict[str, Any]()
    if resume:
        asked, before = _earlier(asked, folder)
    asked.files.check()
    if asked.name is None and not asked.files.any:
        raise UsageError("name a recipe, or give files of your own with --pairs, or --source and --target.")
    for limit in (asked.budget.seconds, asked.budget.cpu_seconds):
        if limit is not None and not 0 < limit < math.inf:
            raise UsageError(f"a time to train for is a positive number of seconds, got {limit:g}.")
    recipe = load_model_recipe(asked.name or OWN)
    start = None if asked.start is None else _started(asked, asked.start)
    want = wanted(recipe.training, recipe.network, asked.changes)
    corpus = read_corpus(recipe, asked.files)
    device, moved = asked.device, False
    if before:
        device, moved = resumed_device(folder, _device_of(before), asked.device)
    set_threads(asked.threads)
    set_device(device)
    if not before:
        fresh_folder(folder, "", ", or go on with --resume")
    work = _Work(asked, recipe, want, corpus, start)
    if before and before.get("vocabulary") != work.vocabulary:
        raise UsageError(f"{folder} was trained on other texts, or with another sentencepiece; start a new folder.")
    spent = _restored(work, folder) if before else Spent()
    record = {"command": "train-model", "asked": asked.record(), "vocabulary": work.vocabulary, "resumed": bool(before)}
    if moved:
        say(f"{folder} goes on by other steps than it would have taken.")
    with Run(folder, {**record, "device": tell_device()}, Tracking()) as run:
        watch = _Watch(work, run, spent, save_every)
        status = watch.fit()
        if status == "interrupted":
            run.finish(status)
            say(f"{folder} keeps a checkpoint; go on with `sysgym train-model --resume --out {folder}`.")
            return status, heading(work.about(), watch.spent()) | {"epochs": work.training.epochs}
        card = finished(work.about(), work.training, work.model, folder, watch.spent())
        run.finish(status, scores=card["scores"])
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    return status, card


class _Work:
    """All that is made of what was asked."""

    def __init__(
        self, asked: Asked, recipe: ModelRecipe, want: Wanted, corpus: Corpus, start: TextModel | None
    ) -> None:
        from sysgym_agents.decoding.training.batches import examples_of
        from sysgym_agents.decoding.training.memory import keep_freed_memory
        from sysgym_agents.decoding.training.training import Training

        limit_pools()  # torch is loaded now
        keep_freed_memory()
        setting = want.setting
        self.asked, self.recipe, self.want, self.corpus = asked, recipe, want, corpus
        self.model = start or _empty(recipe, want, corpus)
        config = self.model.config
        assert isinstance(config, RecurrentConfig)
        self.vocabulary = hashlib.sha256(self.model.target.content).hexdigest()
        self.left_out, found = [], []
        for side, pairs in (("train", corpus.train), ("validate", corpus.valid)):
            examples, left = examples_of(self.model, pairs)
            if not examples:
                raise UsageError(f"there is no pair to {side} on whose sides are short enough.")
            if left:
                announce(f"{left} of {len(pairs.sources)} pairs to {side} on are too long and left out.")
            found.append(examples)
            self.left_out.append(left)
        if setting.risk:
            from sysgym_agents.decoding.training.risk import RiskTraining

            if start is None:
                raise UsageError("risk is lowered of what a model writes: name one to go on from with --from.")
            self.training: Training = RiskTraining(self.model, setting, asked.seed, *found)
            return
        self.training = Training(config, setting, asked.seed, *found)
        if start is not None:
            self.training.net.put(self.model.tensors)

    @property
    def epochs(self) -> int | None:
        """Epochs in all; None where only time is a limit."""
        budget = self.asked.budget
        return budget.steps or (None if budget.timed else self.want.setting.epochs)

    def about(self) -> dict[str, Any]:
        """What the card says of how it was made."""
        setting, corpus = self.want.setting, self.corpus
        return {
            "recipe": self.recipe.name, "about": self.recipe.about, "licence": self.recipe.licence,
            "asked": self.asked, "setting": setting, "half": self.training.half, "files": corpus.files,
            "pairs": {"train": len(corpus.train.sources) - self.left_out[0],
                      "valid": len(corpus.valid.sources) - self.left_out[1], "left_out": sum(self.left_out)},
            "valid": corpus.valid,
        }  # fmt: skip


def _empty(recipe: ModelRecipe, want: Wanted, corpus: Corpus) -> TextModel:
    """A model whose weights are all 0, with a vocabulary of the texts."""
    setting = want.setting
    pieces = make_vocabulary(setting.vocabulary, corpus.train, setting.pieces, setting.segment > 0)
    config = want.config(pieces.size)
    separator = separator_of(setting.vocabulary) if setting.segment else -1
    special = Special(separator=separator, segment=setting.segment)
    empty = {name: np.zeros(shape, dtype=np.float32) for name, shape in config.shapes().items()}
    made = {"special": special, "max_length": setting.max_length, "licence": recipe.licence}
    return built(recipe.name, config, empty, (pieces, pieces), **made)


def _started(asked: Asked, name: str) -> TextModel:
    """The model to go on from; UsageError where its network cannot be trained, or another one is asked for."""
    model = load_model(name)
    if not isinstance(model.config, RecurrentConfig):
        raise UsageError(f"{name} is no recurrent network, and only those are trained; name another model.")
    fixed = {*option_table(RecurrentConfig), "vocabulary", "pieces", "segment", "max_length"}
    changed = [change for change in asked.changes if change.partition("=")[0] in fixed]
    if changed:
        raise UsageError(f"--from keeps the network and vocabulary of {name}; leave out --set {changed[0]}.")
    return model


class _Watch:
    """What is called at every step: the line of progress, rows of metrics, checkpoints, and Ctrl-C."""

    def __init__(self, work: _Work, run: Run, before: Spent, save_every: float) -> None:
        self.work, self.run, self.before, self.save_every = work, run, before, save_every
        budget = work.asked.budget
        limits = ((budget.seconds, before.seconds), (budget.cpu_seconds, before.cpu_seconds))
        wall, cpu = (None if limit is None else max(limit - used, 1e-3) for limit, used in limits)
        self.clock, self.asked_to_stop, self.saved = Clock(Budget(wall, None, cpu)), False, 0.0
        self.rows, self.curve, self.note = list[dict[str, float]](), list(before.curve), ""
        units = ((work.epochs, "epochs"), (budget.cpu_seconds, "CPU seconds"), (budget.seconds, "seconds"))
        total, self.unit = next((float(limit), unit) for limit, unit in units if limit is not None)
        self.bar = Progress("training", total, self.unit, last=True)

    def fit(self) -> str:
        """Train to the end or to a Ctrl-C; how it ended."""
        from sysgym_agents.decoding.training.training import fit

        previous = signal.signal(signal.SIGINT, self.stop)
        try:
            fit(self.work.training, self.clock, self.work.epochs, self.hear)
        finally:
            signal.signal(signal.SIGINT, previous)
            self.bar.close()
        if self.asked_to_stop:
            self.save()
            return "interrupted"
        if self.work.training.within or not self.curve:
            with uncounted():
                self.validated({"perplexity": self.work.training.validate()})
        return "done"

    def stop(self, signum: int, frame: Any) -> None:
        """Stop after this step."""
        self.asked_to_stop = True
        say("stopping after this step; a checkpoint is kept.")

    def spent(self) -> Spent:
        """What is spent by now, and the scores so far."""
        before = self.before
        return Spent(before.seconds + self.clock.seconds, before.cpu_seconds + self.clock.cpu_seconds,
                     tuple(self.curve), before.parts + 1)  # fmt: skip

    def hear(self, row: dict[str, float]) -> bool:
        """After every step."""
        training = self.work.training
        self.rows.append({key: row[key] for key in ("loss", "rate", "tokens")})
        if "perplexity" in row:
            with uncounted():
                self.validated({"perplexity": row["perplexity"]})
        if len(self.rows) >= EVERY or "perplexity" in row:
            means = {key: sum(each[key] for each in self.rows) / len(self.rows) for key in self.rows[0]}
            self.log(means)
            self.rows.clear()
            self.note = f"loss {means['loss']:.3f}" + "".join(
                f"  {key} {number(value)}" for key, value in (self.curve[-1] if self.curve else {}).items()
                if key in ("perplexity", "bleu", "chrf")
            )  # fmt: skip
        now = {"epochs": training.epochs, "CPU seconds": self.spent().cpu_seconds, "seconds": self.spent().seconds}
        self.bar.update(now[self.unit], self.note)
        if self.clock.seconds - self.saved >= self.save_every:
            self.save()
        return not self.asked_to_stop

    def log(self, row: dict[str, Any]) -> None:
        """A row of metrics."""
        spent, training = self.spent(), self.work.training
        told = {"steps": training.done, "epochs": training.epochs, "seconds": spent.seconds}
        self.run.log({**told, "cpu_seconds": spent.cpu_seconds, **row}, training.done)

    def validated(self, row: dict[str, float]) -> None:
        """Scores at the end of an epoch, those of what the network writes among them."""
        from sysgym_agents.decoding.training.scores import decoded_scores

        work = self.work
        model = replace(work.model, tensors=work.training.net.tensors())
        found = row | decoded_scores(model, work.corpus.valid, work.want.setting.sample)
        self.log({f"valid/{key}": value for key, value in found.items()})
        self.curve.append({"epochs": work.training.epochs, "cpu_seconds": round(self.spent().cpu_seconds, 1), **found})

    def save(self) -> None:
        """Write the checkpoint anew; what was there stays until the new one is complete."""
        self.saved = self.clock.seconds
        partial, target = self.run.folder / f".{CHECKPOINT}", self.run.folder / CHECKPOINT
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        snapshot = self.work.training.snapshot()
        snapshot._replace(facts=snapshot.facts | {"spent": self.spent().record()}).save(partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)


def _earlier(asked: Asked, folder: Path) -> tuple[Asked, dict[str, Any]]:
    """What a folder's training was asked for, and its record; UsageError if something else is asked for now."""
    said = asked.name is not None or asked.files.any or asked.changes or asked.start is not None
    if said or any(limit is not None for limit in asked.budget):
        raise UsageError("--resume goes on with what the folder says; leave out all but --out.")
    if not (folder / RECORD).is_file():
        raise UsageError(f"{folder} holds no training that could go on: there is no {RECORD}.")
    record = read_json(folder / RECORD, MOST_BYTES)
    if not isinstance(record, dict) or record.get("command") != "train-model":
        raise UsageError(f"{folder / RECORD} is of no training of a model.")
    if record.get("status") == "done":
        raise UsageError(f"the training of {folder} is done; start a new folder.")
    try:
        told = record["asked"]
        files, budget = Files(**told["files"]), Budget(**told["budget"])
        numbers = int(told["seed"]), int(told["threads"])
        found = Asked(told["name"], files, tuple(told["changes"]), budget, *numbers, start=told.get("start"))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{folder / RECORD} does not say what was asked for; start a new folder.") from error
    found = replace(found, device=asked.device)
    for key, usual in (("seed", 0), ("threads", 1)):
        if getattr(asked, key) not in (usual, getattr(found, key)):
            raise UsageError(f"the training of {folder} has {key} {getattr(found, key)}; leave --{key} out.")
    return found, record


def _device_of(record: Mapping[str, Any]) -> str:
    """The device that a run was trained on."""
    told = record.get("device")
    return str(told.get("device", "cpu")) if isinstance(told, dict) else "cpu"


def _restored(work: _Work, folder: Path) -> Spent:
    """Put a training where its checkpoint is; what was spent."""
    from sysgym_agents.learning.snapshot import Snapshot
    from sysgym_agents.learning.stepwise import resumed

    if not (folder / CHECKPOINT).is_dir():
        say(f"{folder} holds no checkpoint yet, it starts from the beginning.")
        keep_metrics(folder, 0)
        return Spent()
    snapshot = Snapshot.load(folder / CHECKPOINT)
    resumed(work.training, snapshot, work.recipe.name)
    keep_metrics(folder, work.training.done)
    return Spent.of(snapshot.facts.get("spent"))
