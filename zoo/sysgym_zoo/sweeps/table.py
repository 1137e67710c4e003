"""The table of a sweep: agents by what they solved, over all their training seeds, with paired intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sysgym.core.errors import UsageError, printable
from sysgym_leaderboards.statistics import bootstrap_interval, difference_interval, geometric_means
from sysgym_zoo.jobs.console import markdown, number
from sysgym_zoo.jobs.evaluate import freedom_in, place_in
from sysgym_zoo.jobs.report import limit_text, options_text, published_text, read_rows, report, with_metrics
from sysgym_zoo.lookup.records import load_run, metric_rows
from sysgym_zoo.sweeps.drive import known, load_record, load_units
from sysgym_zoo.sweeps.execute import DONE, state
from sysgym_zoo.sweeps.units import Unit

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluated:
    """One evaluation that is done."""

    label: str
    family: str
    record: Mapping[str, Any]
    rows: Sequence[dict[str, Any]]


Group = tuple[str, str, tuple[tuple[str, str], ...], bool]  # problem, options, instances, whether it is an ablation


def any_report(
    folders: Sequence[Path], published: bool, metrics: Sequence[str], agents: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], str]:
    """The table of evaluations, or of one sweep; UsageError for both at once."""
    if not any(map(known, folders)):
        return report(folders, published, metrics, agents)
    if agents:
        raise UsageError("the table of a sweep shows all its agents; leave out --agent.")
    if len(folders) > 1:
        raise UsageError("one table cannot hold a sweep and other folders; report them apart.")
    rows, text = sweep_report(folders[0], metrics)
    if published:
        names = dict.fromkeys(load_run(unit.folder(folders[0]))["problem"]["name"] for unit in _done(folders[0]))
        text += "\n\n" + published_text(names)
    return rows, text


def _done(root: Path) -> list[Unit]:
    """The evaluations of a sweep that are done."""
    return [unit for unit in load_units(root) if unit.kind == "evaluate" and state(root, unit) == DONE]


def sweep_report(root: Path, metrics: Sequence[str] = ()) -> tuple[list[dict[str, Any]], str]:
    """The lines of all tables of a sweep, and the same as Markdown, with the means of `metrics`; UsageError if no
    evaluation is done, or for a metric that one does not have.

    Ratios are of costs, lower is better. An interval (95 %) draws again the training seeds within each instance, or
    the instances where there is one seed.
    """
    told, units = load_record(root), load_units(root)
    groups: dict[Group, list[Evaluated]] = {}
    found, done = [unit for unit in units if unit.kind == "evaluate"], _done(root)
    for unit in done:
        record, rows = load_run(unit.folder(root)), read_rows(unit.folder(root))
        options = options_text(record["problem"])
        solved = tuple((item["name"], item["hash"]) for item in record["instances"])
        key = (f"{record['problem']['name']}-v{record['problem']['version']}", options, solved, "ablation" in record)
        groups.setdefault(key, []).append(Evaluated(unit.label, unit.family, record, rows))
    lines, parts = [], []
    if not found:  # trainings only
        lines = _trained(root, units)
        parts = [markdown(lines)] if lines else []
    if not groups and not lines:
        raise UsageError(f"{root}: there is no table, as no run is done yet; `sysgym sweep status {root}` says more.")
    for key, evaluated in groups.items():
        title = _title(key, groups)
        rows = ablation_lines(evaluated) if key[-1] else compared_lines(evaluated, str(told.get("compare") or ""))
        if metrics:
            answers = [{**row, "agent": _renamed(each, row, key[-1])} for each in evaluated for row in each.rows]
            rows = with_metrics(rows, answers, metrics)
        lines += [{"on": title, **row} for row in rows]
        parts.append(f"{title}:\n\n{markdown(list(map(shown, rows)))}\n\n{_note(evaluated)}")
    if len(done) < len(found):
        parts.append(
            f"{len(found) - len(done)} of {len(found)} evaluations are not done; `sysgym sweep status {root}` says why."
        )
    return lines, printable("\n\n".join(parts))


def _trained(root: Path, units: Sequence[Unit]) -> list[dict[str, Any]]:
    """A line a training that is done: its steps, its best evaluation where it has any, and its weights."""
    lines = []
    for unit in units:
        if state(root, unit) != DONE:
            continue
        record = load_run(unit.folder(root))
        steps = [row["steps"] for row in metric_rows(unit.folder(root))]
        best = record.get("best") or {}
        lines.append(
            {
                "agent": unit.label, "seed": record["seed"], "steps": int(steps[-1]) if steps else 0,
                "best ratio": best.get("ratio"), "best cost": best.get("cost"), "seconds": record.get("seconds"),
                "weights": str(record.get("weights_sha256", ""))[:12],
            }
        )  # fmt: skip
    return lines


def _renamed(each: Evaluated, row: Mapping[str, Any], ablated: bool) -> str:
    """What the table calls who gave an answer."""
    if not ablated:
        return each.label
    told = each.record["ablation"]["contestants"].get(row["agent"], {"role": ""})
    return {"agent": each.label, "fresh weights": f"{each.label} (fresh weights)"}.get(told["role"], row["agent"])


def shown(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line as it is read: an interval in the cell of what it is of.

    >>> shown({"ratio": 1.5, "ratio low": 1.25, "ratio high": 1.75})
    {'ratio': '1.5 (1.25 to 1.75)'}
    """
    found = dict(line)
    for name in line:
        if f"{name} low" in line:
            low, high = found.pop(f"{name} low"), found.pop(f"{name} high")
            if found[name] is not None and low != high:
                found[name] = f"{number(found[name])} ({number(low)} to {number(high)})"
    return found


