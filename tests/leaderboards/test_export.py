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
from sysgym_leaderboards.charts import interval_bar

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
    assert [line["agent"] for line in report["standings"]] == [HOSTILE, "halves"]
    assert report["standings"][1]["entry"]["claimed_seconds"] == 0.5
    assert report["rejected"] == 1 and report["store"]["head"] == store.head()[1]
    # halves: cuts and METIS references are in the certificate; the score is their geometric mean
    rows = store.entries(board)[0].certificate.rows
    product = 1.0
    for row in rows:
        product *= row.cost / row.reference
    assert report["standings"][1]["score"] == pytest.approx(product ** (1 / 4), rel=1e-12)


def test_csv(store: Store, board: Board, tmp_path: Path) -> None:
    (path,) = export(store, [board.id], tmp_path, "csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert len(rows) == 8 and rows[4]["agent"] == "halves" and rows[5]["instance"] == "tiny/grid-test"
    assert float(rows[5]["ratio"]) == 1.0 and float(rows[5]["cost"]) == 8.0
    assert rows[0]["cost"] == "" and rows[0]["instance_feasible"] == "0.0" and rows[0]["ratio"] == "2.0"


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
    assert page.count("<svg") == 4 and "infeasible (2.000)" in page  # axis, two bars, profile
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


def test_bars_stand_where_the_numbers_are() -> None:
    svg = interval_bar(2.0, 2**0.5, 8**0.5, 1.0, 4.0)
    assert 'cx="110.0"' in svg  # the middle of 220 pixels, on a logarithmic scale
    assert '<line x1="18.0"' in svg  # the reference at the left end
    assert 'x="64.0"' in svg and 'width="92.0"' in svg  # a quarter and a half of the 184 between
