"""Who reads what on a tape, and where the readers of a value meet again."""

from __future__ import annotations

from collections.abc import Sequence

from sysgym.core.errors import UsageError
from sysgym_zoo.tools.tracing.regions import table
from sysgym_zoo.tools.tracing.regions.tape import Step, Tape

END = -1  # behind the last step: what is returned
MOST_SINKS = 2  # regions that an element-wise operator may be repeated in
LARGEST = 512  # steps between a value and where its readers meet
DEEPEST = 64  # steps that an expression is looked into


class Flow:
    """The steps of a tape that lead from an input to an output, with their roles and readers."""

    def __init__(self, tape: Tape) -> None:
        """Look at a tape once; UsageError for an operator that has no place in a region."""
        self.tape = tape
        values = tape.values
        self.source = {value: i for i, step in enumerate(tape.steps) for value in step.writes}
        self.outputs = {value for value in tape.outputs if not values[value].constant}
        if not self.outputs:
            raise UsageError(f"{tape.name}: no output depends on an input; there is nothing to run.")
        self.live = self._live()
        self.role: dict[int, str] = {}
        self.readers: dict[int, list[int]] = {}
        for i, step in enumerate(tape.steps):
            if any(value in self.live for value in step.writes):
                self.role[i] = table.role_of(step, bool(step.reads) and values[step.reads[0]].constant)
                for value in self.dynamic(step.reads):
                    self.readers.setdefault(value, []).append(i)
        self.meeting = self._meetings()
        self.sinks = self._sinks()

    def dynamic(self, values: Sequence[int]) -> list[int]:
        """Those of some values that are no constants, each once."""
        return [value for value in dict.fromkeys(values) if not self.tape.values[value].constant]

    def written(self, step: Step) -> list[int]:
        """What a step writes that leads to an output."""
        return [value for value in step.writes if value in self.live]

    def _live(self) -> set[int]:
        """Values that lead to an output and depend on an input."""
        live = set(self.outputs)
        for step in reversed(self.tape.steps):
            if any(value in live for value in step.writes):
                live |= set(self.dynamic(step.reads))
        return live

    def _after(self, value: int) -> list[int]:
        """The values that are made of a value, and END where it is returned."""
        found = [each for i in self.readers.get(value, ()) for each in self.written(self.tape.steps[i])]
        return [*found, *([END] if value in self.outputs or not found else [])]

    def _meetings(self) -> dict[int, int]:
        """Of each value, the first that everything made of it goes through (its immediate post-dominator)."""
        meeting, depth = {END: END}, {END: 0}
        for value in sorted(self.live, reverse=True):
            after = self._after(value)
            at = after[0]
            for other in after[1:]:
                while at != other:
                    if depth[at] < depth[other]:
                        at, other = other, at
                    at = meeting[at]
            meeting[value], depth[value] = at, depth[at] + 1
        return meeting

    def _sinks(self) -> dict[int, frozenset[int]]:
        """Of each value, the steps of regions that read it, itself or through element-wise ones; a few suffice."""
        found: dict[int, frozenset[int]] = {}
        for value in sorted(self.live, reverse=True):
            steps: set[int] = {END} if value in self.outputs else set()
            for i in self.readers.get(value, ()):
                inside = self.role[i] in (table.POINTWISE, table.FREE, table.BATCH_NORM)
                for each in self.written(self.tape.steps[i]) if inside else ():
                    steps |= found[each]
                steps |= set() if inside else {i}
                if len(steps) > MOST_SINKS + 1:
                    break
            found[value] = frozenset(steps)
        return found

    def between(self, value: int, meeting: int) -> list[int] | None:
        """The steps from a value to where its readers meet, in order; None if there are very many."""
        found, fringe = set(), [value]
        while fringe:
            for i in self.readers.get(fringe.pop(), ()):
                if i not in found:
                    found.add(i)
                    fringe += [each for each in self.written(self.tape.steps[i]) if each != meeting]
            if len(found) > LARGEST:
                return None
        return sorted(found)

    def parts(self, value: int) -> tuple[list[int], list[int]]:
        """The parts that a value is cut into, where they are all of it and nothing reads the whole, and the steps that
        cut it, among them element-wise ones with constants before it is cut, such as a bias; none otherwise.
        """
        parts: list[int] = []
        cuts: list[int] = []
        fringe = [value]
        while fringe:
            whole = fringe.pop()
            if whole in self.outputs:
                return [], []
            for i in self.readers.get(whole, ()):
                step = self.tape.steps[i]
                if self.role[i] not in (table.FREE, table.POINTWISE) or len(self.dynamic(step.reads)) != 1:
                    return [], []
                cuts.append(i)
                for each in self.written(step):
                    same = self.tape.values[each].elems == self.tape.values[whole].elems
                    (fringe if same else parts).append(each)
        total = sum(self.tape.values[part].elems for part in parts)
        return (sorted(parts), cuts) if len(parts) > 1 and total == self.tape.values[value].elems else ([], [])

    def folded(self) -> dict[int, bool]:
        """The batch normalisations that stand alone behind a convolution or product, and whether that has a bias."""
        found = {}
        for i, role in self.role.items():
            if role != table.BATCH_NORM:
                continue
            value = self.tape.steps[i].reads[0]
            while len(self.readers[value]) == 1 and value in self.source and value not in self.outputs:
                before = self.source[value]
                step = self.tape.steps[before]
                if self.role[before] in (table.CONV, table.MATMUL):
                    if self.tape.values[step.reads[1]].constant:
                        found[i] = bool(step.given["bias"])
                    break
                if self.role[before] != table.FREE:
                    break
                value = step.reads[0]
        return found