def _title(key: Group, groups: Mapping[Group, Any]) -> str:
    problem, options, solved, ablated = key
    sets = ", ".join(sorted({name.split("/")[0] for name, _ in solved}))
    if any(_sets(other) == sets and other[:2] == key[:2] and other[2] != solved for other in groups):
        sets = ", ".join(name for name, _ in solved)
    return f"{problem}{f' ({options})' if options else ''} on {sets}" + (", beside its ablation" if ablated else "")


def _sets(key: Group) -> str:
    return ", ".join(sorted({name.split("/")[0] for name, _ in key[2]}))


def _note(evaluated: Sequence[Evaluated]) -> str:
    """Under which conditions a table was made."""
    records = [each.record for each in evaluated]
    budgets = sorted({limit_text(record["budget"]) for record in records})
    seeds = sorted({record["seeds"] for record in records})
    threads = sorted({record["threads"] for record in records})
    made = sorted({str(record["versions"].get("sysgym")) for record in records})
    by = f", sysgym {_several(made)}" if len(made) > 1 else ""
    machines = sorted({record["hardware"]["processor"] for record in records})
    return (
        f"{len(records[0]['instances'])} instances, {_several(seeds)} seed(s) of each answer, {_several(budgets)}, "
        f"{_several(threads)} thread(s), {_several(machines)}{by}."
    )


def _several(values: Sequence[Any]) -> str:
    return " or ".join(map(str, values))


def _lines(evaluated: Sequence[Evaluated]) -> dict[tuple[str, str], list[Evaluated]]:
    """The runs of each line: of one label and one definition but for the seed."""
    found: dict[tuple[str, str], list[Evaluated]] = {}
    for each in evaluated:
        found.setdefault((each.label, each.family), []).append(each)
    return found


def compared_lines(evaluated: Sequence[Evaluated], compare: str) -> list[dict[str, Any]]:
    """One line an agent, best first, within the freedom of its answers; costs also over those of `compare`, or of the
    first agent where it did not take part.
    """
    order = list(evaluated[0].record.get("freedoms", []))
    names = [item["name"] for item in evaluated[0].record["instances"]]
    of = _lines(evaluated)
    base = next((key for key in of if key[0] == compare), next(iter(of)))
    rows = {key: [row for each in runs for row in each.rows] for key, runs in of.items()}
    freedom = {key: freedom_in(rows[key], order) for key in of}
    costs = {key: np.array([_means(each.rows, names, "cost") for each in runs]) for key, runs in of.items()}
    lines = []
    for key, runs in of.items():
        own = [row["cost"] for row in rows[key]]
        ratios = np.array([_means(each.rows, names, "ratio") for each in runs])
        other = key != base and freedom[key] == freedom[base]
        over, pairs = _over(f"over {base[0]}", costs[key], costs[base]) if other else _over(f"over {base[0]}")
        line: dict[str, Any] = {
            "agent": key[0], "runs": len(runs), "cost": None if None in own else float(np.mean(own)),
            **_interval("ratio", ratios), "feasible": f"{100 * np.mean([row['feasible'] for row in rows[key]]):.0f} %",
            **over, "paired": pairs,
            "seconds": float(np.mean([row["seconds"] for row in rows[key]])),
        }  # fmt: skip
        lines.append(line | ({"freedom": freedom[key] or None} if order else {}))
    return sorted(lines, key=lambda line: (place_in(line.get("freedom"), order), *_rank(line)))


