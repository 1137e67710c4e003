"""`sysgym report`: tables from recorded evaluations, so that no number is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sysgym import UsageError
from sysgym.core.errors import printable, unknown
from sysgym.core.options import alike, keyword_options
from sysgym.core.problem import Array
from sysgym.core.registry import make_problem
from sysgym_leaderboards.statistics import bootstrap_interval
from sysgym_zoo.jobs.ablation import compare, verdict
from sysgym_zoo.jobs.console import markdown
from sysgym_zoo.jobs.evaluate import place_in, summarise
from sysgym_zoo.lookup.records import COMPARED, ROW, load_rows, load_run


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of an evaluation."""
    record = load_run(folder)
    if record.get("kind") != "evaluate":
        raise UsageError(f"{folder} is a {record.get('kind')} run; a report needs runs of `sysgym evaluate`.")
    if record.get("status") != "done":
        raise UsageError(f"{folder} ended as {record.get('status')!r}; evaluate it again before reporting.")
    return load_rows(folder, COMPARED if record.get("ablation") else ROW)


def options_text(problem: dict[str, Any]) -> str:
    """The telling options, of files with the beginning of their hashes; '' if there are none."""
    files = problem.get("files") or {}
    told = {key: f"{key}={value}" for key, value in telling_options(problem).items()}
    for key in told.keys() & files.keys():
        told[key] += f" of sha256 {','.join(part[:8] for part in str(files[key]).split(','))}"
    return ", ".join(told.values())


def telling_options(problem: dict[str, Any]) -> dict[str, Any]:
    """Options that a reader must know: those that are not at their default, and those that known costs depend on."""
    try:
        built = make_problem(problem["name"])
    except UsageError:  # the plugin is not here any more
        return dict(problem["options"])
    defaults = {name: parameter.default for name, parameter in keyword_options(type(built)).items()}
    keys = {key for group in built.instance_sets().values() for entry in group.entries for key in entry.references}
    named = {part.partition("=")[0] for key in keys for part in key.split(",") if "=" in part}
    return {
        key: value
        for key, value in problem["options"].items()
        if (key in named and value is not None) or not alike(value, defaults.get(key, value))
    }


def report(
    folders: Sequence[Path], published: bool = False, metrics: Sequence[str] = (), agents: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], str]:
    """Summary rows of all runs, and the same as Markdown with what was run below; on request with what is published,
    with the means of metrics, and of some agents alone. Runs of several budgets are told apart by a column.
    """
    rows: list[dict[str, Any]] = []
    notes, order = [], list[str]()
    places: dict[str, list[tuple[str, str]]] = {}  # label of what was solved -> its instances
    if len({bool(load_run(folder).get("ablation")) for folder in folders}) > 1:
        raise UsageError("one table cannot hold evaluations and ablations; report them apart.")
    budgets = list(dict.fromkeys(limit_text(load_run(folder)["budget"]) for folder in folders))
    for folder in folders:
        record = load_run(folder)
        budget = limit_text(record["budget"])
        told = record.get("ablation")
        freedoms = record.get("freedoms", [])
        order += [name for name in freedoms if name not in order]
        answers = read_rows(folder)
        found = compare(answers, told, freedoms) if told else summarise(answers, freedoms)
        found = with_metrics(found, answers, metrics, told["agent"] if told else "") if metrics else found
        options = options_text(record["problem"])
        options = f" ({options})" if options else ""
        groups = ", ".join(sorted({item["name"].split("/")[0] for item in record["instances"]}))
        solved = sorted((item["name"], item["hash"]) for item in record["instances"])
        place = f"{groups}{options}"
        if places.setdefault(place, solved) != solved:  # others of the same set: their names tell them apart
            place = f"{', '.join(name for name, _ in solved)}{options}"
            places[place] = solved
        rows += [{"on": place, "budget": budget, **line} for line in chosen_lines(found, agents, folder)]
        notes.append(
            f"{record['problem']['name']}-v{record['problem']['version']}{options} on {groups}, "
            f"{len(record['instances'])} instances, {record['seeds']} seeds, "
            f"{budget}, {record['threads']} thread(s), "
            f"{record['hardware']['processor']}.{' ' + verdict(found) if told else ''}"
        )
    # who differ in instances, options, budget or freedom are not ranked together
    rows.sort(key=lambda line: (list(places).index(line["on"]), budgets.index(line["budget"]),
                                place_in(line.get("freedom"), order)))  # fmt: skip
    alike = {"on"} if len(places) == 1 else set()
    alike |= {"budget"} if len(budgets) == 1 else set()
    rows = [{key: value for key, value in line.items() if key not in alike} for line in rows]
    text = markdown(rows) + "\n\n" + "\n".join(notes)
    if published:
        text += "\n\n" + published_text(dict.fromkeys(load_run(folder)["problem"]["name"] for folder in folders))
    return rows, printable(text)


