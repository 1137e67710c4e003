"""Story 2, train an agent: a recipe of the zoo, its evaluation beside others, and its run loaded again. A script of
notebook cells; the same on the command line is `sysgym train`, `evaluate` and `solve`.

python -m sysgym_zoo.examples.story_train
"""

# %% What is trained: message passing that chooses moves of a local search, by PPO with masks.
import tempfile
from pathlib import Path

import numpy as np

from sysgym import make_problem
from sysgym_agents import Budget
from sysgym_zoo.jobs.console import table
from sysgym_zoo.jobs.evaluate import How, evaluate, summarise
from sysgym_zoo.jobs.plan import Training
from sysgym_zoo.jobs.train import train
from sysgym_zoo.lookup.resolve import build_agent, instance_names

folder = Path(tempfile.mkdtemp(prefix="sysgym-"))

# %% Train for two seconds. The run folder keeps the seed, every option, versions, weights and TensorBoard events.
asked = Training(agent="ppo-refine", options=["k=4"], instances="tiny/train", seconds=2.0, out=folder / "mine")
run, record = train(asked)
print(f"{record['status']}: {run}", *sorted(path.name for path in run.iterdir()))

# %% Evaluate it on graphs that it has not seen, beside others; a run folder is an agent.
problem = make_problem("Partitioning", k=4)
agents = [build_agent(word, problem) for word in (str(run), "random", "greedy", "fm")]
unseen = [problem.load(name) for name in instance_names(problem, "tiny/test")]
_, rows = evaluate(problem, agents, unseen, How(seeds=3, out=folder / "evaluation"))
print(table(summarise(rows, tuple(problem.freedoms))))

# %% Load it again, today or next year, and let it solve a graph of any size.
agent = build_agent(str(run), problem).agent
large = problem.load("delaunay:n=2000,seed=1")
solution = agent.solve(problem, large, np.random.default_rng(0), Budget(seconds=0.5))
verdict = problem.judge(large, solution)
print(
    f"{large.name}, {large.nodes} nodes: cut {verdict.cost:g}, {'feasible' if verdict.feasible else verdict.violations}"
)
