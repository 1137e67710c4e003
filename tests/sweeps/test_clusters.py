"""Sweeps in real processes: of this machine, of a Ray cluster that loses a node, of a queue; the same everywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from here import SMALL, facts

import sysgym
from sysgym_zoo.sweeps.backends import Local
from sysgym_zoo.sweeps.drive import load_units, run_sweep
from sysgym_zoo.sweeps.execute import state
from sysgym_zoo.sweeps.files import load_sweep

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sweeps")]
LONGER = ("seeds = 2\n    steps = 4", "seeds = 6\n    steps = 40")


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed sweep on this machine finds."""
    folder, before = tmp_path_factory.mktemp("wanted"), Path.cwd()
    os.chdir(folder)
    try:
        Path("small.toml").write_text(SMALL.replace(*LONGER))
        run_sweep(load_sweep(Path("small.toml")), Path("out"), lambda: Local(2))
        return facts(Path("out"))
    finally:
        os.chdir(before)


@pytest.fixture
def longer(small: Path) -> Path:
    text = small.read_text()
    assert LONGER[0] in text
    small.write_text(text.replace(*LONGER))
    return small


def done(root: Path) -> int:
    return sum(state(root, unit) == "done" for unit in load_units(root)) if (root / "sweep.json").is_file() else 0


