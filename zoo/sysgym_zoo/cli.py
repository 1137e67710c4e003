"""The `sysgym` command. Every command imports what it needs when it runs, so that `--help` stays instant."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="sysgym",
    help="Gymnasium environments, agents and verified leaderboards for the optimisation problems of computer systems.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
list_app = typer.Typer(help="What there is.", no_args_is_help=True)
board_app = typer.Typer(help="Rankings, re-verification and export.", no_args_is_help=True)
data_app = typer.Typer(help="Public data sets.", no_args_is_help=True)
app.add_typer(list_app, name="list")
app.add_typer(board_app, name="board")
app.add_typer(data_app, name="data")

ProblemName = Annotated[str, typer.Option("--problem", "-p", help="Name of the problem, such as Partitioning.")]
Options = Annotated[list[str] | None, typer.Option("-O", help="Option of the problem, key=value; repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
Threads = Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of torch; results depend on it.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder to make; default: the next below runs/.")]
StorePath = Annotated[
    Path | None, typer.Option("--store", help="Leaderboard file; default: SYSGYM_STORE or the user's.")
]


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors that a user can cause into one sentence on stderr and the documented exit code."""

    @functools.wraps(function)
    def run(*args: Any, **keywords: Any) -> Any:
        try:
            return function(*args, **keywords)
        except KeyboardInterrupt:
            print("sysgym: interrupted.", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            raise typer.Exit(explain(error)) from None

    return run


def explain(error: Exception) -> int:
    """Print one sentence about an error and return its exit code; SYSGYM_DEBUG=1 shows the traceback as well."""
    from sysgym.core.errors import SysgymError

    if os.environ.get("SYSGYM_DEBUG"):
        traceback.print_exc()
    if isinstance(error, SysgymError):
        print(f"sysgym: {error}", file=sys.stderr)
        return error.exit_code
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):  # numba wraps one that arrives inside a kernel
            print("sysgym: interrupted.", file=sys.stderr)
            return 130
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OSError):
        print(f"sysgym: {error.filename or 'the output'}: {error.strerror or error}.", file=sys.stderr)
    else:
        line = (str(error).splitlines() or [""])[0]
        hint = "this is a defect of sysgym or of a plugin, SYSGYM_DEBUG=1 shows where"
        print(f"sysgym: unexpected {type(error).__name__}: {line}; {hint}.", file=sys.stderr)
    return 1


def command(group: typer.Typer, name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a guarded command."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        return group.command(name)(guarded(function))

    return register


def version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from importlib.metadata import version as find

        print(find("sysgym"))
        raise typer.Exit


@app.callback()
def root(
    show: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Gymnasium environments, agents and verified leaderboards for the optimisation problems of computer systems."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread unless the user says otherwise: results depend on it


@command(app)
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that the demo makes.")] = Path("demo"),
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, max=3600.0, help="Training time.")] = 40.0,
    as_json: AsJson = False,
) -> None:
    """The main job: train a small agent, evaluate it on unseen graphs, submit, verify, rank. About two minutes."""
    from sysgym_zoo.demo import demo as run

    run(out, seconds, as_json)


@command(list_app)
def problems(as_json: AsJson = False) -> None:
    """Registered problems."""
    from sysgym_zoo.catalogue import problem_rows

    _rows(problem_rows(), as_json)


@command(list_app)
def agents(
    problem: Annotated[str | None, typer.Option("--problem", "-p", help="Only those for this problem.")] = None,
    as_json: AsJson = False,
) -> None:
    """Registered agents."""
    from sysgym_zoo.catalogue import agent_rows

    _rows(agent_rows(problem), as_json)


@command(list_app)
def instances(
    problem: Annotated[str, typer.Option("--problem", "-p", help="The problem.")] = "Partitioning",
    within: Annotated[str | None, typer.Argument(help="A set, to list its instances.")] = None,
    as_json: AsJson = False,
) -> None:
    """Instance sets of a problem, or the instances of one set."""
    from sysgym_zoo.catalogue import instance_rows

    _rows(instance_rows(problem, within), as_json)


@command(list_app)
def boards(as_json: AsJson = False) -> None:
    """Leaderboards."""
    from sysgym_zoo.boards import board_rows

    _rows(board_rows(), as_json)


