"""`sysgym bench chip`: chip placement beside the figures that its peers were measured at, on an embedded design.

None of the peers can be installed as a package, so their figures are recorded, with no ratio to ours: CPU time of
TILOS' MacroPlacement (Python and C++), MaskPlace and WireMask-BBO, and for Google's binary what TILOS report.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from sysgym import UsageError, make_problem
from sysgym.chip_placement.cost import proxy_cost
from sysgym.chip_placement.formats.cache import read_netlist_cached
from sysgym.chip_placement.formats.lefdef.design import read_def
from sysgym.chip_placement.formats.netlist import HARD, SOFT, parse_netlist
from sysgym.chip_placement.geometry.force import place_soft
from sysgym.chip_placement.geometry.legal import node_mask
from sysgym.chip_placement.geometry.moves import Moves
from sysgym.chip_placement.geometry.wire import placing_order
from sysgym.chip_placement.instance import Chip
from sysgym.core import data
from sysgym.core.data import read_text
from sysgym.core.instances import find_entry
from sysgym_agents.chip_placement.placers import Cooling, SAPlacer, Setting, anneal, start_placement
from sysgym_agents.chip_placement.wiremask import Arranger, centred
from sysgym_agents.core import Budget
from sysgym_zoo.jobs.console import say
from sysgym_zoo.jobs.measuring import LEAST, Measured, Recorded, beside, each, median, recorded, row

DESIGN, TITLE = "designs/ariane133_NanGate45", "ariane133"
MACROS_ONLY = "ibm01/ibm01"
BEFORE = "date unknown, by 2026-11-23"  # when the figures came into this file
SHARED, TOLD = "two shared cores of an unknown processor", "unknown machine (TILOS' report)"


def ran(value: float) -> Recorded:
    """What we measured of a peer's code once."""
    return Recorded(value, BEFORE, SHARED)


def told(value: float) -> Recorded:
    """What TILOS report of Google's binary."""
    return Recorded(value, BEFORE, TOLD)


def costs(chip: Chip, seconds: float) -> list[dict[str, Any]]:
    """The proxy from scratch, after a move, legal cells, forces."""
    rng, netlist, canvas = np.random.default_rng(0), chip.netlist, chip.canvas
    placement = place_soft(netlist, canvas, start_placement(chip, rng))
    full = 1e3 * each(lambda: proxy_cost(netlist, canvas, placement), seconds)
    rows = beside(
        f"full cost, {TITLE}", full, "ms", "<= 3", {"TILOS' Python": ran(13200), "Google's, with a move": told(6)}
    )
    lines = np.array(canvas.routing_cell)
    corner = np.stack([placement.x - netlist.width / 2, placement.y - netlist.height / 2], axis=1)
    moved = np.where((netlist.kind == HARD)[:, None], np.round(corner / lines) * lines - corner, 0.0)[netlist.parent]
    lined = replace(placement, x=placement.x + moved[:, 0], y=placement.y + moved[:, 1])
    bound = 1e3 * each(lambda: proxy_cost(netlist, canvas, lined), seconds)
    rows.append(row(f"full cost with every macro on a line, and the bound of its congestion, {TITLE}", bound, "ms"))
    moves = Moves(netlist, canvas, placement)

    def play() -> None:
        nodes = rng.choice(moves.movable, 100).tolist()
        at = (rng.integers((0, 0), (canvas.columns, canvas.rows), (100, 2)) + 0.5) * canvas.cell
        for node, (x, y) in zip(nodes, at.tolist(), strict=True):
            moves.put([node], [x], [y], [0])
            moves.cost()

    rows += beside(
        f"incremental move and cost, {TITLE}", 10 * each(play, seconds), "ms", "<= 0.15", {"TILOS' C++": ran(0.16)}
    )
    some = replace(
        placement, placed=~np.isin(netlist.parent, [*chip.movable[60:], *np.flatnonzero(netlist.kind == SOFT)])
    )
    mask = 1e6 * each(lambda: node_mask(netlist, canvas, some, int(chip.movable[60])), seconds)
    rows += beside(f"node mask with 60 macros placed, {TITLE}", mask, "us", "", {"TILOS' Python": ran(80000)})
    forces = each(lambda: place_soft(netlist, canvas, placement), seconds)
    return rows + beside(
        f"300 steps of forces, {TITLE}", forces, "s", "<= 0.3", {"TILOS' C++": ran(0.5), "Google's": told(0.74)}
    )


def episodes(instance: str, seconds: float, **options: Any) -> Measured:
    """Steps a CPU second of random legal actions with the dynamic observation, resets included; median of episodes."""
    env = gym.make("sysgym/ChipPlacement-v0", instance=instance, obs="dynamic", disable_env_checker=True, **options)
    rng, shell = np.random.default_rng(0), env.unwrapped
    many = isinstance(env.action_space, gym.spaces.MultiDiscrete)

    def draw() -> Any:
        mask = shell.action_masks()  # type: ignore[attr-defined]
        if not many:
            return int(rng.choice(np.flatnonzero(mask)))
        parts = np.split(mask, np.cumsum(env.action_space.nvec)[:-1])  # type: ignore[attr-defined]
        return [int(rng.choice(np.flatnonzero(part))) for part in parts]

    def play() -> tuple[int, float]:
        spent, steps, over = -time.process_time(), 0, False
        env.reset(seed=int(rng.integers(2**31)))
        while not over:
            spent += time.process_time()
            action = draw()
            spent -= time.process_time()
            over = env.step(action)[2]
            steps += 1
        return steps, spent + time.process_time()

    play()  # compiles, or loads what is compiled
    found = [play() for _ in range(LEAST)]
    while sum(spent for _, spent in found) < seconds:
        found.append(play())
    return median([steps / spent for steps, spent in found])


