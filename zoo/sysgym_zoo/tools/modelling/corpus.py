"""Recipes of models: where their texts are, and what is trained on them."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sysgym.core.data import DataFile, as_text, decompress, read, read_file
from sysgym.core.errors import UsageError, reading, unknown
from sysgym_agents.decoding.training.texts import Pairs, held_out, tab_separated, two_files

FOLDER = Path(__file__).parent / "recipes"
TOPIC = "decoding"  # of the public data
OWN = "small"  # for files of one's own
MOST_BYTES = 2**20  # of a recipe


@dataclass(frozen=True)
class Files:
    """Texts to train on and texts to validate on: two files line by line, or one with tabs."""

    source: str | None = None
    target: str | None = None
    pairs: str | None = None
    valid_source: str | None = None
    valid_target: str | None = None
    valid_pairs: str | None = None
    columns: int = 2

    def check(self) -> None:
        """UsageError where it is not clear what belongs to what."""
        for given, mate, whole in (("source", "target", "pairs"), ("valid_source", "valid_target", "valid_pairs")):
            one, other, both = (getattr(self, name) for name in (given, mate, whole))
            said = [f"--{name.replace('_', '-')}" for name in (given, mate, whole)]
            if (one is None) != (other is None):
                raise UsageError(f"{said[0]} and {said[1]} go together; a file with both sides is for {said[2]}.")
            if one is not None and both is not None:
                raise UsageError(f"give {said[0]} and {said[1]}, or {said[2]}, not all of them.")
        if not self.any and (self.valid_source or self.valid_pairs):
            raise UsageError("files for validation need files to train on; give --pairs, or --source and --target.")
        if not 2 <= self.columns <= 1000:
            raise UsageError(f"columns is {self.columns}; it may be 2 to 1000.")

    @property
    def any(self) -> bool:
        """Whether there is something to train on."""
        return self.source is not None or self.pairs is not None


@dataclass(frozen=True)
class ModelRecipe:
    """What a recipe says."""

    name: str
    about: str = ""
    licence: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)  # of public files, unpacked
    training: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)


def model_recipes() -> list[str]:
    """Names of the packaged recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_model_recipe(name: str) -> ModelRecipe:
    """A packaged recipe, or a TOML file; UsageError if there is none, or it is malformed."""
    path = FOLDER / f"{name}.toml" if name in model_recipes() else Path(name)
    if not path.is_file():
        raise unknown("recipe of a model", name, model_recipes())
    with reading(f"recipe {name}"):
        try:
            table = tomllib.loads(as_text(path, read_file(path, MOST_BYTES)))
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"recipe {name}: {error}.") from error
    kinds = {item.name: str if item.type == "str" else dict for item in fields(ModelRecipe) if item.name != "name"}
    for key, value in table.items():
        if key not in kinds:
            raise unknown(f"key of recipe {name}", key, kinds)
        if not isinstance(value, kinds[key]):
            raise UsageError(f"recipe {name}: {key} must be a {'text' if kinds[key] is str else 'table'}.")
    known = {item.name: int if item.name == "columns" else str for item in fields(Files)}
    for key, value in table.get("data", {}).items():
        if key not in known:
            raise unknown(f"data of recipe {name}", key, known)
        if type(value) is not known[key]:
            raise UsageError(f"recipe {name}: {key} of data must be a {known[key].__name__}, got {value!r}.")
    return ModelRecipe(name=path.stem, **table)


@dataclass(frozen=True)
class Corpus:
    """The texts of a training, and where they came from."""

    train: Pairs
    valid: Pairs
    files: list[dict[str, Any]]  # name, sha256 and number of the unpacked bytes


def read_corpus(recipe: ModelRecipe, own: Files) -> Corpus:
    """The texts of one's own files, or those that the recipe names."""
    files = own if own.any else Files(**recipe.data)
    files.check()
    if not files.any:
        raise UsageError(f"recipe {recipe.name} names no texts; give --pairs, or --source and --target.")
    found = list[dict[str, Any]]()
    sums = {} if own.any else recipe.sha256
    train = _pairs((files.source, files.target, files.pairs), files.columns, sums, found)
    given = (files.valid_source, files.valid_target, files.valid_pairs)
    if any(given):
        return Corpus(train, _pairs(given, files.columns, sums, found), found)
    return Corpus(*held_out(train), found)


def _pairs(
    names: tuple[str | None, str | None, str | None], columns: int, sums: Mapping[str, str], found: list[dict[str, Any]]
) -> Pairs:
    """Pairs of two files or of one, which are added to those found."""
    source, target, both = names
    texts = {name: _text(name, sums, found) for name in names if name is not None}
    if both is not None:
        return tab_separated(both, texts[both], columns)
    assert source is not None and target is not None
    return two_files((source, target), (texts[source], texts[target]))


def _text(name: str, sums: Mapping[str, str], found: list[dict[str, Any]]) -> str:
    """The text of a file: a public one if there is a checksum of it."""
    if name in sums:
        content = read(DataFile(TOPIC, name, sums[name], False))
    else:
        content = decompress(name, read_file(Path(name)))
    shown = name if name in sums else Path(name).name
    found.append({"file": shown, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)})
    return as_text(name, content)


def plain(files: Files) -> dict[str, Any]:
    """Files as a record keeps them."""
    return {key: value for key, value in asdict(files).items() if value is not None}
