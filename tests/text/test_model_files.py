"""Models on disk: read back as they were written, and one sentence for every kind of wrong file."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym.core.errors import UsageError
from sysgym.text.catalogue import is_here, load_model, model_names
from sysgym.text.model import TextModel
from sysgym.text.model_files import read_model, write_model
from sysgym.text.search import greedy
from sysgym.text.vocabulary import CharacterVocabulary, SentencePieceVocabulary


@pytest.mark.parametrize("half", [False, True])
def test_models_are_read_as_they_were_written(
    every: TextModel, half: bool, tmp_path: Path, sentences: list[Any]
) -> None:
    write_model(every, tmp_path / "m", half=half)
    found = read_model(tmp_path / "m")
    assert found.name == "m" and (found.hash == every.hash) != half
    assert (found.config, found.special, found.max_length) == (every.config, every.special, every.max_length)
    exact = {name: value.astype(np.float16 if half else np.float32) for name, value in every.tensors.items()}
    assert all(np.array_equal(found.tensors[name], exact[name].astype(np.float32)) for name in exact)
    assert found.tensors.keys() == exact.keys() and all(t.dtype == np.float32 for t in found.tensors.values())
    if not half:
        assert np.array_equal(greedy(found, sentences).logp, greedy(every, sentences).logp)
    write_model(found, tmp_path / "again", half=half)
    assert read_model(tmp_path / "again").hash == found.hash
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "model.json",
        "source.txt",
        "weights.safetensors",
    ]


def test_a_hash_is_over_all_that_decides(toy: Callable[..., TextModel], tmp_path: Path) -> None:
    model = toy("baseline")
    hashes = {model.hash, toy("baseline", seed=1).hash, toy("baseline", letters="abcdefgi").hash,
              toy("baseline", source_end=False).hash, toy("lstm-dense").hash}  # fmt: skip
    assert len(hashes) == 5
    write_model(model, tmp_path, half=False)
    told = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**told, "licence": "another", "more": 1}))
    assert read_model(tmp_path).hash == model.hash
    (tmp_path / "model.json").write_text(json.dumps({**told, "max_length": 13}))
    assert read_model(tmp_path).hash != model.hash


def spoil_tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / "weights.safetensors")
        change(tensors)
        save_file(tensors, folder / "weights.safetensors")

    return spoil


def spoil_description(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        told = {**json.loads((folder / "model.json").read_text()), **changes}
        (folder / "model.json").write_text(json.dumps({key: value for key, value in told.items() if value != "gone"}))

    return spoil


def cut_short(folder: Path) -> None:
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[: len(content) // 2])


WRONG = {
    "the tensor 'mix.bias' is missing": spoil_tensors(lambda t: t.pop("mix.bias")),
    "the tensor 'more' is none of this network": spoil_tensors(lambda t: t.update(more=np.zeros(2, np.float32))),
    r"the tensor 'mix.bias' is \(3,\), the options say \(16,\)": spoil_tensors(
        lambda t: t.update({"mix.bias": np.zeros(3, np.float32)})
    ),
    "the tensor 'mix.bias' is int64; weights are": spoil_tensors(lambda t: t.update({"mix.bias": np.zeros(16, int)})),
    "the tensor 'mix.bias' holds a value that is not finite": spoil_tensors(
        lambda t: t.update({"mix.bias": np.full(16, np.nan, np.float32)})
    ),
    "damaged or cut short": cut_short,
    "weights.safetensors cannot be read": lambda folder: (folder / "weights.safetensors").unlink(),
    "holds no model.json": lambda folder: (folder / "model.json").unlink(),
    "is damaged or not of its format": lambda folder: (folder / "model.json").write_text("{"),
    "holds no JSON object": lambda folder: (folder / "model.json").write_text("[]"),
    "'options' is missing, or no dict": spoil_description(options="gone"),
    "is of format 7; this version reads format 1": spoil_description(format=7),
    "unknown kind of network 'recurent'. Did you mean 'recurrent'": spoil_description(network="recurent"),
    "unknown special token 'ende'": spoil_description(special={"ende": 2}),
    "end is -2; it takes a int that is not negative": spoil_description(special={"end": -2}),
    "the special token 99 is in no vocabulary": spoil_description(special={"end": 99}),
    "needs a separator": spoil_description(special={"segment": 10}),
    "max_length is 0; it may be 1 to 1000": spoil_description(max_length=0),
    "unknown kind of vocabulary": spoil_description(source_vocabulary={"kind": "words", "file": "source.txt"}),
    "a name in the same folder": spoil_description(source_vocabulary={"kind": "characters", "file": "../source.txt"}),
    "its source vocabulary has 5 tokens, its network 12": lambda folder: (folder / "source.txt").write_text(
        "<blank>\n<s>\n</s>\na\n"
    ),
    "fewer than four tokens": lambda folder: (folder / "source.txt").write_text("a\na\n"),
}


@pytest.mark.parametrize("said", WRONG)
def test_a_wrong_file_is_told_in_a_sentence(toy: Callable[..., TextModel], tmp_path: Path, said: str) -> None:
    write_model(toy("baseline"), tmp_path)
    WRONG[said](tmp_path)
    with pytest.raises(UsageError, match=said) as error:
        read_model(tmp_path)
    assert str(error.value).count("\n") == 0 and str(error.value).endswith((".", "?"))


def test_weights_too_large_for_half_are_not_written(toy: Callable[..., TextModel], tmp_path: Path) -> None:
    model = toy("baseline")
    model.tensors["mix.bias"][0] = 1e6
    with pytest.raises(UsageError, match="not finite as float16"), np.errstate(over="ignore"):
        write_model(model, tmp_path)


def test_models_by_name(toy: Callable[..., TextModel], tmp_path: Path) -> None:
    assert (
        model_names()[:2] == ("dialogue", "translit")
        and {"multi30k", "selfdialogue"} <= {*model_names()}
        and is_here("translit")
    )
    model = load_model("translit")
    assert load_model("translit") is model and "MIT" in model.licence
    write_model(toy("reference"), tmp_path / "own")
    assert load_model(str(tmp_path / "own")).name == "own" and is_here(str(tmp_path / "own"))
    with pytest.raises(UsageError, match=r"unknown model 'multi30'. Did you mean 'multi30k'\? Give dialogue, translit"):
        load_model("multi30")
    assert pickle.loads(pickle.dumps(model)).hash == model.hash


def test_public_models_are_asked_for_by_their_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYSGYM_DATA", str(tmp_path))
    monkeypatch.setattr("sysgym.core.data.cache_folder", lambda: tmp_path)
    from sysgym.text.catalogue import _checkpoint

    assert not is_here("multi30k")
    with pytest.raises(UsageError, match=r"decoding/models/spm4k_multi30k_ende\.model"):
        _checkpoint("multi30k")


def test_characters() -> None:
    vocabulary = load_model("translit").source
    assert vocabulary.encode("آب\u2047").tolist()[-1] == vocabulary.unknown == vocabulary.size - 1
    assert vocabulary.decode(vocabulary.encode("آب?")) == "آب" and vocabulary.decode([0, 1, 2, 50]) == ""
    with pytest.raises(UsageError, match=r"a sentence of 65 pieces is longer than the 64 that are decoded"):
        vocabulary.encode("ا" * 65)
    assert len(vocabulary.encode("ا" * 65, most=None)) == 65
    with pytest.raises(UsageError, match="an empty sentence"):
        load_model("translit").ids("")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        CharacterVocabulary("x", b"\xff\xfa\n")


def test_pieces(decoding_data: Path) -> None:
    model = load_model("multi30k")
    text = "Two dogs play in the snow."
    ids = model.ids(text)
    assert model.source.decode(ids) == text and model.text([1, *ids, 2, 0]) == text
    assert "\u2047" not in model.text([ids[0], model.source.unknown, ids[1]])
    assert model.source.piece(2) == "</s>" and model.source.size == 4000
    with pytest.raises(UsageError, match="is longer than the 64"):
        model.ids("dog " * 70)
    with pytest.raises(UsageError, match="no SentencePiece model"):
        SentencePieceVocabulary("x.model", b"nonsense")
    assert pickle.loads(pickle.dumps(model.source)).encode(text).tolist() == ids.tolist()
