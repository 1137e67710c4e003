"""The card of a model: how it was made, of what, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sysgym.core.errors import UsageError
from sysgym.text.model import TextModel
from sysgym.text.model_files import read_model, write_model
from sysgym.text.models.config import options_of, parameter_count
from sysgym_agents.learning.devices import described
from sysgym_zoo.jobs.console import clean, number
from sysgym_zoo.jobs.runs import hardware, versions

if TYPE_CHECKING:
    from sysgym_agents.decoding.training.training import Training

CARD, WIDTH = "training.json", 5  # the beam of the second score
PACKAGES = ("python", "sysgym", "numpy", "torch")


class Spent(NamedTuple):
    """Time of a training up to now, interruptions counted, and its scores at the end of each epoch."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    curve: tuple[dict[str, Any], ...] = ()
    parts: int = 0  # times it was started

    def record(self) -> dict[str, Any]:
        """It as plain data."""
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "curve": list(self.curve),
                "parts": self.parts}  # fmt: skip

    @classmethod
    def of(cls, told: Any) -> Spent:
        """The counterpart of `record`."""
        try:
            return cls(float(told["seconds"]), float(told["cpu_seconds"]), tuple(told["curve"]), int(told["parts"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError("the checkpoint does not say what was spent; start a new folder.") from error


def heading(about: Mapping[str, Any], spent: Spent) -> dict[str, Any]:
    """What is known before the end."""
    asked, setting = about["asked"], about["setting"]
    return {
        "schema": "sysgym-text-model/1",
        "command": command(asked),
        **{key: about[key] for key in ("recipe", "about", "licence")},
        "seed": asked.seed,
        "threads": asked.threads,
        "device": described()["device"],
        "precision": "bfloat16" if about["half"] else "float32",
        "data": about["files"],
        "pairs": about["pairs"],
        "training": asdict(setting),
        "seconds": round(spent.seconds, 1),
        "cpu_seconds": round(spent.cpu_seconds, 1),
        "started": spent.parts,
        "curve": list(spent.curve),
        "versions": {key: value for key, value in versions().items() if key in PACKAGES}
        | {name: version(name) for name in ("sentencepiece", "sacrebleu")},
        "hardware": hardware(),
    }


def command(asked: Any) -> str:
    """The words that train this model again."""
    words = ["sysgym", "train-model", *([asked.name] if asked.name else [])]
    words += ["--from", Path(asked.start).name] if asked.start else []
    for key, value in asdict(asked.files).items():
        if key != "columns" and value is not None:
            words += [f"--{key.replace('_', '-')}", Path(value).name]
    for change in asked.changes:
        words += ["--set", change]
    seconds, epochs, cpu = asked.budget
    for key, limit in (("--epochs", epochs), ("--seconds", seconds), ("--cpu-seconds", cpu)):
        words += [key, f"{limit:g}"] if limit is not None else []
    return " ".join([*words, "--seed", str(asked.seed), "--out", "FOLDER"])


def finished(
    about: Mapping[str, Any], training: Training, model: TextModel, folder: Path, spent: Spent
) -> dict[str, Any]:
    """Write the model of the best weights and its card, with the scores of what was written: float16 weights."""
    from sysgym_agents.decoding.training.scores import decoded_scores

    write_model(replace(model, tensors=training.best), folder)
    found = read_model(folder)
    training.net.put(found.tensors)
    scores: dict[str, Any] = {"perplexity": training.perplexity_of(training.valid)}
    for name, width in (("greedy", 1), (f"beam {WIDTH}", WIDTH)):
        scores[name] = decoded_scores(found, about["valid"], about["setting"].sample, width)
    card = heading(about, spent)
    card |= {"steps": training.done, "epochs": training.epochs, "scores": scores,
             "network": options_of(found.config)[1], "parameters": parameter_count(found.config),
             "model_hash": found.hash}  # fmt: skip
    (folder / CARD).write_text(json.dumps(clean(card), indent=1) + "\n")
    return card


def shown(card: Mapping[str, Any]) -> list[str]:
    """Lines about a model."""
    rows = [
        ("epochs", card.get("epochs")),
        ("CPU seconds", card["cpu_seconds"]),
        ("parameters", card.get("parameters")),
    ]
    scores = card.get("scores", {})
    rows.append(("perplexity", scores.get("perplexity")))
    for name, found in scores.items():
        if isinstance(found, dict) and found:
            rows.append(
                (name, f"BLEU {number(found['bleu'])}  chrF {number(found['chrf'])}  of {found['sample']} pairs")
            )
    return [f"  {name:12} {number(value)}" for name, value in rows if value is not None]
