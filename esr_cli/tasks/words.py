"""Word problems in templated English: a person has some things, and their number changes.

Each problem is followed from its first amount through all changes. Its solutions are written in one
of several strategies and in one of two lengths; a model is taught these by `scripts/real_pair.py`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from esr_cli.tasks.chat import Chat
from esr_cli.tasks.fresh import FreshTask
from esr_cli.types import Question

PEOPLE = {
    "Mia": "She", "Ben": "He", "Ana": "She", "Tom": "He", "Lea": "She", "Sam": "He", "Zoe": "She",
    "Max": "He",
}  # fmt: skip
THINGS = (
    "apples", "books", "cards", "coins", "marbles", "pencils", "shells", "stamps", "stickers",
    "stones",
)  # fmt: skip
STARTS = (3, 15)
MOST_MOVED = 9
# Of 256 values of a question's hash, those of the held-out split.
HELD_OUT = 32


@dataclass(frozen=True)
class Change:
    """A change as an operation (`+`, `-`, `*`, `/`) with a number, and how it is told."""

    sign: str
    number: int
    told: str

    def apply(self, amount: int) -> int:
        """The amount after the change."""
        if self.sign == "+":
            return amount + self.number
        if self.sign == "-":
            return amount - self.number
        return amount * self.number if self.sign == "*" else amount // self.number


@dataclass(frozen=True)
class Story:
    """A person, the things, their number at the start, and the changes in order."""

    name: str
    pronoun: str
    things: str
    start: int
    changes: tuple[Change, ...]

    @property
    def question(self) -> str:
        """The problem as text."""
        first, *others = self.changes
        told = f"{self.pronoun} {first.told}."
        told += "".join(f" Then {self.pronoun.lower()} {each.told}." for each in others)
        asked = f"How many {self.things} does {self.name} have in the end?"
        return f"{self.name} has {self.start} {self.things}. {told} {asked}"

    @property
    def amounts(self) -> list[int]:
        """The amount at the start and after each change."""
        amounts = [self.start]
        for change in self.changes:
            amounts.append(change.apply(amounts[-1]))
        return amounts

    @property
    def answer(self) -> str:
        """The amount in the end."""
        return str(self.amounts[-1])


def story(index: int, split: str, changes: tuple[int, int], largest: int) -> Story:
    """Problem number `index` of the split `train` or `held_out`.

    It has `changes[0]` to `changes[1]` changes, and no amount exceeds `largest`. A hash of the
    question decides its split, so the splits are disjoint.
    """
    rng = random.Random(f"words/{split}/{index}/{changes}/{largest}")
    while True:
        sampled = _sample(rng, rng.randint(*changes), largest)
        held_out = hashlib.blake2b(sampled.question.encode()).digest()[0] < HELD_OUT
        if held_out == (split == "held_out"):
            return sampled


def _sample(rng: random.Random, count: int, largest: int) -> Story:
    name, other = rng.sample(list(PEOPLE), 2)
    start = rng.randint(STARTS[0], min(STARTS[1], largest))
    amount, changes = start, list[Change]()
    while len(changes) < count:
        change = _change(rng, amount, other)
        if 0 < change.apply(amount) <= largest:
            changes.append(change)
            amount = change.apply(amount)
    return Story(name, PEOPLE[name], rng.choice(THINGS), start, tuple(changes))


def _change(rng: random.Random, amount: int, other: str) -> Change:
    sign = rng.choices("+-*/", weights=(3, 3, 1, 1))[0]
    moved = rng.randint(2, MOST_MOVED)
    if sign == "+":
        told = rng.choice(
            (f"buys {moved} more", f"finds {moved} more", f"gets {moved} from {other}")
        )
        return Change("+", moved, told)
    if sign == "*":
        times = rng.randint(2, 3)
        return Change("*", times, f"{'doubles' if times == 2 else 'triples'} them")
    if sign == "/" and amount % 2 == 0:
        return Change("/", 2, f"gives half of them to {other}")
    told = rng.choice((f"gives {moved} to {other}", f"loses {moved}", f"sells {moved}"))
    return Change("-", moved, told)


def _sentences(told: Story, long: bool) -> str:
    amounts = told.amounts
    lines = [f"{told.name} starts with {told.start} {told.things}."]
    for place, change in enumerate(told.changes):
        before, after = amounts[place : place + 2]
        sum_ = f"{before} {change.sign} {change.number} = {after}"
        lines.append(
            f"{told.pronoun} {change.told}, so we get {sum_}." if long else f"Then {sum_}."
        )
    return " ".join([*lines, _boxed(told, long)])


def _list(told: Story, long: bool) -> str:
    amounts = told.amounts
    lines = ["Here is a list.", f"start: {told.start}"]
    for change, after in zip(told.changes, amounts[1:], strict=True):
        reason = f" ({told.pronoun.lower()} {change.told})" if long else ""
        lines.append(f"{change.sign} {change.number}{reason}: {after}")
    return "\n".join([*lines, _boxed(told, long)])


def _expression(told: Story, long: bool) -> str:
    amounts, lines = told.amounts, ["Here is one expression."]
    for place in range(len(told.changes)):
        text = str(amounts[place])
        for change in told.changes[place:]:
            text = f"({text} {change.sign} {change.number})"
        # The brackets around the whole are not needed.
        lines.append(f"We get {text[1:-1]}" if long else text[1:-1])
    return "\n".join([*lines, f"= {told.answer}", _boxed(told, long)])


def _boxed(told: Story, long: bool) -> str:
    if long:
        return f"So in the end {told.name} has \\boxed{{{told.answer}}} {told.things}."
    return f"The answer is \\boxed{{{told.answer}}}."


STRATEGIES: tuple[Callable[[Story, bool], str], ...] = (_sentences, _list, _expression)


def solution(told: Story, rng: random.Random, strategies: int = 1, long: bool = False) -> str:
    """A correct solution by one of the first `strategies` strategies, chosen by `rng`.

    1: a sentence for each change; 2: also a list; 3: also one expression, computed from the inside.
    A `long` solution repeats the story beside the computation.
    """
    return STRATEGIES[rng.randrange(strategies)](told, long)


def question(
    index: int, split: str, changes: tuple[int, int], largest: int, wording: str
) -> Question:
    """Problem number `index` as a question, in the template `wording`."""
    told = story(index, split, changes, largest)
    text = wording.replace("{problem}", told.question)
    messages = ({"role": "user", "content": text},)
    return Question(f"words-{split}-{index:06d}", messages, told.answer)


class WordsTask(FreshTask):
    """New word problems at every step, with both models' chat templates."""

    def __init__(
        self, changes: tuple[int, int], largest: int, wording: str, student: Chat, teacher: Chat,
        seed: int, system: str | None = None,
    ) -> None:  # fmt: skip
        fewest, most = changes
        report = f"words: new problems of {fewest} to {most} changes every step, at most {largest}"
        super().__init__(
            lambda index: question(index, "train", changes, largest, wording),
            report, student, teacher, seed, system,
        )  # fmt: skip
