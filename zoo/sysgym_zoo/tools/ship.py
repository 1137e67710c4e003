"""`python -m sysgym_zoo.tools.ship NAME RUN TABLE... --limits TEXT` puts a trained agent into the package.

A TABLE is folders of `sysgym evaluate --ablate RUN`, with commas between those of one table. The model card is made of
what their records say. Learning must pay in the first table: one of its evaluations beats fresh weights and rule.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sysgym.core.errors import SysgymError, UsageError
from sysgym.core.options import alike, keyword_options
from sysgym.core.registry import make_problem, options_of
from sysgym_agents.core import agent_class, agent_names
from sysgym_zoo.jobs.ablation import verdict
from sysgym_zoo.jobs.console import markdown
from sysgym_zoo.jobs.plan import LENGTH
from sysgym_zoo.jobs.report import report
from sysgym_zoo.lookup.recipes import load_recipe, recipe_names
from sysgym_zoo.lookup.records import load_run
from sysgym_zoo.lookup.trained import CARD, FOLDER

POINTS = 8  # of the curve
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
PARTS = ("run.json", "metrics.jsonl", "agent/agent.json", "agent/model.safetensors")
MODE = 0o644


def ship(name: str, run: Path, tables: Sequence[Sequence[Path]], limits: str) -> Path:
    """Copy what solving takes from a run, with its record and metrics, and write the card; the folder."""
    if not NAME.fullmatch(name) or name in agent_names() or name in recipe_names():
        raise UsageError(f"{name!r} must be lower-case words with hyphens that no agent or recipe is called.")
    record = load_run(run)
    if record["kind"] != "train" or record["status"] != "done":
        raise UsageError(f"{run} must be a finished run of `sysgym train`.")
    shown = [report(folders) for folders in tables]
    if not any(_pays(folder) for folder in tables[0]):
        raise UsageError(f"{run} beats its fresh weights and its rule in none of {', '.join(map(str, tables[0]))}.")
    lacking = [part for part in PARTS if not (run / part).is_file()]
    if lacking:
        raise UsageError(f"{run} lacks {', '.join(lacking)}.")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    text, target = card(name, record, rows, [text for _, text in shown], limits), FOLDER / name
    with tempfile.TemporaryDirectory(dir=FOLDER) as fresh:  # what stands there goes when all else is done
        made = Path(fresh, name)
        (made / "agent").mkdir(parents=True)
        for part in PARTS:
            shutil.copyfile(run / part, made / part)
            (made / part).chmod(MODE)
        (made / CARD).write_text(text)
        if target.exists():
            target.rename(Path(fresh, "before"))
        made.rename(target)
    return target


def _pays(folder: Path) -> bool:
    text = verdict(report([folder])[0])
    return " beats " in text and "does not" not in text


def card(
    name: str, record: Mapping[str, Any], curve: Sequence[Mapping[str, Any]], tables: Sequence[str], limits: str
) -> str:  # fmt: skip
    """The model card as Markdown."""
    agent, problem, budget = record["agent"], record["problem"], record["budget"]
    recipe = agent["recipe"] if agent["recipe"] in recipe_names() else ""
    about = load_recipe(recipe).about if recipe else ""
    begun, usual = f"--agent {recipe or agent['name']}", options_of(make_problem(problem["name"]))
    defaults = {key: each.default for key, each in keyword_options(agent_class(agent["name"])).items()}
    hyper = {key: value for key, value in agent["hyper"].items() if key != LENGTH or budget["steps"] is None}
    if recipe:
        defaults, usual = {**defaults, **load_recipe(recipe).hyper}, {**usual, **load_recipe(recipe).options}
    if "started_from" in agent:
        begun, hyper = f"--from {agent['started_from']}", {}
    changes = words("--set", hyper, defaults) + words("-O", problem["options"], usual)
    spent = " ".join(f"--{key.replace('_', '-')} {value:g}" for key, value in budget.items() if value is not None)
    sets = sorted({item["name"].split("/")[0] for item in record["instances"]})
    kept = [row for row in curve if row.keys() == curve[-1].keys()]
    picked = [kept[round(i * (len(kept) - 1) / (POINTS - 1))] for i in range(POINTS)] if len(kept) > POINTS else kept
    versions = ", ".join(f"{key} {record['versions'][key]}" for key in ("sysgym", "numpy", "torch"))
    lines = [
        f"# {name}", "", f"`{agent['name']}`, trained. {about}".rstrip(), "",
        use(name, problem), "", "## Training", "",
        f"`sysgym train {begun} -p {problem['name']}{changes} {spent} "
        f"--seed {record['seed']}`", "",
        f"On {len(record['instances'])} instances of {', '.join(sets)} (named, with their hashes, in run.json), in "
        f"{record['cpu_seconds']:.0f} CPU seconds on {record['hardware']['processor']}; {versions}. Weights: "
        f"sha256 {record['weights_sha256']}.", "", "The curve, of which metrics.jsonl has every point:", "",
        markdown([dict(row) for row in picked]), "", "## Tables", "",
    ]  # fmt: skip
    return "\n".join([*lines, "\n\n".join(tables), "", "## Limits", "", limits, ""])


def words(flag: str, values: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """Those of values that are not as usual, as a command takes them; what is known no more is left out."""
    told = {key: value for key, value in values.items() if key in usual and not alike(usual[key], value)}
    texts = {
        key: ",".join(map(str, value)) if isinstance(value, list | tuple) else value for key, value in told.items()
    }
    return "".join(f" {flag} {key}={value}" for key, value in texts.items())


def use(name: str, problem: Mapping[str, Any]) -> str:
    """How a trained agent is asked, with the options of the problem that it was trained with."""
    kind = problem["name"]
    options = words("-O", problem["options"], options_of(make_problem(kind)))
    return (
        f"Use it by its name: `sysgym solve INSTANCE -p {kind}{options} -a {name}`, `sysgym evaluate -a {name}`; in "
        f"Python `sysgym_zoo.lookup.resolve.build_agent('{name}', problem).agent`."
    )


def main(words: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m sysgym_zoo.tools.ship", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("run", type=Path)
    parser.add_argument("tables", nargs="+", help="folders of ablations, with commas between those of one table")
    parser.add_argument("--limits", required=True)
    given = parser.parse_args(words)
    try:
        tables = [[Path(word) for word in table.split(",")] for table in given.tables]
        print(ship(given.name, given.run, tables, given.limits))
    except SysgymError as error:
        print(f"ship: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