@command(app)
def show(
    name: Annotated[str, typer.Argument(help="A problem, agent, instance, set, board or recipe.")],
    as_json: AsJson = False,
) -> None:
    """The documentation of a problem, agent, instance, set, board or recipe."""
    from sysgym_zoo.catalogue import describe
    from sysgym_zoo.console import show_json

    found = describe(name)
    if as_json:
        show_json(found)
    else:
        print(found["text"])


@command(app)
def train(
    problem: ProblemName = "Partitioning",
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="A learner, such as ppo-refine or gap.")] = None,
    options: Options = None,
    instances: Annotated[str | None, typer.Option(help="Set (or ;-separated names and files) to train on.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Packaged recipe or TOML file.")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="Hyper-parameter, key=value; repeatable.")] = None,
    steps: Annotated[int | None, typer.Option(help="Environment steps, or iterations, to train for.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds to train for.")] = None,
    seed: Seed = 0,
    threads: Threads = 1,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a learner: metrics, TensorBoard events, checkpoints and the agent in a run folder."""
    from sysgym_zoo.console import show_json
    from sysgym_zoo.train import train as run

    folder, record = run(
        problem, agent, options or [], instances, recipe, change or [], steps, seconds, seed, threads, out, resume
    )
    if as_json:
        show_json({"run": str(folder), **record})
    else:
        print(folder)
    if record["status"] == "interrupted":
        raise typer.Exit(130)


@command(app)
def solve(
    instance: Annotated[str, typer.Argument(help="A registered name, a recipe, or a file of your own.")],
    problem: ProblemName = "Partitioning",
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="A name or a run folder.")] = None,
    options: Options = None,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Time budget.")] = None,
    seed: Seed = 0,
    threads: Threads = 1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Solution file to write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Solve one instance and judge the answer. Exit code 3 if it is infeasible."""
    from sysgym.core.solutions import write_solution
    from sysgym_agents.core import Budget
    from sysgym_zoo.evaluate import solve_once
    from sysgym_zoo.resolve import build_agent, build_problem, trained_options
    from sysgym_zoo.runs import set_threads

    built = build_problem(problem, options or [])
    chosen = agent or built.recommended_agent
    built = trained_options([chosen], built, options or [])
    name, solver = build_agent(chosen, built)
    loaded = built.load(instance)
    set_threads(threads) if hasattr(solver, "fit") else None
    row, solution = solve_once(built, loaded, solver, name, seed, Budget(seconds=seconds))
    if output is not None:
        write_solution(built, loaded, solution, output)
    _verdict(row, as_json, {"solution": dict(solution)} if output is None and as_json else {})


@command(app)
def judge(
    instance: Annotated[str, typer.Argument(help="A registered name, a recipe, or a file of your own.")],
    solution: Annotated[Path, typer.Argument(help="Solution: .json, .npz, .npy or the field's own format.")],
    problem: ProblemName = "Partitioning",
    options: Options = None,
    as_json: AsJson = False,
) -> None:
    """Check a solution, whoever made it. Exit code 3 if it is infeasible or no solution at all."""
    import time

    from sysgym import content_hash
    from sysgym.core.solutions import read_solution
    from sysgym_zoo.resolve import build_problem

    built = build_problem(problem, options or [])
    loaded = built.load(instance)
    wall, cpu = time.perf_counter(), time.process_time()
    verdict = built.judge(loaded, read_solution(built, loaded, solution))
    row = {
        "problem": f"{built.name}-v{built.version}", "instance": loaded.name, "instance_hash": content_hash(loaded),
        "agent": None, "seed": None, **verdict.as_dict(),
        "seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu,
    }  # fmt: skip
    _verdict(row, as_json, {})


