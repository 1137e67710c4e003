"""Costs of answers against the metric library, the pencil, and a decoder that is stepped by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from talks import OTHERS, SAID, TRUE, talk

import sysgym
from sysgym.core.errors import InvalidSolution, UsageError
from sysgym.core.problem import content_hash
from sysgym.response_decoding.instance import messages
from sysgym.response_decoding.worth import LEAST, information, likelihoods
from sysgym.text.catalogue import load_model
from sysgym.text.scoring import score_parts


def by_hand(message: str, answer: str) -> float:
    """log P of an answer and its end, token by token, the message read anew with the answer so far every ten."""
    model, total = load_model("dialogue"), 0.0
    tokens = [*model.target.encode(answer).tolist(), model.special.end]
    for first in range(0, len(tokens), 10):
        read = [*model.source.encode(message).tolist(), model.special.separator, *tokens[:first], model.special.end]
        memory = model.network.encode([np.array(read)])
        state, last = model.network.start(memory), tokens[first - 1] if first else model.special.begin
        for token in tokens[first : first + 10]:
            logp, _, state = model.network.step(memory, state, np.array([last]))
            total += float(logp[0, token])
            last = token
    return total


def test_a_cost_by_hand() -> None:
    problem, instance = sysgym.make_problem("ResponseDecoding"), talk()
    answers = ["I like the movie, I like it a lot and I have seen it with all my friends.", "They will win."]
    verdict, s = problem.judge(instance, problem.answer(instance, answers)), list[float]()
    for message, answer in zip(SAID, answers, strict=False):
        logp = [by_hand(each, answer) for each in (message, *OTHERS)]
        s.append(logp[0] - math.log(sum(math.exp(each - logp[0]) for each in logp)) - logp[0])
        assert s[-1] < 0
    pairs = [pair for answer in answers for pair in pairwise(answer.split())]
    chrf, distinct = sacrebleu.corpus_chrf(answers, [TRUE[:2]]).score, len(set(pairs)) / len(pairs)
    cost = 100 * (1 - (0.5 * chrf / 100 + 0.3 * (1 + sum(s) / 2 / 10) + 0.2 * distinct))
    assert verdict.cost == pytest.approx(cost, abs=1e-6) and verdict.feasible
    assert verdict.metrics["mmi"] == pytest.approx(sum(s) / 2, abs=1e-6)
    assert verdict.metrics["distinct2"] == distinct and verdict.metrics["chars"] == (73 + 14) / 2
    assert verdict.metrics["short"] == 0.5
    assert verdict.metrics["logprob"] == pytest.approx(sum(map(by_hand, SAID, answers)), abs=1e-6)


def test_phi_holds_the_message_and_fourteen_others() -> None:
    problem = sysgym.make_problem("ResponseDecoding")
    for name in ("selfdialogue/valid-0", "selfdialogue8/train-0", "selfdialogue/train-3"):
        instance = problem.load(name)
        for source, sample in zip(problem.task(instance).sources, problem.samples(instance), strict=True):
            assert len({each.tobytes() for each in sample}) == len(sample) == 15 and sample[0] is source
    model, sample = problem.model_of(instance), problem.samples(instance)[0]
    for text in ("Yes.", "I do not know what that is.", "zxqj " * 30):
        assert LEAST <= information(text, likelihoods(model, [(sample, text)])[0]) <= 0


def test_an_answer_ranks_its_own_message() -> None:
    """N-choose-K: an answer that repeats its message's words is more probable under it than under nine others."""
    problem = sysgym.make_problem("ResponseDecoding")
    instance = talk()
    assert problem.judge(instance, problem.answer(instance, ["Yes, I like the new movie.", ""])).metrics["first"] == 0.5


def test_the_prefix_counts() -> None:
    """What a second segment is worth depends on the first one: the model reads it with the message."""
    model = load_model("dialogue")
    text = "I think that is the best movie that I have ever seen in my life."
    tokens, message = model.target.encode(text), model.ids(SAID[0])
    rows = [(message, tokens[:10], tokens[10:]), (message, tokens[:0], tokens[10:])]
    with_it, without = score_parts(model, rows)
    assert abs(with_it - without) > 1


def test_an_empty_answer_wins_nothing() -> None:
    problem = sysgym.make_problem("ResponseDecoding")
    instance = talk()
    answers = ["I think it was a great movie.", "I think it was a great movie."]
    costs = [problem.judge(instance, problem.answer(instance, each)).cost
             for each in (answers, [answers[0], ""], ["", answers[1]], ["", ""])]  # fmt: skip
    assert costs[0] < min(costs[1:3]) and max(costs[1:3]) < costs[3] == 100.0
    found = problem.judge(instance, problem.answer(instance, ["", ""])).metrics
    assert found["mmi"] == LEAST and found["distinct2"] == 0.0 and found["first"] == 0.0