def _over(name: str, mine: Floats | None = None, theirs: Floats | None = None) -> tuple[dict[str, Any], int | None]:
    """The geometric mean of costs (R, T) over others (S, T) on the instances that both know, its interval, and on how
    many; None where they are not compared.
    """
    empty = {name: None, f"{name} low": None, f"{name} high": None}
    if mine is None or theirs is None:
        return empty, None
    known = np.isfinite(mine).all(0) & np.isfinite(theirs).all(0)
    if not known.any():
        return empty, 0
    mine, theirs = np.log(mine[:, known]), np.log(theirs[:, known])
    low, high = np.exp(difference_interval(mine, theirs)).tolist()
    return {name: math.exp(mine.mean() - theirs.mean()), f"{name} low": low, f"{name} high": high}, int(known.sum())


def _rank(line: Mapping[str, Any]) -> list[float]:
    return [math.inf if line[key] is None else line[key] for key in ("ratio", "cost")]


def _means(rows: Sequence[Mapping[str, Any]], names: Sequence[str], key: str) -> Floats:
    """The geometric mean over the seeds of each instance, (T,); nan where one has no positive value."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for row in rows:
        value = row.get(key) if row["feasible"] else None
        found[row["instance"]].append(math.log(value) if value is not None and value > 0 else math.nan)
    return np.array([math.exp(float(np.mean(each))) if each else math.nan for each in found.values()])


def _interval(name: str, values: Floats, shared: bool = False) -> dict[str, Any]:
    """The geometric mean of values (R, T) and its interval; None where one is missing. If `shared`, of the instances
    where none is missing.
    """
    known = np.isfinite(values).all(0) if values.size else np.zeros(0, bool)
    empty = {name: None, f"{name} low": None, f"{name} high": None}
    if not known.any() or (not shared and not known.all()):
        return empty
    kept = values[:, known]
    low, high = bootstrap_interval(kept, geometric_means).tolist() if kept.size > 1 else (None, None)
    return {name: float(geometric_means(kept)), f"{name} low": low, f"{name} high": high}


def ablation_lines(evaluated: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """For each trained agent one line a contestant, by its cost over the agent's: of each run on each instance."""
    lines = []
    for (label, _), mine in _lines(evaluated).items():
        roles: dict[tuple[str, str], list[tuple[Evaluated, str]]] = {}
        for each in mine:
            for name, who in each.record["ablation"]["contestants"].items():
                roles.setdefault((who["role"], _renamed(each, {"agent": name}, True)), []).append((each, name))
        lines += [_contest(label, key, taking, len(mine)) for key, taking in roles.items()]
    return [line for line in lines if line["runs"]]


def _contest(label: str, key: tuple[str, str], taking: Sequence[tuple[Evaluated, str]], runs: int) -> dict[str, Any]:
    role, name = key
    mine, theirs, answers, lost = list[Floats](), list[Floats](), list[Mapping[str, Any]](), 0
    for each, word in taking:
        rows = [{**row, "feasible": row["feasible"] and not row.get("fallback")} for row in each.rows]
        own = [row for row in rows if row["agent"] == each.record["ablation"]["agent"]]
        found = [row for row in rows if row["agent"] == word]
        if not found:
            continue
        answers += found
        lost += sum(row["feasible"] for row in own) - sum(row["feasible"] for row in found)
        order, names = list(each.record.get("freedoms", [])), [item["name"] for item in each.record["instances"]]
        if freedom_in(found, order) == freedom_in(own, order):
            mine.append(_means(own, names, "cost"))
            theirs.append(_means(found, names, "cost"))
    line: dict[str, Any] = {"agent": name, "of": label, "role": role, "runs": len(answers) and runs}
    over = np.array(theirs) / np.array(mine) if len(mine) == runs else np.empty((0, 0))
    shared = np.isfinite(over).all(0) if over.size else np.zeros(0, bool)
    line |= {**_interval("over agent", over, True), "paired": int(shared.sum())}
    better = None
    if shared.any() and role != "agent":
        low, high = line["over agent low"], line["over agent high"]
        better = "yes" if low > 1 and lost >= 0 else "no" if high < 1 and lost <= 0 else "unclear"
    feasible = f"{100 * np.mean([row['feasible'] for row in answers]):.0f} %" if answers else None
    return line | {
        "agent is better": better, "feasible": feasible,
        "CPU s": float(np.mean([row["cpu_seconds"] for row in answers])) if answers else None,
    }  # fmt: skip