def environments(public: Chip | None, seconds: float) -> list[dict[str, Any]]:
    """Steps of the modes."""
    found = episodes(DESIGN, seconds, mode="sequential")
    rows = beside(f"sequential with forces at the end, {TITLE}", found, "steps/s", ">= 500",
                   {"TILOS' Python": ran(0.03), "TILOS' Python without forces": ran(5)})  # fmt: skip
    rows.append(
        row(f"refine, {TITLE}", episodes(DESIGN, seconds, mode="refine", steps=2000 if seconds > 1 else 200), "steps/s")
    )
    if public is not None:
        found = episodes(MACROS_ONLY, seconds, mode="hpwl", grid=144)
        rows += beside("hpwl, ibm01 at grid 144", found, "steps/s", ">= 5000", {"MaskPlace": ran(323)})
    return rows


def placers(chip: Chip, public: Chip | None, seconds: float) -> list[dict[str, Any]]:
    """Placers: moves of the annealer, placements by wire mask."""
    tries, sweeps = 20, 2 if seconds < 1 else 10
    start = start_placement(chip, np.random.default_rng(0))

    def run() -> None:
        setting = Setting(chip.netlist, chip.canvas, forces=False)
        anneal(setting, start, np.random.default_rng(0), Budget(), Cooling(sweeps, tries))

    moves = sweeps * tries * len(chip.movable) / each(run, seconds)
    rows = beside(f"annealing with the exact cost, {TITLE}", moves, "moves/s", ">= 5000", {"TILOS' C++": ran(5000)})
    if public is not None:
        arranger, guides = Arranger(public, placing_order(public, "nets")), centred(public)
        whole = 1e3 * each(lambda: arranger.cost(guides), seconds)
        rows += beside(
            "placement of all macros by wire mask, ibm01 at grid 144", whole, "ms", "", {"WireMask-BBO": ran(2500)}
        )
    return rows


def parsing(seconds: float) -> list[dict[str, Any]]:
    """Reading the netlist of the design: from its text, and parsed before."""
    problem = make_problem("ChipPlacement")
    entry = find_entry(problem.instance_sets(), DESIGN)
    assert entry is not None
    path = data.find(entry.files[0])
    assert path is not None

    def cold(path: Path) -> None:
        parse_netlist(read_text(path), "design", path)

    first = each(lambda: cold(path), seconds)
    again = each(lambda: read_netlist_cached(path), seconds)
    rows = beside(f"netlist read for the first time, {TITLE}", first, "s", "<= 1", {"TILOS' Python": ran(1.24)})
    content = made_def(30_000)
    words = len(content.split())
    time_of_def = 1e6 * each(lambda: read_def(content, "made.def"), seconds) / words
    return [
        *rows, row(f"netlist read again, {TITLE}", again, "s", "<= 0.3"),
        row(f"a DEF of {words} words", time_of_def, "us a word", "<= 1"),
    ]  # fmt: skip


def made_def(components: int) -> bytes:
    """A DEF of this many components in a chain of nets."""
    places = "".join(f"- u{i} CELL + PLACED ( {10 * i} {20 * i} ) N ;\n" for i in range(components))
    nets = "".join(f"- n{i} ( u{i} Z ) ( u{i + 1} A ) + USE SIGNAL ;\n" for i in range(components - 1))
    return (
        f"VERSION 5.8 ;\nDESIGN made ;\nUNITS DISTANCE MICRONS 1000 ;\nDIEAREA ( 0 0 ) ( 1000000 1000000 ) ;\n"
        f"COMPONENTS {components} ;\n{places}END COMPONENTS\nNETS {components - 1} ;\n{nets}END NETS\nEND DESIGN\n"
    ).encode()


def annealed(seeds: int, sweeps: int) -> list[dict[str, Any]]:
    """What the annealer reaches, beside TILOS' C++ annealer with the same moves: medians over seeds."""
    problem = make_problem("ChipPlacement")
    chip, costs, times = problem.load(DESIGN), [], []
    for seed in range(1, seeds + 1):
        started = time.process_time()
        solution = SAPlacer(sweeps=sweeps).solve(problem, chip, np.random.default_rng(seed), Budget())
        times.append(time.process_time() - started)
        verdict = problem.judge(chip, solution)
        costs.append(verdict.cost if verdict.feasible else np.inf)
        say(f"sa-placer, seed {seed}: proxy {costs[-1]:.4f} after {times[-1]:.0f} CPU seconds")
    what = f"sa-placer, {sweeps} sweeps, {TITLE}"
    return [
        row(what, median(costs), "proxy", "<= 0.69"),
        recorded(f"{what}: TILOS' C++, three seeds", ran(median([0.677877, 0.682906, 0.689507])), "proxy"),
        row(f"{what}: CPU time of a seed", median(times), "s", "<= 60"),
        recorded(f"{what}: CPU time of a seed, TILOS' C++", ran(median([41, 37, 36])), "s"),
    ]


def rows(quick: bool) -> list[dict[str, Any]]:
    """All rows."""
    design, seconds = make_problem("ChipPlacement").load(DESIGN), 0.05 if quick else 3.0
    try:
        public = make_problem("ChipPlacement", grid=144).load(MACROS_ONLY)
    except UsageError as error:
        say(f"without the rows of {MACROS_ONLY}: {error}")
        public = None
    rows = costs(design, seconds) + environments(public, seconds) + placers(design, public, seconds) + parsing(seconds)
    return rows if quick else rows + annealed(3, 200)
