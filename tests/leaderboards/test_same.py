"""What counts as the same solution, what a name is, and events after a submission."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import PUBLIC

import sysgym
from sysgym_leaderboards import Answer, Board, Store, load_board, rank
from sysgym_leaderboards.names import bounded, is_address, is_line, shown_authors
from sysgym_leaderboards.publish.export import board_report, csv_text
from sysgym_leaderboards.publish.site import board_page

pytestmark = pytest.mark.usefixtures("forked_judge")

Edited = Callable[..., bytes]


@pytest.mark.attack("Copies of a leader, parts renamed, push others down the table")
def test_copies_take_no_rank_and_push_nobody_down(
    submit: Any, board: Board, halves: Any, store: Store, tmp_path: Path, other_answers: Any
) -> None:
    """Also with parts renamed: for a partition, names mean nothing."""
    submit(other_answers(3), "honest-first")
    submit(halves, "honest-second")
    before = [(line.rank, line.agent, line.wins) for line in rank(board, store.entries(board))]
    first = other_answers(3)
    for i in range(8):
        swapped = {pair: Answer({"part": (answer.arrays["part"] + i) % 2}) for pair, answer in first.items()}
        submit(swapped, f"copy-{i}")
    lines = rank(board, store.entries(board))
    assert [(line.rank, line.agent, line.wins) for line in lines if line.rank] == before
    leader = before[0][1]
    order = [line.agent for line in lines]
    assert order.index("honest-first") + 1 == order.index("copy-0")
    assert all(line.same_as == 1 for line in lines if line.agent.startswith("copy")) and leader in order
    page = board_page(board_report(store, board), [])
    assert "honest-second" in page.split("<h2>Instances")[1] and "copy-1" not in page.split("<h2>Instances")[1]


def test_equal_costs_alone_are_a_tie(submit: Any, board: Board, halves: Any, store: Store) -> None:
    """On a grid, halves from the left and from the top: other solutions of one cost."""
    problem = board.make_problem()
    graph = problem.load("tiny/grid-test")
    side = int(graph.nodes**0.5)
    part = (np.arange(graph.nodes) % side >= side // 2).astype(np.int64)
    other = {**halves, ("tiny/grid-test", 0): Answer({"part": part})}
    assert problem.judge(graph, {"part": part}).cost == halves["tiny/grid-test", 0].cost
    submit(halves, "rows")
    submit(other, "columns")
    assert [(line.rank, line.same_as) for line in rank(board, store.entries(board))] == [(1, None), (1, None)]


@pytest.mark.parametrize("name", ["Partitioning", "DevicePlacement", "GraphOptimization", "ChipPlacement"])
def test_a_canonical_form_is_one_of_the_same_cost(name: str) -> None:
    """It is a fixed point, keeps what is judged where it is a solution itself, and tells different ones apart."""
    problem = sysgym.make_problem(name)
    rng = np.random.default_rng(0)
    instance = problem.load(next(iter(problem.instance_sets()[problem.default_instances.split("/")[0]].entries)).name)
    given = {
        key: rng.integers(0, min(int(spec.high), 3) + 1, spec.shape)
        if spec.kind == "int"
        else rng.random(spec.shape) * 50
        for key, spec in problem.solution_arrays(instance).items()
    }
    found = problem.canonical(instance, given)
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in given.items()}
    if name == "ChipPlacement":
        near = {**given, "x": given["x"] + 1e-9}
        assert all(np.array_equal(found[key], problem.canonical(instance, near)[key]) for key in found)
        return
    again = problem.canonical(instance, found)
    assert all(np.array_equal(found[key], again[key]) for key in found)
    if name == "Partitioning":
        assert problem.judge(instance, found).cost == problem.judge(instance, given).cost
    key = next(iter(found))
    other = {**given, key: np.roll(given[key], 1)}
    assert not np.array_equal(problem.canonical(instance, other)[key], found[key])


@pytest.mark.attack("The best of many seeds is handed in for all of them")
@pytest.mark.skipif(not PUBLIC.is_dir(), reason="SYSGYM_DATA is not set")
def test_one_solution_for_all_seeds_is_marked(store: Store) -> None:
    cases = PUBLIC.parent / "cases" / "boards"
    if not cases.is_dir():
        pytest.skip("the cases are not here")
    board = load_board(cases / "three-seeds.toml")
    for name in ("honest_three_seeds", "best_seed_three_times"):
        assert store.submit(cases / f"{name}.zip", board).accepted
    honest, best = sorted(rank(board, store.entries(board)), key=lambda line: line.number)
    assert (honest.answers, honest.different, honest.over) == (12, 12, "seeds")
    assert (best.answers, best.different, best.over) == (12, 4, "instances") and best.low < best.score < best.high
    page = board_page(board_report(store, board), [])
    assert "12 answers, 4 different" in page and "seeds show how much" in page


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "میرزا\u200cخان",
        "山田\u3000太郎",
        "Nguyễn Thị",
        "שָׁלוֹם",
        "नमस्ते",
        "क्\u200dष",
        "ＡＢＣ",
        "O'Neil",
        "👩",
        "ส้ม",
    ],
)
def test_names_of_all_scripts_are_names(name: str, edited: Edited, submit: Any) -> None:
    found = submit(edited(lambda m: m.update(agent=name, authors=[name])))
    assert found.accepted, found.reason
    import unicodedata

    assert found.agent == unicodedata.normalize("NFKC", name) and is_line(name, 1, 80)


@pytest.mark.attack("A name that cannot be seen, turns text round, or covers other lines")
@pytest.mark.parametrize(
    "name",
    ["", " x", "a\u200db", "\u200bx", "x\u202ey", "ㅤ", "\u2800", "Z\u0300\u0301\u0302\u0303", "a\u20dd", "\u0301x",
     "x\ny", "\x1b[31m", "a\ufe0fb", "\U000e0041", "ﷺ" * 30],
)  # fmt: skip
def test_what_cannot_be_seen_or_is_piled_up_is_no_name(name: str) -> None:
    assert not is_line(name, 1, 80)


@pytest.mark.attack("An address that leads elsewhere than it seems")
@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("https://example.org/code?x=1#a", True), ("http://example.org:8080/~ada/", True), ("", True),
        ("https://example.org@evil.example/", False), ("https://exаmple.org", False), ("javascript:alert(1)", False),
        ("https://a\\@b.org", False), ("https://example.org:99999/", False), ("https://a..b/", False),
        ("https://%65vil.org/", False), ("https:///x", False), ("https://exa mple.org", False),
    ],
)  # fmt: skip
def test_addresses_are_what_they_seem(address: str, fine: bool) -> None:
    assert is_address(address) is fine


def test_text_is_shortened_at_one_place() -> None:
    assert bounded("a\n b\x1b[0m\u202e") == "a b\N{REPLACEMENT CHARACTER}[0m\N{REPLACEMENT CHARACTER}"
    assert (
        len(bounded("x" * 10**6)) == 500
        and bounded("x" * 500) == "x" * 500
        and bounded(bounded("y" * 999)) == bounded("y" * 999)
    )
    assert shown_authors([]) == "" and shown_authors(list("abcde")) == "a, b, c, d, e"
    assert shown_authors(list("abcdef")) == "a, b, c, d and 2 more"


@pytest.mark.attack("A name that a spreadsheet runs as a formula, in full-width letters")
def test_cells_are_no_formulas(submit: Any, edited: Edited, store: Store, board: Board) -> None:
    assert submit(edited(lambda m: m.update(agent="＝1+1"))).accepted
    assert ",'=1+1," in csv_text(board_report(store, board))


def test_events_are_appended_and_shown(
    submit: Any, packed: bytes, store: Store, board: Board, other_answers: Any
) -> None:
    submit(packed)
    submit(other_answers(3), "other", authors=["Bob"], code="https://example.org/x", hardware="a machine")
    store.correct_authors(1, ["Ada", "Ｂｏｂ"])
    store.show_as(2, "Anonymous 7")
    report = board_report(store, board)
    lines = {line["number"]: line for line in report["standings"]}
    assert lines[1]["entry"]["about"]["authors"] == ["Ada", "Bob"] and lines[2]["agent"] == "Anonymous 7"
    published = json.dumps(report) + board_page(report, []) + csv_text(report)
    assert not any(word in published for word in ("other", "https://example.org/x", "a machine"))
    assert store.check_chain() == [] and store.reverify() == []  # the certificates themselves are untouched
    store.show_as(2, "")
    assert [line.agent for line in rank(board, store.entries(board))].count("other") == 1
    store.withdraw(2, "a mistake in our data")
    assert [line.number for line in rank(board, store.entries(board))] == [1]
    assert "1 submission was withdrawn" in board_page(board_report(store, board), [])
    (gone,) = [entry for entry in store.all_entries(board) if entry.state == "withdrawn"]
    assert gone.withdrawn == "a mistake in our data" and store.head()[0] == 6
    assert submit(
        other_answers(3), "other", authors=["Bob"], code="https://example.org/x", hardware="a machine"
    ).accepted
    assert store.check_chain() == [] and store.reverify() == []


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (lambda s: s.withdraw(9), "has no accepted entry 9"), (lambda s: s.withdraw(1, "x" * 301), "at most 300"),
        (lambda s: s.correct_authors(1, ["\u202e"]), "a list of at most 50 names"),
        (lambda s: s.show_as(1, "\u200b"), "a name of at most 80"),
    ],
)  # fmt: skip
def test_a_wrong_event_is_a_sentence(event: Any, words: str, submit: Any, packed: bytes, store: Store) -> None:
    submit(packed)
    with pytest.raises(sysgym.UsageError, match=words):
        event(store)
    assert store.head()[0] == 1


def test_the_commands_of_events(submit: Any, packed: bytes, store: Store, board: Board, sysgym: Any) -> None:
    submit(packed)
    kept = f"1:{store.head()[1]}"
    at = ("--store", str(store.path))
    assert "recorded as row 2" in sysgym("board", "authors", "1", "--author", "Ada", *at).stdout
    assert json.loads(sysgym("board", "name", "1", "Anonymous 3", *at, "--json").stdout)["recorded_as"] == 3
    assert "Anonymous 3" in sysgym("board", "show", board.id, *at).stdout
    assert "4" in sysgym("board", "withdraw", "1", "--reason", "a mistake", *at).stdout
    assert "nobody has submitted" in sysgym("board", "show", board.id, *at).stderr
    verified = sysgym("board", "verify", "--head", kept, *at)
    assert f"4 entries verified, chain head 4:{store.head()[1]}" in verified.stdout
    refused = sysgym("board", "verify", "--head", f"2:{store.head()[1]}", *at, code=3)
    assert "does not contain the history that ended with entry 2" in refused.stdout
    assert "a head is NUMBER:HASH or HASH" in sysgym("board", "verify", "--head", "x", *at, code=2).stderr
    assert "has no accepted entry 9" in sysgym("board", "withdraw", "9", *at, code=2).stderr
    assert "the same verdicts" in sysgym("board", "rejudge", *at).stderr
