"""`sysgym pack`: submissions from recorded runs, or from solution files of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sysgym import UsageError
from sysgym.core.errors import SysgymError, unknown
from sysgym.core.options import alike
from sysgym.core.registry import options_of
from sysgym.core.solutions import read_solution
from sysgym_leaderboards import Answer, Board, load_board, pack
from sysgym_zoo.jobs.boards import freedom_on
from sysgym_zoo.jobs.console import say
from sysgym_zoo.jobs.report import read_rows
from sysgym_zoo.lookup.naming import InMode, build, choose
from sysgym_zoo.lookup.records import PACKED, fault, inside, load_run


def _rows_of(folders: Sequence[Path], agent: str | None) -> tuple[str, list[tuple[Path, dict[str, Any]]]]:
    """The recorded rows of one agent, with their folders; UsageError if the agent is not clear."""
    rows = [(folder, row) for folder in folders for row in read_rows(folder)]
    names = sorted({row["agent"] for _, row in rows})
    if agent is None and len(names) != 1:
        raise UsageError(f"these runs hold the agents {', '.join(names)}; choose one with --agent.")
    chosen = names[0] if agent is None else agent
    if chosen not in names:
        raise unknown("agent of these runs", chosen, names)
    return chosen, [(folder, row) for folder, row in rows if row["agent"] == chosen]


def read_arrays(file: Path) -> dict[str, Any]:
    """A recorded solution."""
    from sysgym.core.data import read_file
    from sysgym.core.solutions import MAX_BYTES, parse_npz

    try:
        return parse_npz(read_file(file, MAX_BYTES))
    except SysgymError as error:
        why = str(error).rstrip(".").removeprefix(f"{file} cannot be read: ")
        raise UsageError(f"the solution {file} cannot be read: {why}; evaluate it again.") from error


def pack_runs(
    folders: Sequence[Path],
    board_name: str,
    output: Path,
    agent: str | None,
    authors: Sequence[str],
    code: str,
    licence: str,
) -> Path:
    """A submission from the solutions of evaluation runs, or of one folder of solution files (`pack_files`)."""
    board = load_board(board_name)
    if board.division == "policy":
        return pack_policy(folders, board, output, agent, authors, code, licence)
    if len(folders) == 1 and folders[0].is_dir() and not (folders[0] / "run.json").is_file():
        return pack_files(folders[0], board, output, agent, authors, code, licence)
    name, rows = _rows_of(folders, agent)
    record = load_run(folders[0])
    wrong = fault(record, PACKED)
    if wrong:
        raise UsageError(f"{folders[0]} does not say what a submission must ({wrong}); evaluate it again.")
    for folder in folders:
        problem, options = load_run(folder)["problem"], load_run(folder)["problem"]["options"]
        if f"{problem['name']}-v{problem['version']}" != board.problem:
            raise UsageError(f"board {board.id} is for {board.problem}, {folder} is of {problem['name']}.")
        for key, value in board.options.items():
            if options.get(key) == value:
                continue
            raise UsageError(
                f"board {board.id} is for {key}={value}, the run used {key}={options.get(key)}; evaluate anew."
            )
    solutions = {}
    freedom = freedom_on(board) or ""
    wanted = set(board.pairs())
    for folder, row in rows:
        if (row["instance"], row["seed"]) in solutions:
            raise UsageError(f"these runs solve {row['instance']} with seed {row['seed']} twice; name one of them.")
        if (row["instance"], row["seed"]) in wanted:
            solutions[row["instance"], row["seed"]] = Answer(
                read_arrays(inside(folder, row["solution"])),
                cost=row["cost"] if (row.get("freedom") or "") == freedom else None,  # else the board judges otherwise
                seconds=row["seconds"],
            )
    hardware = record["hardware"]
    manifest: dict[str, Any] = {
        "agent": name,
        "authors": list(authors),
        "licence": licence,
        "hardware": f"{hardware['processor']}, {hardware['cores']} cores",
        "threads": record["threads"],
        "suite_version": record["versions"]["sysgym"],
        "created": record["started"],
    }
    if code:
        manifest["code"] = code
    return pack(output, board, manifest, solutions)


def pack_policy(
    runs: Sequence[Path],
    board: Board,
    output: Path,
    agent: str | None,
    authors: Sequence[str],
    code: str,
    licence: str,
) -> Path:
    """A submission of an agent: a run folder of a training, or a registered name or recipe. The board runs it."""
    from sysgym_agents.portable import files_of

    if len(runs) != 1:
        raise UsageError(f"the board {board.id} runs one agent: give the folder of its training, or its name.")
    choice, problem = choose(str(runs[0])), board.make_problem()
    solver = build(choice, problem)
    own, options = (
        (solver.agent.agent, solver.agent.options) if isinstance(solver.agent, InMode) else (solver.agent, {})
    )
    mine = {key: value for key, value in options.items() if not alike(value, options_of(problem)[key])}
    manifest = {"agent": agent or solver.name, "authors": list(authors), "licence": licence}
    manifest |= {"code": code} if code else {}
    return pack(output, board, manifest, {}, files_of(choice.agent, own, choice.hyper, mine))


def pack_files(
    folder: Path, board: Board, output: Path, agent: str | None, authors: Sequence[str], code: str, licence: str
) -> Path:
    """A submission from solution files of one's own, in any format that `sysgym judge` reads.

    The file of an instance is its name without the set, such as `add20.part` for `walshaw/add20`; on a board with
    several seeds the seed follows, `add20-s0.part`. No cost is claimed: the board judges.
    """
    if agent is None:
        raise UsageError(f"{folder} holds solution files and no run; say whose they are by --agent NAME.")
    problem, solutions, used = board.make_problem(), {}, set()
    for instance, seed in board.pairs(problem):
        stem = instance.rpartition("/")[2] + (f"-s{seed}" if board.seeds > 1 else "")
        found = sorted(file for file in folder.iterdir() if file.is_file() and file.name.split(".")[0] == stem)
        if len(found) != 1:
            what = f"{len(found)} files" if found else "no file"
            raise UsageError(f"{folder} holds {what} for {instance} with seed {seed}; name one {stem}.json or alike.")
        used.add(found[0].name)
        arrays = read_solution(problem, problem.load(instance), found[0])
        solutions[instance, seed] = Answer(arrays, cost=None, seconds=None)
    others = sorted({file.name for file in folder.iterdir()} - used)
    if others:
        say(f"note: not of this board, so left out: {', '.join(others[:5])}{' ...' if len(others) > 5 else ''}")
    manifest = {"agent": agent, "authors": list(authors), "licence": licence, **({"code": code} if code else {})}
    return pack(output, board, manifest, solutions)
