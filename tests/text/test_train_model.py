"""The command `sysgym train-model`: from files to a folder that problems read, interrupted or not, and its errors."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym.core.errors import UsageError
from sysgym.text.catalogue import load_model
from sysgym.text.scoring import score
from sysgym.text.search import greedy
from sysgym_zoo.tools.modelling.corpus import load_model_recipe, model_recipes, read_corpus

Inline = Callable[..., Any]
FAST = ("--set", "vocabulary=characters", "--set", "units=24", "--set", "embedding=24", "--set", "attention_units=24",
        "--set", "batch=256", "--set", "sample=5", "--set", "learning_rate=0.01")  # fmt: skip


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two hundred words and themselves backwards."""
    rng = np.random.default_rng(0)
    words = sorted({"".join(rng.choice(list("abcde"), size=rng.integers(2, 6))) for _ in range(400)})[:200]
    (tmp_path / "pairs.tsv").write_text("".join(f"{word}\t{word[::-1]}\n" for word in words))
    (tmp_path / "source.txt").write_text("".join(f"{word}\n" for word in words))
    (tmp_path / "target.txt").write_text("".join(f"{word[::-1]}\n" for word in words))
    return tmp_path


def test_a_folder_that_is_read_at_once(inline: Inline, pairs: Path) -> None:
    how = (*FAST, "--epochs", "2", "--json")
    card = json.loads(inline("train-model", "--pairs", "pairs.tsv", "--out", "m", *how).stdout)
    folder = pairs / "m"
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.jsonl", "model.json", "run.json", "source.txt", "tensorboard", "training.json", "weights.safetensors",
    ]  # fmt: skip
    kept = json.loads((folder / "training.json").read_text())
    assert all(card[key] == value for key, value in kept.items()) and card["status"] == "done"
    model = load_model(str(folder))
    assert kept["model_hash"] == model.hash and kept["epochs"] == 2 and len(kept["curve"]) == 2
    assert kept["command"].startswith("sysgym train-model --pairs pairs.tsv --set vocabulary=characters")
    assert kept["data"][0]["file"] == "pairs.tsv" and len(kept["data"][0]["sha256"]) == 64
    assert kept["pairs"] == {"train": 190, "valid": 10, "left_out": 0}
    assert kept["curve"][0]["perplexity"] > kept["scores"]["perplexity"] > 1 and kept["cpu_seconds"] > 0
    assert {"torch", "sentencepiece"} <= {*kept["versions"]} and str(pairs) not in (
        folder / "training.json"
    ).read_text()
    two = ("--source", "source.txt", "--target", "target.txt")
    inline("train-model", "small", *two, "--out", "again", *how)
    assert load_model(str(pairs / "again")).hash == model.hash  # the same pairs and seed, the same bits
    source, target = model.ids("abc"), model.target.encode("cba")
    assert np.isfinite(score(model, [source], [target])).all() and greedy(model, [source]).lengths.shape == (1, 1)


def test_it_is_a_model_of_the_problem(inline: Inline, pairs: Path) -> None:
    inline(
        "train-model", "--pairs", "pairs.tsv", "--out", "m", "--set", "pieces=16", "--set", "sample=5", "--epochs", "1"
    )
    (pairs / "new.txt").write_text("abc\ndead\n")
    inline("solve", "new.txt", "-p", "NMTDecoding", "-a", "beam", "-O", "model=m", "-o", "out.txt")
    assert len((pairs / "out.txt").read_text().splitlines()) == 2


