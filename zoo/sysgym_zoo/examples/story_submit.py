"""Story 3, submit to a leaderboard: solve its instances, pack, submit, see the ranking, verify. A script of notebook
cells; the same on the command line is `sysgym evaluate`, `pack`, `submit` and `board`.

python -m sysgym_zoo.examples.story_submit
"""

# %% A board says what is solved, with which options, and against what.
import tempfile
from pathlib import Path

import numpy as np

from sysgym_agents import Budget, make_agent
from sysgym_leaderboards import Answer, Store, load_board, pack, rank

board = load_board("partitioning-tiny-k2-v1")
problem = board.make_problem()
print(f"{board.title}: {board.options}, over {board.reference}")
print("asked for (instance, seed):", *board.pairs(problem))

# %% Two agents solve all of it. A solution is plain arrays: yours may come from anywhere.
answers: dict[str, dict[tuple[str, int], Answer]] = {}
for name in ("random", "fm"):
    agent, answers[name] = make_agent(name), {}
    for instance, seed in board.pairs(problem):
        solution = agent.solve(problem, problem.load(instance), np.random.default_rng(seed), Budget())
        answers[name][instance, seed] = Answer(solution)

# %% A submission holds solutions, never a score.
folder = Path(tempfile.mkdtemp(prefix="sysgym-"))
files = [
    pack(folder / f"{name}.zip", board, {"agent": name, "authors": ["Ada Lovelace"]}, answers[name]) for name in answers
]

# %% Each is judged again in a process of its own, with limits on time and memory, and recorded in a store.
store = Store(folder / "leaderboards.sqlite")  # without a path: the one that the command line uses
for file in files:
    certificate = store.submit(file, board)
    print(f"{file.name}: {'accepted' if certificate.accepted else f'rejected, {certificate.reason}'}")

# %% The ranking: geometric mean of cost / reference, lower is better, with its 95 % interval.
for line in rank(board, store.entries(board)):
    print(f"{line.rank}. {line.agent:8} {line.score:.3f} [{line.low:.3f}, {line.high:.3f}]")

# %% Whoever has the store can check all of it: the chain of hashes, and every solution judged once more.
problems = [*store.check_chain(), *store.reverify(board)]
print(problems or "verified")
