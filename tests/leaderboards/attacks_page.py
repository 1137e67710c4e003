"""`leaderboards/ATTACKS.md`, written from the tests: `python tests/leaderboards/attacks_page.py` writes it anew."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "leaderboards" / "ATTACKS.md"
INTRO = """# Attacks that fail

Every line is a test in `tests/leaderboards`; this page is written from them. What a line needs to be listed is that the
attack is tried on the real code and that what it leaves behind is looked at.

Found another one? Open an issue with the smallest submission, store or command that shows it, and what the board said.
If it would let somebody rank who should not, write to the maintainers first, and to the public once it is mended. It
will be mended with its whole kind, and appear here with your name if you wish.

What remains trusted stands in `sysgym_leaderboards.auditing`: when an entry arrived, how many seconds judging took, the
name of a judge that is not installed here. Against a chain that was written anew as a whole helps a head that you kept:
`sysgym board verify --head HEAD`.
"""


def module_of(file: Path) -> ModuleType:
    """A test file as a module of its own."""
    name = f"attacks_page_{file.stem}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, file)
        assert spec and spec.loader
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def page() -> str:
    """The text of the page."""
    lines, tests = [INTRO, "## On the record and the ranking\n"], 0
    modules = {file.stem: module_of(file) for file in sorted(HERE.glob("test_*.py"))}
    for stem, module in modules.items():
        for name, function in vars(module).items():
            for mark in getattr(function, "pytestmark", ()) if name.startswith("test_") else ():
                if mark.name == "attack":
                    tests += 1
                    lines.append(f"- {mark.args[0]} (`{stem}.py`, `{name}`).")
    assert tests
    tampered, cases = modules["test_record"].TAMPERED, modules["test_attacks"].CASES
    lines += ["\n## Rewritten in the store, with the whole chain\n"]
    lines += [f"{', '.join(tampered)} (each is named by itself, or by a head that was kept)."]
    lines += ["\n## Submissions\n", "| submission | what the sentence says |", "|---|---|"]
    for name, (_, words) in cases.items():
        said = words.replace("|", "\\|") or "refused"
        lines.append(f"| {name} | {said} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent / "support"))
    PAGE.write_text(page())