@pytest.mark.slow
def test_interrupted_and_gone_on_with(sysgym: Any, pairs: Path) -> None:
    """The same model as without the interruption."""
    how = ("--pairs", "pairs.tsv", *FAST, "--epochs", "30")
    process = sysgym.start("train-model", *how, "--out", "m", "--save-every", "0")
    deadline = time.monotonic() + 100
    while not (pairs / "m" / "checkpoint").is_dir() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130 and "go on with" in errors and "Traceback" not in errors, errors
    assert json.loads((pairs / "m" / "run.json").read_text())["status"] == "interrupted"
    assert not (pairs / "m" / "model.json").exists()
    assert "leave out all but" in sysgym("train-model", "small", "--resume", "--out", "m", code=2).stderr
    done = json.loads(sysgym("train-model", "--resume", "--out", "m", "--json").stdout)
    assert done["epochs"] == 30 and done["started"] == 2 and not (pairs / "m" / "checkpoint").exists()
    sysgym("train-model", *how, "--out", "whole")
    assert load_model(str(pairs / "m")).hash == load_model(str(pairs / "whole")).hash
    steps = [json.loads(line)["steps"] for line in (pairs / "m" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] == done["steps"]
    assert "is done" in sysgym("train-model", "--resume", "--out", "m", code=2).stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "name the folder of the model with --out"),
        (("--out", "m"), "name a recipe, or give files of your own"),
        (("multi31k", "--out", "m"), "Did you mean 'multi30k'"),
        (("small", "--out", "m"), "recipe small names no texts"),
        (("--pairs", "absent.tsv", "--out", "m"), "absent.tsv"),
        (("--source", "source.txt", "--out", "m"), "--source and --target go together"),
        (("--source", "source.txt", "--target", "x", "--pairs", "y", "--out", "m"), "not all of them"),
        (("--valid-pairs", "pairs.tsv", "--out", "m"), "need files to train on"),
        (("--source", "source.txt", "--target", "short.txt", "--out", "m"), "200 lines and short.txt has 2"),
        (("--pairs", "source.txt", "--out", "m"), "source.txt, line 1 has 1 columns, expected 2"),
        (("--pairs", "empty.tsv", "--out", "m"), "empty.tsv, line 1 is empty"),
        (("--pairs", "gap.tsv", "--out", "m"), "gap.tsv, line 2 is empty"),
        (("--pairs", "binary.tsv", "--out", "m"), "no text in UTF-8"),
        (("--pairs", "long.tsv", "--out", "m", "--set", "vocabulary=characters"), "no pair to train on"),
        (("--pairs", "pairs.tsv", "--out", "m"), "too little text for a vocabulary of 1000 pieces"),
        (("--pairs", "pairs.tsv", "--out", "m", "--set", "epoch=3"), "Did you mean 'epochs'"),
        (("--pairs", "pairs.tsv", "--out", "m", "--set", "dropout=7"), "a number from 0 to 0.9"),
        (("--pairs", "pairs.tsv", "--out", "m", "--set", "units=8"), "a tied softmax needs"),
        (("--pairs", "pairs.tsv", "--out", "m", "--seconds", "0"), "positive number of seconds"),
        (("--pairs", "pairs.tsv", "--out", "full"), "full exists already"),
        (("--resume", "--out", "absent"), "holds no training that could go on"),
        (("bad.toml", "--out", "m"), "unknown key of recipe"),
        (("worse.toml", "--out", "m"), "recipe worse.toml"),
    ],
)  # fmt: skip
def test_one_sentence_for_what_cannot_be(inline: Inline, pairs: Path, words: tuple[str, ...], sentence: str) -> None:
    (pairs / "short.txt").write_text("a\nb\n")
    (pairs / "empty.tsv").write_text("")
    (pairs / "gap.tsv").write_text("a\tb\n\nc\td\n")
    (pairs / "binary.tsv").write_bytes(b"a\tb\n\xff\xfe\xfa\n")
    (pairs / "long.tsv").write_text(f"{'a' * 99}\tb\n{'b' * 99}\tb\n")
    (pairs / "bad.toml").write_text('abuot = "x"\n')
    (pairs / "worse.toml").write_text("about = \n")
    (pairs / "full").mkdir()
    (pairs / "full" / "x").write_text("")
    errors = inline("train-model", *words, code=2).stderr
    assert sentence in errors and len([line for line in errors.splitlines() if line.startswith("sysgym:")]) == 1
    assert not (pairs / "m" / "run.json").exists()


def test_what_cannot_go_on(inline: Inline, pairs: Path) -> None:
    (pairs / "m").mkdir()
    record = pairs / "m" / "run.json"
    for content, sentence in (
        ({"command": "train"}, "is of no training of a model"),
        ({"command": "train-model", "status": "interrupted"}, "does not say what was asked for"),
        ([], "is of no training of a model"),
    ):
        record.write_text(json.dumps(content))
        assert sentence in inline("train-model", "--resume", "--out", "m", code=2).stderr
    asked = {"name": None, "files": {"pairs": "pairs.tsv"}, "changes": [], "budget": {}, "seed": 0, "threads": 1}
    record.write_text(json.dumps({"command": "train-model", "status": "interrupted", "asked": asked}))
    assert "has seed 0" in inline("train-model", "--resume", "--out", "m", "--seed", "4", code=2).stderr


def test_recipes_are_found_and_say_what_they_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert model_recipes() == ["dialogue", "multi30k", "small"]
    for name in model_recipes():
        recipe = load_model_recipe(name)
        assert recipe.about and recipe.training and recipe.network
        assert {*recipe.sha256} == {value for value in recipe.data.values() if isinstance(value, str)}
    monkeypatch.setenv("SYSGYM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from sysgym_zoo.tools.modelling.corpus import Files

    with pytest.raises(UsageError, match=r"multi30k/train.en.gz is not on this machine.*SYSGYM_DATA"):
        read_corpus(load_model_recipe("multi30k"), Files())


def test_the_public_texts_are_those_of_the_recipes(public_data: Path) -> None:
    from sysgym_zoo.tools.modelling.corpus import Files

    for name, counts in (("multi30k", (29_000, 1_014)), ("dialogue", (50_000, 1_000))):
        corpus = read_corpus(load_model_recipe(name), Files())
        assert (len(corpus.train.sources), len(corpus.valid.sources)) == counts
        assert len(corpus.files) == (4 if name == "multi30k" else 2)
