"""Messages, their answers, and other messages, for tests of response decoding."""

from __future__ import annotations

from sysgym.response_decoding.instance import Messages, messages

SAID = ["Do you like the new movie?", "The Patriots will win this year.", "I listen to rock."]
TRUE = ["Yes, I saw it twice last week.", "I hope that they lose every game.", "Which band is the best?"]
NUMBERS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
OTHERS = [f"I think number {word} is the best." for word in NUMBERS.split()]


def talk(references: list[str] | None = None, count: int = 2) -> Messages:
    """The first messages; with their true answers, others, or none ([])."""
    given = TRUE[:count] if references is None else references
    return messages("by hand", "dialogue", SAID[:count], given, OTHERS)
