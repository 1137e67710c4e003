"""`sysgym demo`: the main job on packaged data, from training to a verified ranking with a picture."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from sysgym import InvalidSolution
from sysgym_zoo.jobs import boards, packing
from sysgym_zoo.jobs.console import say, show_json, table
from sysgym_zoo.jobs.evaluate import How, evaluate, summarise
from sysgym_zoo.jobs.plan import Training
from sysgym_zoo.jobs.runs import fresh_folder
from sysgym_zoo.jobs.train import train
from sysgym_zoo.lookup.finding import build_problem
from sysgym_zoo.lookup.resolve import build_agent, instance_names

BOARD = "partitioning-delaunay-k4-v1"
TEST = "delaunay/test"
BASELINES = ("random", "ldg", "fennel", "spectral", "fm", "metis", "kahip")
WHEELS = {"metis": "pymetis", "kahip": "kahip"}


def demo(out: Path, seconds: float, as_json: bool) -> None:
    """Train, evaluate, submit, verify, rank; everything lands in the new folder `out`."""
    folder = fresh_folder(out, "demo")
    say(f"1. train ppo-refine for {seconds:g} seconds on eight triangulations (k = 4, 3 % imbalance)")
    run, record = train(Training(agent="ppo-refine", options=["k=4"], seconds=seconds, out=folder / "ppo-refine"))
    if record["status"] == "interrupted":
        raise KeyboardInterrupt
    chosen = [name for name in BASELINES if name not in WHEELS or find_spec(WHEELS[name])]
    say(f"2. evaluate it on eight unseen ones, beside {', '.join(chosen)}")
    problem = build_problem("Partitioning", ["k=4", "mode=assign"])  # the random agent assigns nodes one by one
    agents = [build_agent(name, problem) for name in [str(run), *chosen]]
    instances = [problem.load(name) for name in instance_names(problem, TEST)]
    evaluated, rows = evaluate(problem, agents, instances, How(seeds=3, out=folder / "evaluation"))
    say(table(summarise(rows, tuple(problem.freedoms))))
    say("3. submit every agent to the local board; each solution is judged again in a process of its own")
    store = folder / "leaderboards.sqlite"
    (folder / "submissions").mkdir()
    for name, *_ in agents:
        file = folder / "submissions" / f"{name.split()[0]}.zip"
        packing.pack_runs([evaluated], BOARD, file, name, ["sysgym demo"], "", "CC0-1.0")
        certificate = boards.submit(file, BOARD, store)
        say(f"   {boards.outcome(certificate)}")
        if not certificate.accepted:
            raise InvalidSolution(f"{file} was rejected: {certificate.reason}")
    say("4. the ranking, verified once more from the stored submissions")
    standings = boards.standings(BOARD, store)
    problems = boards.problems_in(BOARD, store)
    pages = boards.export([BOARD], folder / "site", "html", store)
    picture = folder / "partition.png"
    graph = instances[0]
    mine = [i for i, row in enumerate(rows) if row["agent"] == agents[0].name and row["instance"] == graph.name]
    best = min(mine, key=lambda i: rows[i]["cost"])
    with np.load(evaluated / "solutions" / f"{best}.npz") as solution:
        Image.fromarray(problem.render(graph, {"part": solution["part"]})).save(picture)
    index = next((page for page in pages if page.name == "index.html"), pages[0])
    found = {"board": str(index), "picture": str(picture), "store": str(store), "problems": problems}
    if as_json:
        show_json("demo", {**found, "standings": standings})
    else:
        print(table(standings))
        print("\n".join(problems) or "every stored submission verified")
        print(f"board: {index}\npicture: {picture}\nlearning curves: tensorboard --logdir {folder}")
    if problems:
        raise InvalidSolution(f"the store {store} does not verify: {problems[0]}")