def _verdict(row: dict[str, Any], as_json: bool, extra: dict[str, Any]) -> None:
    from sysgym_zoo.console import number, show_json

    if as_json:
        show_json({**row, **extra})
    else:
        agent = f" by {row['agent']}" if row["agent"] else ""
        print(
            f"{row['instance']}{agent}: cost {number(row['cost'])}, {'feasible' if row['feasible'] else 'INFEASIBLE'}"
        )
        for key, value in row["metrics"].items():
            print(f"  {key:20} {number(value)}")
        if row.get("ratio") is not None:
            reference = row["reference"]
            print(f"  {'ratio':20} {number(row['ratio'])} to {reference['who']} ({number(reference['cost'])})")
        for violation in row["violations"]:
            print(f"  violation: {violation}")
    if not row["feasible"]:
        raise typer.Exit(3)


@command(app)
def evaluate(
    agent: Annotated[
        list[str] | None, typer.Option("--agent", "-a", help="A name or a run folder; repeatable.")
    ] = None,
    instances: Annotated[str | None, typer.Option(help="Set (or ;-separated names and files) to solve.")] = None,
    problem: ProblemName = "Partitioning",
    options: Options = None,
    seeds: Annotated[int, typer.Option(help="Seeds 0..n-1 on every instance.")] = 5,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Time budget of one solution.")] = None,
    threads: Threads = 1,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Agents on instances and seeds: a table, and a run folder with every row and solution."""
    from sysgym_zoo import evaluate as module
    from sysgym_zoo.console import say, show_json, table
    from sysgym_zoo.resolve import build_agent, build_problem, instance_names, trained_options

    built = build_problem(problem, options or [])
    chosen = agent or [built.recommended_agent]
    built = trained_options(chosen, built, options or [])
    solvers = [build_agent(name, built) for name in chosen]
    wanted = built.default_instances if instances is None else instances
    loaded = [built.load(name) for name in instance_names(built, wanted)]
    folder, rows = module.evaluate(built, solvers, loaded, seeds, seconds, threads, out)
    summary = module.summarise(rows)
    if as_json:
        show_json({"run": str(folder), "summary": summary, "rows": rows})
    else:
        print(table(summary))
        say(f"rows and solutions: {folder}")


@command(app)
def render(
    instance: Annotated[str, typer.Argument(help="A registered name, a recipe, or a file of your own.")],
    solution: Annotated[Path, typer.Argument(help="Solution file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Picture to write, .png.")],
    problem: ProblemName = "Partitioning",
    options: Options = None,
    as_json: AsJson = False,
) -> None:
    """Draw a solution."""
    from PIL import Image

    from sysgym import UsageError
    from sysgym.core.solutions import read_solution
    from sysgym_zoo.resolve import build_problem

    built = build_problem(problem, options or [])
    loaded = built.load(instance)
    picture = Image.fromarray(built.render(loaded, read_solution(built, loaded, solution)))
    try:
        picture.save(output)
    except (ValueError, OSError) as error:
        raise UsageError(f"cannot write {output}: {error}; use a name that ends in .png.") from error
    _paths([output], as_json)


@command(app)
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of evaluations.")],
    write: Annotated[Path | None, typer.Option(help="Markdown file with report markers to update.")] = None,
    name: Annotated[str, typer.Option(help="Name of the markers.")] = "results",
    as_json: AsJson = False,
) -> None:
    """The table of recorded evaluations, as Markdown; --write puts it between the markers of a file."""
    from sysgym_zoo.console import show_json
    from sysgym_zoo.report import report as make
    from sysgym_zoo.report import update

    rows, text = make(runs)
    if write is not None:
        update(write, name, text)
    show_json(rows) if as_json else print(text)


@command(app)
def bench(
    area: Annotated[str, typer.Argument(help="What to measure.")] = "partitioning",
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, for a smoke test.")] = False,
    as_json: AsJson = False,
) -> None:
    """Speed against peers and the kernel's own floor, as ratios measured in this process."""
    from sysgym_zoo.bench import bench as run
    from sysgym_zoo.console import show_json, table

    rows = run(area, quick)
    show_json(rows) if as_json else print(table(rows))


@command(app)
def doctor(as_json: AsJson = False) -> None:
    """Check the installation: versions, threads, plugins, optional packages, writable folders."""
    from sysgym_zoo.console import show_json, table
    from sysgym_zoo.doctor import checks

    rows = checks()
    show_json(rows) if as_json else print(table(rows))
    if any(row["status"] == "broken" for row in rows):
        raise typer.Exit(1)


@command(data_app, "list")
def data_list(
    problem: Annotated[str, typer.Option("--problem", "-p", help="The problem.")] = "Partitioning",
    as_json: AsJson = False,
) -> None:
    """Data sets: source, licence and whether they are on this machine."""
    from sysgym_zoo.catalogue import data_rows

    _rows(data_rows(problem), as_json)


@command(data_app, "get")
def data_get(
    name: Annotated[str, typer.Argument(help="A set, or one instance.")],
    problem: Annotated[str, typer.Option("--problem", "-p", help="The problem.")] = "Partitioning",
    as_json: AsJson = False,
) -> None:
    """Fetch a public data set into the cache folder, with checksums."""
    from sysgym_zoo.catalogue import fetch

    _rows(fetch(problem, name), as_json)


@command(data_app, "path")
def data_path(
    name: Annotated[str, typer.Argument(help="One instance, such as walshaw/add20.")],
    problem: Annotated[str, typer.Option("--problem", "-p", help="The problem.")] = "Partitioning",
    as_json: AsJson = False,
) -> None:
    """Where the file of an instance lies on this machine."""
    from sysgym_zoo.catalogue import file_path
    from sysgym_zoo.console import show_json

    path = file_path(problem, name)
    show_json({"instance": name, "path": str(path)}) if as_json else print(path)


@command(app)
def pack(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of evaluations.")],
    board: Annotated[str, typer.Option(help="The board to submit to.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Submission to write, .zip.")] = Path("submission.zip"),
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="Which agent of the runs.")] = None,
    author: Annotated[list[str] | None, typer.Option(help="An author; repeatable.")] = None,
    code: Annotated[str, typer.Option(help="Where the code is.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the solutions.")] = "CC0-1.0",
    as_json: AsJson = False,
) -> None:
    """Build a submission from recorded solutions."""
    from sysgym_zoo.boards import pack_runs

    _paths([pack_runs(runs, board, output, agent, author or [], code, licence)], as_json)