def start(file: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "sysgym_zoo.cli", "sweep", str(file), "--out", "out", "--cores", "2"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_some_are_done(head: subprocess.Popen[str]) -> None:
    while done(Path("out")) < 2:
        assert head.poll() is None, head.communicate()
        time.sleep(0.02)


def test_a_killed_head_costs_nothing_but_time(longer: Path, wanted: dict[str, Any]) -> None:
    head = start(longer)
    until_some_are_done(head)
    head.kill()
    head.communicate()
    assert done(Path("out")) < len(wanted)
    head = start(longer)
    out, err = head.communicate()
    assert head.returncode == 0, err
    assert facts(Path("out")) == wanted and "gap" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_head_says_how_to_go_on(number: int, longer: Path, wanted: dict[str, Any]) -> None:
    head = start(longer)
    until_some_are_done(head)
    head.send_signal(number)
    _, err = head.communicate()
    assert head.returncode == 130 and "the same command goes on from there" in err and "Traceback" not in err
    assert not [unit for unit in load_units(Path("out")) if state(Path("out"), unit) in ("failed", "broken")]
    head = start(longer)
    assert head.communicate() is not None and head.returncode == 0
    assert facts(Path("out")) == wanted


def test_killed_workers_cost_their_own_run_only(longer: Path, wanted: dict[str, Any]) -> None:
    backend = Local(2)
    killed: list[int] = []

    def killing() -> None:
        while len(killed) < 2:
            time.sleep(0.5)
            for worker in list(backend.workers):
                pid = worker.process.pid
                if worker.task is not None and pid not in killed and done(Path("out")) >= len(killed) and pid:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    break

    thread = threading.Thread(target=killing)
    thread.start()
    run_sweep(load_sweep(longer), Path("out"), lambda: backend)
    thread.join()
    assert len(killed) == 2 and facts(Path("out")) == wanted


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes, each with a CPU."""
    pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20},
    )
    made.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    yield made
    made.shutdown()


def test_a_ray_cluster_that_loses_a_node(longer: Path, wanted: dict[str, Any], cluster: Any) -> None:
    from sysgym_zoo.sweeps.on_ray import OnRay

    def losing() -> None:
        while done(Path("out")) < 2:
            time.sleep(0.05)
        cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)

    thread = threading.Thread(target=losing)
    thread.start()
    run_sweep(load_sweep(longer), Path("out"), lambda: OnRay(cluster.address))
    thread.join()
    assert facts(Path("out")) == wanted and len(cluster.list_all_nodes()) == 1


def test_what_no_node_can_hold_is_refused_at_once(longer: Path, cluster: Any) -> None:
    from sysgym_zoo.sweeps.on_ray import OnRay

    longer.write_text(longer.read_text().replace("steps = 40", "steps = 40\n    threads = 2"))
    with pytest.raises(sysgym.UsageError, match="the largest node of the cluster has 1 CPU"):
        run_sweep(load_sweep(longer), Path("out"), lambda: OnRay(cluster.address))
    assert not list(Path("out").glob("runs/*"))


def test_ray_on_this_machine_beside_a_cluster(small: Path, cluster: Any, real_sysgym: Callable[..., Any]) -> None:
    """Without an address the sweep has a cluster of its own, whatever runs here."""
    words = ("sweep", "small.toml", "--out", "out", "--backend", "ray")
    assert "no Ray cluster answers at 127.0.0.1:1 " in real_sysgym(*words, "--address", "127.0.0.1:1", code=2).stderr
    assert "leave --cores out" in real_sysgym(*words, "--address", "auto", "--cores", "1", code=2).stderr
    assert "| gap | 2 |" in real_sysgym(*words, "--cores", "2", RAY_ADDRESS=cluster.address).stdout
    assert done(Path("out")) == 6


def test_jobs_of_a_queue(small: Path, sysgym: Callable[..., Any], inline: Callable[..., Any]) -> None:
    pytest.importorskip("submitit")
    small.write_text(small.read_text() + '[slurm]\ncluster = "local"\ntimeout_min = 5\n')
    assert "Partitioning-v0" in inline("sweep", str(small), "--out", "out", "--backend", "slurm").stdout
    assert done(Path("out")) == 6
    elsewhere = Path("elsewhere")
    run_sweep(load_sweep(small), elsewhere, lambda: Local(2))
    assert facts(Path("out")) == facts(elsewhere)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "there is no `sbatch` on this machine"),
        ('[slurm]\ncluster = "local"\nslurm_partitoin = "x"\n', "is not what submitit takes"),
        ('[slurm]\ncluster = "local"\njobs = 0\n', "jobs must be a whole number from 1"),
    ],
)
def test_queues_that_cannot_be(table: str, said: str, small: Path, inline: Callable[..., Any]) -> None:
    pytest.importorskip("submitit")
    small.write_text(small.read_text() + table)
    assert said in inline("sweep", str(small), "--out", "out", "--backend", "slurm", code=2).stderr


@pytest.mark.parametrize("words", [(), ("--backend", "ray"), ("--backend", "slurm", "--slurm", "cluster=local")])
def test_tuning_runs_where_sweeps_do(words: tuple[str, ...], tmp_path: Path, real_sysgym: Callable[..., Any]) -> None:
    """Two processes, the same trials and seeds; each trial once."""
    pytest.importorskip({"ray": "ray", "slurm": "submitit"}.get(words[1] if words else "", "optuna"))
    asked = ("tune", "gap", "--instances", "tiny/train", "--set", "hidden=8", "--steps", "8", "--trials", "5")
    done = real_sysgym(*asked, "--seeds", "1", "--workers", "2", "--study", "study", *words, "--json")
    trials = json.loads(done.stdout)["trials"]
    assert sorted(row["trial"] for row in trials) == list(range(5)) and (tmp_path / "study" / "recipe.toml").is_file()
    assert {path.name for path in (tmp_path / "study" / "trials").iterdir() if path.is_dir()} == {
        f"{number:04d}-s10000" for number in range(5)
    }


def test_tuning_is_told_what_a_queue_takes(inline: Callable[..., Any]) -> None:
    words = ("tune", "gap", "--instances", "tiny/train", "--steps", "8", "--backend", "slurm", "--slurm")
    assert "--slurm takes key=value" in inline(*words, "partition", code=2).stderr
    assert "is that of a Ray cluster" in inline(*words, "a=b", "--address", "auto", code=2).stderr
