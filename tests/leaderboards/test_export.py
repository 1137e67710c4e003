"""Exports: same bytes for the same store, everything escaped, nothing from another server."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import sysgym
from sysgym_leaderboards import Answer, Board, Store, export, pack
from sysgym_leaderboards.publish.charts import BAR_WIDTH, PAD, interval_axis, interval_bar, scale_of
from sysgym_leaderboards.publish.export import board_report
from sysgym_leaderboards.publish.site import _ratio_cell, _seconds, board_page

HOSTILE = "<script>alert('x')</script>&\""


class Page(HTMLParser):
    """Collects tags and what they load, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src")]
        assert not any(key.startswith("on") for key, _ in attrs)
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def store(packed: bytes, board: Board, halves: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("export")
    store = Store(folder / "s.sqlite")
    (folder / "a.zip").write_bytes(packed)
    assert store.submit(folder / "a.zip", board).accepted
    stripes = {}
    problem = board.make_problem()
    for name, seed in board.pairs():
        part = halves[name, seed].arrays["part"][::-1] if "grid" in name else halves[name, seed].arrays["part"] * 0
        stripes[name, seed] = Answer({"part": part}, problem.judge(problem.load(name), {"part": part}).cost, 1.5)
    manifest = {"agent": HOSTILE, "authors": [HOSTILE], "hardware": HOSTILE, "licence": HOSTILE}
    manifest["code"] = "https://example.org/?a=1&b=2"
    pack(folder / "b.zip", board, manifest, stripes)
    assert store.submit(folder / "b.zip", board).accepted
    (folder / "c.zip").write_bytes(b"x")
    assert not store.submit(folder / "c.zip", board).accepted
    return store


def test_json(store: Store, board: Board, tmp_path: Path) -> None:
    (path,) = export(store, [board], tmp_path, "json")
    report = json.loads(path.read_text())
    assert path.name == f"{board.id}.json" and report["board"]["hash"] == board.hash
    assert [line["agent"] for line in report["standings"]] == ["halves", HOSTILE]
    assert report["standings"][0]["entry"]["claimed_seconds"] == 0.5
    assert report["rejected"] == 1 and report["store"]["head"] == store.head()[1]
    # halves: cuts and METIS references are in the certificate; the score is their geometric mean
    rows = store.entries(board)[0].certificate.rows
    product = 1.0
    for row in rows:
        product *= min(row.cost / row.reference, board.penalty)
    assert report["standings"][0]["score"] == pytest.approx(product ** (1 / 4), rel=1e-12)
    scores = sorted(max(row.reference / row.cost, 1 / board.penalty) for row in rows)
    assert report["standings"][0]["iqm"] == pytest.approx(sum(scores[1:3]) / 2, abs=1e-9)
    assert report["standings"][0]["gap"] == pytest.approx(1 - sum(min(s, 1) for s in scores) / 4, abs=1e-9)
    # the other entry ties on the grid and answers nothing else feasibly
    (nothing, better), (worse, _) = report["win_matrix"]
    assert nothing is None and better[0] == (3 * 1 + 0.5) / 4 and worse[0] == 0.5 / 4


def test_csv(store: Store, board: Board, tmp_path: Path) -> None:
    (path,) = export(store, [board.id], tmp_path, "csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert {"iqm", "iqm_low", "iqm_high", "gap", "gap_low", "gap_high"} < set(rows[0])
    assert len(rows) == 8 and rows[0]["agent"] == "halves" and rows[1]["instance"] == "tiny/grid-test"
    assert float(rows[1]["ratio"]) == 1.0 and float(rows[1]["cost"]) == 8.0
    assert rows[4]["cost"] == "" and rows[4]["instance_feasible"] == "0.0"
    assert float(rows[4]["ratio"]) == board.penalty > float(rows[0]["ratio"])


def test_csv_holds_no_formulas(
    toy_board: Callable[..., Board], toy_pack: Callable[..., Path], toy_file: Path, tmp_path: Path
) -> None:
    board, store = toy_board(), Store(tmp_path / "s.sqlite", imports=[str(toy_file)])
    assert store.submit(toy_pack(board, choice=3, agent="=1+1"), board).accepted
    (path,) = export(store, [board], tmp_path / "out", "csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert rows[0]["agent"] == "'=1+1" and rows[0]["score"] == "1.0"  # -2 of -2


def test_html(store: Store, board: Board, tmp_path: Path) -> None:
    files = export(store, [board, "partitioning-walshaw-k2-v1"], tmp_path, "html")
    names = {path.name for path in files}
    pages = [path for path in files if path.suffix == ".html"]
    assert {"index.html", f"{board.id}.html", f"{board.id}.json", f"{board.id}.csv", f"{board.id}-0.png"} <= names
    for path in pages:
        text = path.read_text()
        page = Page(text)
        assert "script" not in page.tags and "<script" not in text and HOSTILE not in text
        for link in page.links:
            assert link in names or link == "https://example.org/?a=1&b=2"
        assert not re.search(r"url\(|@import|https?://(?!example\.org)", text)
    page = (tmp_path / f"{board.id}.html").read_text()
    assert "&lt;script&gt;" in page and "1 submission was rejected" in page
    assert page.count("<svg") == 4 and "infeasible (100" in page  # axis, two bars, profile
    assert "Nobody has submitted" in (tmp_path / "partitioning-walshaw-k2-v1.html").read_text()
    with Image.open(tmp_path / f"{board.id}-1.png") as picture:
        assert picture.size == (640, 700)


def test_the_same_store_gives_the_same_bytes(store: Store, board: Board, tmp_path: Path) -> None:
    first = export(store, [board], tmp_path / "a", "html")
    second = export(Store(store.path), [board], tmp_path / "b", "html")
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_wrong_use(store: Store, board: Board, tmp_path: Path) -> None:
    with pytest.raises(sysgym.UsageError, match="unknown export format 'pdf'"):
        export(store, [board], tmp_path, "pdf")
    with pytest.raises(sysgym.UsageError, match="named twice"):
        export(store, [board, board.id], tmp_path, "json")
    (tmp_path / "file").write_text("x")
    with pytest.raises(sysgym.UsageError, match="cannot write to the folder"):
        export(store, [board], tmp_path / "file", "json")


def shown(store: Any, board: Board) -> str:
    return board_page({**board_report(store, board)}, [])


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.00123456, "0.00123"), (0.5, "0.5"), (12.345, "12.3"), (999.7, "1,000")]
)
def test_claimed_seconds_keep_three_digits(seconds: float | None, text: str) -> None:
    assert _seconds(seconds) == text