def test_the_same_text_is_worth_the_same() -> None:
    """However its author cut it: the judge has the text alone."""
    problem = sysgym.make_problem("ResponseDecoding")
    instance, model = talk(), problem.text_model
    whole = model.target.encode("I like it.")
    spelt = np.concatenate([model.target.encode(letter) for letter in "I like it."])
    assert not np.array_equal(whole, spelt)
    found = [problem.answer(instance, ["I like it.", ""], [tokens, whole[:0]]) for tokens in (whole, spelt)]
    assert problem.judge(instance, found[0]) == problem.judge(instance, found[1])


def test_without_references_log_p_ranks() -> None:
    problem, instance = sysgym.make_problem("ResponseDecoding"), talk([])
    verdict = problem.judge(instance, problem.answer(instance, ["Yes.", "I do not know."]))
    lengths = [len(problem.text_model.target.encode(text)) + 1 for text in ("Yes.", "I do not know.")]
    logp = [by_hand(SAID[0], "Yes."), by_hand(SAID[1], "I do not know.")]
    assert verdict.cost == pytest.approx(-(logp[0] / lengths[0] + logp[1] / lengths[1]) / 2, abs=1e-6)
    assert "chrf" not in verdict.metrics and verdict.metrics["tokens"] == (sum(lengths) - 2) / 2
    empty = problem.judge(instance, problem.answer(instance, ["Yes.", ""]))
    assert not empty.feasible and empty.violations == ("line 2 is empty",)


def test_what_is_too_long_is_infeasible_or_refused() -> None:
    problem, instance = sysgym.make_problem("ResponseDecoding", max_len=6), talk()
    verdict = problem.judge(instance, problem.answer(instance, ["a b c d e f g h", "Yes."]))
    assert not verdict.feasible and "with its end it may have 6" in verdict.violations[0]
    assert problem.judge(instance, problem.answer(instance, ["Yes.", "No."])).feasible
    with pytest.raises(InvalidSolution, match="1 answers for 2"):
        problem.answer(instance, ["Yes."])


def test_messages_and_answers_are_text_files(tmp_path: Path) -> None:
    problem = sysgym.make_problem("ResponseDecoding", references=str(tmp_path / "true.txt"))
    (tmp_path / "said.msg").write_text("\n".join(SAID[:2]) + "\n")
    (tmp_path / "true.txt").write_text("\n".join(TRUE[:2]) + "\n")
    assert problem.reads("said.msg", b"")
    instance = problem.load(str(tmp_path / "said.msg"))
    assert instance.sources == SAID[:2] and instance.references == TRUE[:2] and len(instance.sample) == 14
    solution = problem.answer(instance, ["Yes.", "I do not know, später."])
    data = problem.format_solution(instance, solution, "a.txt")
    assert data.decode() == "Yes.\nI do not know, später.\n"
    again = problem.parse_solution(instance, data, "a.txt")
    assert all(np.array_equal(again[key], solution[key]) for key in solution)
    shown = problem.describe(instance, solution)
    assert "> Do you like the new movie?" in shown and "S -" in shown and "4 characters" in shown
    assert problem.render(instance, solution).shape[1:] == (960, 3)
    (tmp_path / "said.msg").write_text("word " * 70 + "\n" + SAID[0] + "\n")
    with pytest.raises(UsageError, match="longer than the 64"):
        problem.size(problem.load(str(tmp_path / "said.msg")))
    with pytest.raises(UsageError, match="leave the option references out"):
        problem.load("selfdialogue/valid-0")


def test_splits_share_no_message() -> None:
    """Nor is a message of a board among those that its model was trained on, as far as these are packaged."""
    problem = sysgym.make_problem("ResponseDecoding")
    splits = {}
    for split in ("train", "valid", "test"):
        loaded = [problem.load(name) for name in problem.instance_sets()["selfdialogue"].names(split)]
        splits[split] = {message for each in loaded for message in each.sources}
        phi = {message for each in loaded for message in each.sample}
        assert split == "train" or not phi & splits[split]
    assert not splits["train"] & splits["valid"] and not splits["test"] & (splits["train"] | splits["valid"])
    assert len(splits["test"]) == 400 and len(splits["valid"]) == 200


def test_references_and_sample_are_hashed() -> None:
    hashes = {content_hash(each) for each in (
        talk(), talk(TRUE[1::-1]), talk([]), messages("other name", "dialogue", SAID[:2], TRUE[:2], OTHERS),
        messages("by hand", "dialogue", SAID[:2], TRUE[:2], [*OTHERS[1:], "Hello."]))}  # fmt: skip
    assert len(hashes) == 4
    with pytest.raises(UsageError, match="Phi has 14 messages"):
        messages("by hand", "dialogue", SAID, TRUE, OTHERS[1:])
