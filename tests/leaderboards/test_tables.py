"""Foreign result tables: the faults of the CompilerGym board are found, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

import sysgym
from sysgym_leaderboards import audit, read_published, read_results

HEAD = "algorithm,benchmark,reward,walltime_s\n"
GOOD = HEAD + "a,x,1.0,2\na,y,4.0,4\nb,X,2.0,1\nb,y,2.0,1\n"


def test_the_compilergym_board(public_data: Path) -> None:
    """All 11 geometric means to three digits; one entry lacks a benchmark, two walltimes are not those of the rows."""
    folder = public_data / "ecosystem"
    published = read_published(folder / "compilergym_llvm_instcount_leaderboard.csv")
    found = audit(read_results(folder / "compilergym_llvm_instcount_results.csv"), published)
    assert len(found) == len(published) == 11
    for item in found:
        assert f"{item.geomean:.3f}" == published[item.algorithm].geomean
    refused = {item.algorithm: item.refused for item in found if item.refused}
    assert list(refused) == ["GATv2 + DD-PPO"] and found[-1].algorithm == "GATv2 + DD-PPO"
    assert refused["GATv2 + DD-PPO"].startswith("22 of 23 (instance, seed) pairs are answered, missing: cbench-v1/")
    assert [flag for item in found for flag in item.flags] == [
        "e-Greedy search (e=0.1): the published walltime is 351.611s, the rows give 152.579.",
        "DQN (N=4000, H=10): the published walltime is 91.018s, the rows give 0.367.",
    ]
    assert [item.algorithm for item in found[:2]] == ["PPO + Guided Search", "Random search (t=10800)"]


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_small_table_by_hand(tmp_path: Path) -> None:
    found = audit(read_results(table(tmp_path / "r.csv", GOOD)))
    assert [(item.algorithm, item.rows, item.seconds) for item in found] == [("a", 2, 3.0), ("b", 2, 1.0)]
    assert [item.geomean for item in found] == pytest.approx([2.0, 2.0]) and not found[0].refused
    published = read_published(table(tmp_path / "p.csv", "algorithm,x_geomean,walltime\na,2.00,3s\nb,2.1,?\nc,1,1\n"))
    found = audit(read_results(tmp_path / "r.csv"), published)
    assert found[0].flags == ()
    assert found[1].flags == (
        "b: the published geometric mean is 2.1, the rows give 2.000.",
        "b: the published walltime is ?, the rows give 1.000.",
    )
    assert found[2].refused == "it has no rows." and found[2].geomean is None
    assert found[0].as_dict()["flags"] == []


def test_every_plain_decimal_is_read(tmp_path: Path) -> None:
    runs = read_results(table(tmp_path / "r.csv", HEAD + "a,x,1e-05,.5\na,y,2.,1.5E+2\n"))["a"]
    assert [(run.reward, run.seconds) for run in runs] == [(1e-5, 0.5), (2.0, 150.0)]


@pytest.mark.parametrize("printed", ["4_0", "٤٠", "4,0", "0,040", "40,", "nan"])
def test_an_odd_published_figure_is_no_number(tmp_path: Path, printed: str) -> None:
    found = audit(
        read_results(table(tmp_path / "r.csv", HEAD + "a,x,40,1\n")),
        read_published(table(tmp_path / "p.csv", f'algorithm,geomean,walltime\na,"{printed}",1\n')),
    )
    assert found[0].flags == (f"a: the published geometric mean is {printed}, the rows give 40.000.",)


def test_fewer_runs_of_one_benchmark_are_refused(tmp_path: Path) -> None:
    found = audit(read_results(table(tmp_path / "r.csv", GOOD + "a,x,1.0,2\n")))
    assert {item.algorithm: item.refused for item in found} == {
        "a": "3 of 4 (instance, seed) pairs are answered, missing: y seed 1.",
        "b": "",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no results"),
        (HEAD, "holds no results"),
        ("algorithm,benchmark,reward\na,x,1\n", "line 2: walltime_s is missing"),
        (HEAD + "a,x,1.0\n", "line 2: the row is shorter or longer"),
        (HEAD + "a,x,1.0,2,3\n", "line 2: the row is shorter or longer"),
        (HEAD + "a,x,one,2\n", "line 2: reward and walltime_s must be numbers from 0"),
        (HEAD + "a,x,1,2\na,y,-1,2\n", "line 3: reward and walltime_s must be numbers"),
        (HEAD + "a,x,nan,2\n", "must be numbers"),
        (HEAD + "a,x,1,2\na,y,1_0,2\n", "line 3: reward and walltime_s must be numbers from 0, like 1.25"),
        (HEAD + "a,x,٣,2\n", "line 2: reward"),
        (HEAD + "a,x,１,2\n", "line 2: reward"),
        (HEAD + 'a,x,"0,95",2\n', "line 2: reward"),
        (HEAD + 'a,x,1,"1,000"\n', "line 2: reward"),
        (HEAD + "a,x,1,2s\n", "line 2: reward"),
        (HEAD + "a,x,0x1,2\n", "line 2: reward"),
        (HEAD + "a,x,1e999,2\n", "line 2: reward"),
        (HEAD + "a,x,inf,2\n", "must be numbers"),
        (HEAD + '"a,x,1,2\n', "no CSV file"),
    ],
)
def test_broken_tables_get_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(sysgym.InvalidSolution, match=sentence):
        read_results(table(tmp_path / "r.csv", text))


def test_other_broken_files_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(sysgym.UsageError, match="cannot read the table"):
        read_results(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(sysgym.InvalidSolution, match="no CSV file"):
        read_results(tmp_path / "b.csv")
    with pytest.raises(sysgym.InvalidSolution, match="expected the columns algorithm"):
        read_published(table(tmp_path / "p.csv", "algorithm,score\na,1\n"))
    with pytest.raises(sysgym.InvalidSolution, match="line 3: 'a' stands twice"):
        read_published(table(tmp_path / "p.csv", "algorithm,geomean,walltime\na,1,1\na,1,1\n"))


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    """Spreadsheets write it."""
    path = tmp_path / "r.csv"
    path.write_text("\ufeffalgorithm,benchmark,reward,walltime_s\na,x,1.5,2\n", encoding="utf-8")
    assert [run.reward for run in read_results(path)["a"]] == [1.5]