def chosen_lines(lines: Sequence[dict[str, Any]], agents: Sequence[str], folder: Path) -> Sequence[dict[str, Any]]:
    """The lines of some agents, or of all where none is named; UsageError for one that a run does not have."""
    known = [line["agent"] for line in lines]
    for name in agents:
        if name not in known:
            raise UsageError(f"{folder}: {unknown('agent of this run', name, known)}")
    return [line for line in lines if line["agent"] in agents] if agents else lines


def with_metrics(
    lines: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], agent: str = ""
) -> list[dict[str, Any]]:
    """The lines of a table with the mean of each metric and its 95 % interval over instances; beside an `agent` that of
    the difference to its own, instance by instance. UsageError for a metric that the rows do not have.
    """
    known = {name for row in rows for name in row.get("metrics", {})}
    for metric in metrics:
        if metric not in known:
            raise unknown("metric", metric, known)
    return [{**line, **_columns(line["agent"], rows, metrics, agent)} for line in lines]


def _columns(name: str, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], agent: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric in metrics:
        mine = _means(name, rows, metric)
        found[metric] = float(np.mean(list(mine.values())))
        if not agent:
            found |= _interval(metric, np.array(list(mine.values())))
            continue
        own = _means(agent, rows, metric)
        more = np.array([mine[item] - own[item] for item in mine if item in own])
        found[f"{metric} more"] = float(more.mean()) if len(more) else None
        found |= _interval(f"{metric} more", more)
    return found


def _means(name: str, rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    """The mean over the seeds of each instance."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["agent"] == name and metric in row.get("metrics", {}):
            values.setdefault(row["instance"], []).append(float(row["metrics"][metric]))
    return {instance: float(np.mean(found)) for instance, found in values.items()}


def _interval(name: str, values: Array) -> dict[str, Any]:
    """Low and high of a mean, by drawing instances again."""
    if not len(values):
        return {f"{name} low": None, f"{name} high": None}
    low, high = bootstrap_interval(values[None], lambda drawn: drawn.mean(axis=(-2, -1))).tolist()
    return {f"{name} low": low, f"{name} high": high}


def published_text(names: Iterable[str]) -> str:
    """The figures of the literature on problems, as Markdown; UsageError where one has none."""
    tables = []
    for name in names:
        figures = make_problem(name).published
        if not figures:
            raise UsageError(f"no published figures of {name} are known; leave out --published.")
        tables.append(
            f"Published figures of {name}, with their sources:\n\n" + markdown([dict(row) for row in figures])
        )
    return "\n\n".join(tables)


def limit_text(budget: dict[str, Any]) -> str:
    """A budget in words.

    >>> limit_text({"seconds": None, "cpu_seconds": 2.0, "steps": 10})
    '2 CPU s, 10 steps a solution'
    """
    said = [(budget.get("seconds"), "s"), (budget.get("cpu_seconds"), "CPU s"), (budget.get("steps"), "steps")]
    limits = ", ".join(f"{limit:g} {unit}" for limit, unit in said if limit is not None)
    return f"{limits} a solution" if limits else "no time limit"


def update(file: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- sysgym report: NAME -->` and `<!-- end -->` of a Markdown file."""
    begin, end = f"<!-- sysgym report: {name} -->", "<!-- end -->"
    try:
        content = file.read_text() if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}.") from error
    names = re.findall(r"<!-- sysgym report: (\S+) -->", content)
    if names and name not in names:
        raise unknown(f"report marker of {file}", name, names)
    if begin not in content or end not in content.split(begin, 1)[1]:
        raise UsageError(f"{file} has no lines {begin!r} and {end!r}; add them where the table belongs.")
    head, rest = content.split(begin, 1)
    _, tail = rest.split(end, 1)
    file.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