def test_the_reference_is_no_agent(store: Store, board: Board) -> None:
    page = shown(store, board)
    assert '<th class="name">reference (metis)</th>' in page and "<th>metis</th>" not in page


def test_the_bold_cell_is_the_one_with_the_lowest_mean() -> None:
    """The first has the best single cost, the second the better mean."""
    lucky = {"ratio": 1.2, "cost": 5.0, "mean_cost": 12.5}
    steady = {"ratio": 1.1, "cost": 11.0, "mean_cost": 11.0}
    assert _ratio_cell(lucky, 1.1) == "<td>12.5 <small>(1.200)</small></td>"
    assert _ratio_cell(steady, 1.1) == '<td class="best">11 <small>(1.100)</small></td>'


def test_the_page_says_what_infeasible_answers_count(store: Store, board: Board) -> None:
    page = shown(store, board)
    assert "missing answer counts 100, and a feasible one at most that" in page and "Mean cost of the feasible" in page


def test_the_page_shows_the_statistics(store: Store, board: Board) -> None:
    page = shown(store, board)
    assert "<th>IQM</th><th>Gap</th>" in page and "mean of the middle half of reference / cost" in page
    assert '<td class="best">0.875<small class="range">[0.625, 1.000]</small></td>' in page
    assert '<td>0.125<small class="range">[0.000, 0.375]</small></td>' in page


def test_bars_stand_where_the_numbers_are() -> None:
    svg = interval_bar(2.0, 2**0.5, 8**0.5, 1.0, 4.0)
    assert 'cx="110.0"' in svg  # the middle of 220 pixels, on a logarithmic scale
    assert '<line x1="18.0"' in svg  # the reference at the left end
    assert 'x="64.0"' in svg and 'width="92.0"' in svg  # a quarter and a half of the 184 between


def test_a_few_bad_scores_do_not_press_the_others_together() -> None:
    close = [(0.95, 0.94, 0.97), (0.97, 0.95, 0.99), (1.0, 0.98, 1.02)]
    assert scale_of(close) == (0.94, 1.02)
    assert scale_of([*close, (64.0, 40.0, 100.0)]) == (0.94, 1.02)  # three quarters within a tenth
    assert scale_of([*close, (1.3, 1.2, 1.4)]) == (0.94, 1.4)  # they have a seventh of it: a logarithm is enough
    assert scale_of([close[0], *[(64.0, 40.0, 100.0)] * 3]) == (0.94, 100.0)
    assert scale_of([(0.5, 0.4, 0.6)] * 4) == (0.4, 1.0)  # the reference is always there
    bar = interval_bar(64.0, 40.0, 100.0, 0.94, 1.02)
    assert f'<path d="M{BAR_WIDTH - PAD:.1f} ' in bar and "circle" not in bar and "64.000, interval 40.000" in bar
    assert "circle" in interval_bar(1.0, 0.98, 1.02, 0.94, 1.02)


@pytest.mark.parametrize(("least", "most", "numbers"), [
    (1.0, 49.5, ["1.00", "2.00", "5.00", "10", "20", "49.5"]), (0.94, 1.02, ["0.94", "1.00", "1.02"]),
    (1.0, 1.0, ["1.00"]),
    (0.7, 1.5, ["0.70", "0.80", "1.00", "1.20", "1.50"]), (0.01, 100.0, ["0.01", "0.10", "1.00", "10", "100"]),
])  # fmt: skip
def test_the_scale_has_numbers_that_do_not_touch(least: float, most: float, numbers: list[str]) -> None:
    found = re.findall(r'<text x="([\d.]+)".*?>([\d.]+)</text>', interval_axis(least, most))
    assert [text for _, text in found] == numbers
    places = [float(x) for x, _ in found]
    assert all(b - a > 7 * len(text) for a, b, text in zip(places, places[1:], numbers, strict=False))


def test_pages_fit_a_telephone(store: Store, board: Board) -> None:
    """Whatever may be wider than the window scrolls in a box of its own; no text is smaller than 12 pixels."""
    page = shown(store, board)
    for wide in ("<table>", '<svg width="640"'):
        for at in (each.start() for each in re.finditer(wide, page)):
            assert page[:at].endswith('<div class="scroll" tabindex="0">'), page[at - 60 : at + 40]
    assert page.count("<table>") == page.count("</table></div>") == 3
    assert min(map(float, re.findall(r'font-size="([\d.]+)"', page))) >= 12
    assert min(16 * float(size) for size in re.findall(r"font-size: ([\d.]+)rem", page)) >= 12
    assert 'content="width=device-width, initial-scale=1"' in page and "Score, log scale" in page