@command(app)
def submit(
    pack: Annotated[Path, typer.Argument(help="Submission made by `sysgym pack`.")],
    board: Annotated[str | None, typer.Option(help="The board; default: the one that the submission names.")] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Verify a submission and record it on the local board. Exit code 3 if it is rejected."""
    from sysgym_zoo import boards as module
    from sysgym_zoo.console import show_json

    certificate = module.submit(pack, board, store)
    show_json(certificate.as_dict()) if as_json else print(module.outcome(certificate))
    if not certificate.accepted:
        raise typer.Exit(3)


@command(board_app, "list")
def board_list(as_json: AsJson = False) -> None:
    """Leaderboards."""
    from sysgym_zoo.boards import board_rows

    _rows(board_rows(), as_json)


@command(board_app, "show")
def board_show(
    board: Annotated[str, typer.Argument(help="Name of a board, or its TOML file.")],
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """The ranking of a board."""
    from sysgym_zoo.boards import standings

    _rows(standings(board, store), as_json)


@command(board_app, "verify")
def board_verify(
    board: Annotated[str | None, typer.Argument(help="One board; default: everything stored.")] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Check the hash chain and judge every stored solution again. Exit code 3 if anything differs."""
    from sysgym_zoo.boards import verify

    if not verify(board, store, as_json):
        raise typer.Exit(3)


@command(board_app, "export")
def board_export(
    board: Annotated[list[str] | None, typer.Argument(help="Boards; default: all that have entries.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("site"),
    kind: Annotated[str, typer.Option("--format", help="html, json or csv.")] = "html",
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Write boards as JSON, CSV or a static page with pictures of the best solutions."""
    from sysgym_zoo.boards import export

    _paths(export(board or [], out, kind, store), as_json)


def _paths(paths: list[Path], as_json: bool) -> None:
    from sysgym_zoo.console import show_json

    if as_json:
        show_json({"files": [str(path) for path in paths]})
    else:
        print("\n".join(map(str, paths)))


def _rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    from sysgym_zoo.console import show_json, table

    show_json(rows) if as_json else print(table(rows))


def main() -> None:
    """Entry point of the console command."""
    app()


if __name__ == "__main__":
    main()
