"""Maintainers' command that writes the messages of response decoding: `python -m sysgym_zoo.embed messages`.

It packs pairs of the Self-dialogue Corpus below SYSGYM_DATA (decoding/selfdialogue, BSD-3-Clause): some that the
packaged model was trained on, to train policies with, and of the held-out file those whose message is no message of the
other.
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

from sysgym.core.data import DataFile
from sysgym.core.instances import Entry
from sysgym.core.problem import content_hash
from sysgym.response_decoding.catalogue import TOPIC, USUAL, of_entry
from sysgym.response_decoding.instance import SAMPLE
from sysgym.response_decoding.problem import ResponseDecoding
from sysgym.text.catalogue import load_model
from sysgym_zoo.embed.dialogue import NOTICE

DATA = Path(os.environ.get("SYSGYM_DATA", ".")) / "decoding" / "selfdialogue"
TARGET = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / TOPIC
TRAIN, GROUP = 512, 8  # pairs to train on: the first SINGLE one by one, all of them in groups
SINGLE = 64
VALID, TEST, CHUNK = 4, 8, 50  # chunks of the held-out pairs
OTHERS = 200  # held-out pairs from which the samples of those chunks are drawn
PIECES = 48  # of an answer


def pairs_of(name: str) -> list[tuple[str, str]]:
    """Messages and answers of a file of the corpus."""
    lines = gzip.decompress((DATA / f"{name}.tsv.gz").read_bytes()).decode().splitlines()
    return [(message.strip(), answer.strip()) for _, message, answer in (line.split("\t") for line in lines)]


def chosen(pairs: list[tuple[str, str]], count: int, without: set[str], seed: int) -> list[tuple[str, str]]:
    """Pairs drawn from those that fit the model, no message twice and none of `without`."""
    model, found = load_model(USUAL), dict[str, str]()
    for place in np.random.default_rng(seed).permutation(len(pairs)).tolist():
        message, answer = pairs[place]
        fits = len(model.source.encode(message, None)) <= PIECES and len(model.target.encode(answer, None)) <= PIECES
        if message and answer and message not in without and message not in found and fits:
            found[message] = answer
        if len(found) == count:
            return list(found.items())
    raise ValueError(f"there are {len(found)} such pairs, and {count} are wanted")


def packed(name: str, pairs: list[tuple[str, str]]) -> dict[str, str]:
    """A file of pairs in the package, as an entry describes it."""
    content = "".join(f"{message}\t{answer}\n" for message, answer in pairs).encode()
    (TARGET / f"{name}.tsv.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    return {"file": f"{name}.tsv.gz", "sha256": hashlib.sha256(content).hexdigest()}


def row(split: str, file: dict[str, str], lines: tuple[int, int], others: range, seed: int) -> dict[str, Any]:
    """An entry without its hash and size: `lines` are first and count, `others` those that the sample is drawn from."""
    first, count = lines
    there = [line for line in others if not first <= line < first + count]
    sample = np.random.default_rng([2, seed]).choice(there, SAMPLE, replace=False)
    facts = {"model": USUAL, "first": first, "count": count, "sample": sorted(map(int, sample))}
    return {"split": split, **file, "facts": facts}


def filled(group: str, rows: dict[str, Any]) -> dict[str, Any]:
    """Rows with content hashes and sizes."""
    problem = ResponseDecoding()
    for short, found in rows.items():
        file = DataFile(TOPIC, found["file"], found["sha256"], True)
        entry = Entry(f"{group}/{short}", found["split"], file, "", 0, 0, facts=found["facts"])
        instance = replace(of_entry(entry), name=entry.name)
        size = problem.size(instance)
        found.update({"hash": content_hash(instance), "nodes": size.nodes, "edges": size.edges})
    return rows


def main() -> None:
    """Write files and index."""
    TARGET.mkdir(parents=True, exist_ok=True)
    known = pairs_of("train")
    held = chosen(pairs_of("dev"), (VALID + TEST) * CHUNK + OTHERS, {message for message, _ in known}, 1)
    train, dev = packed("train", chosen(known, TRAIN, set(), 0)), packed("dev", held)
    (TARGET / "LICENSE").write_text(NOTICE[NOTICE.index("Weights") :].replace(
        "Weights and vocabulary are made of the", "Messages and answers are from the", 1))  # fmt: skip
    every, rest = range(TRAIN), range((VALID + TEST) * CHUNK, len(held))
    single = {f"train-{i}": row("train", train, (i, 1), every, i) for i in range(SINGLE)}
    for i in range(VALID + TEST):
        split, number = ("valid", i) if i < VALID else ("test", i - VALID)
        single[f"{split}-{number}"] = row(split, dev, (CHUNK * i, CHUNK), rest, 1000 + i)
    groups = {
        f"train-{i}": row("train", train, (GROUP * i, GROUP), every, 2000 + i) for i in range(TRAIN // GROUP)
    }  # fmt: skip
    about, licence = "messages and answers of the Self-dialogue Corpus", "BSD-3-Clause"
    sets = {
        "selfdialogue": {"version": 1, "source": "embedded", "licence": licence, "instances": filled(
            "selfdialogue", single), "about": f"{about}: single ones to train on, chunks of {CHUNK} held out"},
        "selfdialogue8": {"version": 1, "source": "embedded", "licence": licence, "instances": filled(
            "selfdialogue8", groups), "about": f"{about}: {GROUP} at a time, to train on"},
    }  # fmt: skip
    (TARGET / "index.json").write_text(json.dumps(sets, indent=1) + "\n")
    print(TARGET / "index.json")


if __name__ == "__main__":
    main()
