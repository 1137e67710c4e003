"""sysgym: the optimisation problems of computer systems as Gymnasium environments.

Importing this module registers every environment (`gym.make("sysgym/Partitioning-v0", ...)`), those of installed
plugins included. It imports neither torch nor numba.
"""

from importlib.metadata import PackageNotFoundError, version

from sysgym.core.defaults import complete
from sysgym.core.errors import InvalidSolution, MissingDependency, SysgymError, UsageError
from sysgym.core.options import Range
from sysgym.core.problem import ArraySpec, Dynamics, Problem, Size, Solution, Verdict, content_hash
from sysgym.core.registry import make_problem, problem_ids, register_environments, register_problem, with_options

try:
    __version__ = version("sysgym")
except PackageNotFoundError:  # a source tree on the path without an installation
    __version__ = "0+unknown"

__all__ = [
    "ArraySpec",
    "Dynamics",
    "InvalidSolution",
    "MissingDependency",
    "Problem",
    "Range",
    "Size",
    "Solution",
    "SysgymError",
    "UsageError",
    "Verdict",
    "__version__",
    "complete",
    "content_hash",
    "make_problem",
    "problem_ids",
    "register_problem",
    "with_options",
]

register_environments()
