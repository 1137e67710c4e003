"""Maintainers' command that writes the sentences of decoding: `python -m sysgym_zoo.embed sentences`.

It packs the pairs of names below SYSGYM_DATA (decoding/ar2en, Apache-2.0), and writes the index of the instance sets,
those of Multi30k among them, whose captions stay where they are.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.data import DataFile, decompress
from sysgym.core.instances import Entry
from sysgym.core.problem import content_hash
from sysgym.nmt_decoding.catalogue import TOPIC, of_entry
from sysgym.nmt_decoding.problem import NMTDecoding

DATA = Path(os.environ.get("SYSGYM_DATA", ".")) / TOPIC
TARGET = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / TOPIC
NAMES = {"train": 256, "valid": 4, "test": 8}  # single names to train on; chunks of CHUNK for the other two
CAPTIONS = {"train": 256, "valid": 10, "test": 10}
CHUNK, CAPTION_CHUNK = 64, 100
TEXTS = 500  # sentences of a chunk of the sets that hold the whole training split, for learners that read texts
HELD = 256  # pairs at the end of the training file that make the validation split


def packed(name: str) -> dict[str, Any]:
    """A file of pairs in the package, as an entry describes it."""
    content = (DATA / "ar2en" / f"{name}.txt").read_bytes()
    file = f"ar2en-{name}.tsv.gz"
    (TARGET / file).write_bytes(gzip.compress(content, 9, mtime=0))
    return {"file": file, "sha256": hashlib.sha256(content).hexdigest()}


def described(path: str) -> dict[str, str]:
    """A public file."""
    return {"file": path, "sha256": hashlib.sha256(decompress(path, (DATA / path).read_bytes())).hexdigest()}


def row(split: str, files: dict[str, Any], first: int, count: int, **facts: Any) -> dict[str, Any]:
    """An entry without its hash and size."""
    return {"split": split, **files, "facts": {"first": first, "count": count, **facts}}


def name_sets() -> dict[str, Any]:
    """Arabic names in Latin letters: single ones to train on, chunks to be valued by."""
    train, held, facts = packed("train"), packed("eval"), {"model": "translit", "pairs": True}
    total = len((DATA / "ar2en" / "train.txt").read_text().splitlines())
    chosen = np.random.default_rng(0).choice(total - HELD, NAMES["train"], replace=False)
    rows = {f"train-{i}": row("train", train, int(at), 1, **facts) for i, at in enumerate(np.sort(chosen))}
    for i in range(NAMES["valid"]):
        rows[f"valid-{i}"] = row("valid", train, total - HELD + CHUNK * i, CHUNK, **facts)
    for i in range(NAMES["test"]):
        rows[f"test-{i}"] = row("test", held, CHUNK * i, CHUNK, **facts)
    return rows


def caption_sets() -> dict[str, Any]:
    """Captions of images, English to German."""
    facts, rows = {"model": "multi30k", "pairs": False}, {}
    chosen = np.sort(np.random.default_rng(1).choice(29_000, CAPTIONS["train"], replace=False))
    for split, stem in (("train", "train"), ("valid", "val"), ("test", "test_2016_flickr")):
        files = described(f"multi30k/{stem}.en.gz") | {"companions": [described(f"multi30k/{stem}.de.gz")]}
        for i in range(CAPTIONS[split]):
            first, count = (int(chosen[i]), 1) if split == "train" else (CAPTION_CHUNK * i, CAPTION_CHUNK)
            rows[f"{split}{'2016' if split == 'test' else ''}-{i}"] = row(split, files, first, count, **facts)
    return rows


def chunked(files: dict[str, Any], total: int, **facts: Any) -> dict[str, Any]:
    """All of the training split."""
    return {
        f"train-{i}": row("train", files, first, min(TEXTS, total - first), **facts)
        for i, first in enumerate(range(0, total, TEXTS))
    }


def text_sets() -> dict[str, dict[str, Any]]:
    """The training splits of names and captions as whole texts."""
    names = len((DATA / "ar2en" / "train.txt").read_text().splitlines()) - HELD
    captions = described("multi30k/train.en.gz") | {"companions": [described("multi30k/train.de.gz")]}
    return {
        "ar2en-texts": chunked(packed("train"), names, model="translit", pairs=True),
        "multi30k-texts": chunked(captions, 29_000, model="multi30k", pairs=False),
    }


def filled(group: str, rows: dict[str, Any], embedded: bool) -> dict[str, Any]:
    """Rows with content hashes and sizes."""
    problem = NMTDecoding()
    for short, found in rows.items():
        files = [found, *found.get("companions", ())]
        first, *more = (DataFile(TOPIC, file["file"], file["sha256"], embedded) for file in files)
        entry = Entry(f"{group}/{short}", found["split"], first, "", 0, 0, tuple(more), facts=found["facts"])
        instance = replace(of_entry(entry), name=entry.name)
        size = problem.size(instance)
        found.update({"hash": content_hash(instance), "nodes": size.nodes, "edges": size.edges})
    return rows


def main() -> None:
    """Write files and index."""
    about = "Arabic names in Latin letters (google/transliteration, mined from Wikipedia)"
    captions = "captions of images, English to German (Multi30k, task 1)"
    terms = "captions derive from Flickr30k: non-commercial research and education"
    texts = text_sets()
    sets = {
        "ar2en": {"version": 1, "source": "embedded", "licence": "Apache-2.0", "about": about,
                  "instances": filled("ar2en", name_sets(), True)},
        "multi30k": {"version": 1, "source": "public", "licence": terms, "about": captions,
                     "instances": filled("multi30k", caption_sets(), False)},
        "ar2en-texts": {"version": 1, "source": "embedded", "licence": "Apache-2.0", "about": f"all training {about}",
                        "instances": filled("ar2en-texts", texts["ar2en-texts"], True)},
        "multi30k-texts": {"version": 1, "source": "public", "licence": terms, "about": f"all training {captions}",
                           "instances": filled("multi30k-texts", texts["multi30k-texts"], False)},
    }  # fmt: skip
    (TARGET / "index.json").write_text(json.dumps(sets, indent=1) + "\n")
    print(TARGET / "index.json")


if __name__ == "__main__":
    main()
