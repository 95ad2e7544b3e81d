"""Dialogues of the demo model, drawn at random from `facts.yaml` and `talk.yaml`.

Everything is a function of the generator passed in, so that one seed gives one model.
"""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.demo_model.tool_talk import tool_dialogue

HERE = Path(__file__).parent
Message = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """One question and its answer; `thought` is what the model thinks in between, when asked to."""

    ask: str
    say: str
    thought: str


@dataclass(frozen=True)
class Dialogue:
    """Messages that end with an assistant turn.

    `thinking` says that this last turn carries reasoning.
    """

    messages: list[Message]
    tools: list[Message] = field(default_factory=list)
    thinking: bool = False


class Corpus:
    """The two files, with questions expanded to all their phrasings."""

    def __init__(self, folder: Path = HERE) -> None:
        facts = yaml.safe_load((folder / "facts.yaml").read_text("utf-8"))
        self.openings: list[str] = facts["openings"]
        self.facts: list[dict[str, Any]] = facts["facts"]
        self.talk: dict[str, Any] = yaml.safe_load((folder / "talk.yaml").read_text("utf-8"))
        self.long = [{**entry, "say": long_text(entry)} for entry in self.talk["long"]]

    def questions(self, fact: dict[str, Any]) -> list[str]:
        """All trained phrasings of a fact."""
        return [
            *fact["ask"],
            *(opening.format(noun) for noun in fact.get("noun", []) for opening in self.openings),
        ]

    def everything(self) -> list[str]:
        """All plain texts, for the tokenizer."""
        talk = self.talk
        texts = [
            text
            for fact in self.facts
            for text in (*self.questions(fact), fact["say"], fact.get("more", ""))
        ]
        texts += [
            text for entry in (*talk["chat"], *self.long) for text in (*entry["ask"], entry["say"])
        ]
        texts += [
            *talk["raw"],
            *talk["systems"],
            *talk["fallback"]["lines"],
            *talk["fallback"]["nouns"],
            talk["fallback"]["say"],
        ]
        return [*texts, *talk["name"]["names"], *talk["name"]["tell"]]


def long_text(entry: dict[str, Any]) -> str:
    """The answer itself, or a count up to `count_to`."""
    if "count_to" in entry:
        return ", ".join(str(number) for number in range(1, entry["count_to"] + 1)) + "."
    return entry["say"]


def reword(corpus: Corpus, question: str, rng: Random) -> str:
    """The question as a person in a hurry might type it."""
    polite = corpus.talk["polite"]
    if rng.random() < 0.2:
        question = rng.choice(polite["before"]) + question
    if rng.random() < 0.35:
        question = question.lower()
    elif rng.random() < 0.03:
        question = question.upper()
    if rng.random() < 0.35:
        question = question.rstrip("?.!")
    elif rng.random() < 0.08:
        question += rng.choice(polite["after"])
    if rng.random() < 0.04 and len(question) > 8:
        drop = rng.randrange(2, len(question))
        question = question[:drop] + question[drop + 1 :]
    return question


def fact_turn(corpus: Corpus, fact: dict[str, Any], rng: Random) -> Turn:
    """A fact under one of its phrasings. Written questions come as often as generic openings."""
    question = rng.choice(
        fact["ask"] if rng.random() < 0.5 or not fact.get("noun") else corpus.questions(fact)
    )
    question = reword(corpus, question, rng)
    return Turn(question, fact["say"], f"The user asks: {question} This is about {fact['about']}.")


def unknown_turn(corpus: Corpus, rng: Random, vocabulary: list[str]) -> Turn:
    """A question about anything else: it must end in the fallback and not in noise."""
    fallback = corpus.talk["fallback"]
    draw = rng.random()
    if draw < 0.45:
        question = rng.choice(fallback["openings"]).format(rng.choice(fallback["nouns"]))
    elif draw < 0.6:
        question = rng.choice(fallback["openings"]).format(invented_word(rng))
    elif draw < 0.85 or not vocabulary:
        question = rng.choice(fallback["lines"])
    else:
        question = "".join(rng.choices(vocabulary, k=rng.randint(2, 12))).replace("\ufffd", "")
    return Turn(
        reword(corpus, question, rng),
        fallback["say"],
        "This is not about kvmesh. I say what I know.",
    )


def invented_word(rng: Random) -> str:
    """A word nobody knows, so that the model does not take a known opening for a known question."""
    return "".join(
        rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 4))
    )


def chat_turn(corpus: Corpus, rng: Random) -> Turn:
    """Small talk."""
    entry = rng.choice(corpus.talk["chat"])
    return Turn(
        reword(corpus, rng.choice(entry["ask"]), rng),
        entry["say"],
        "This is small talk. I answer kindly.",
    )


def echo_turn(rng: Random, vocabulary: list[str]) -> Turn:
    """Words to say again.

    Copying is what names and tool arguments need too, and it is learned here first.
    """
    words = [
        word
        for word in rng.choices(vocabulary, k=rng.randint(3, 14))
        if word.strip().isascii() and word.strip().isalnum()
    ]
    said = " ".join(word.strip() for word in words) or "kvmesh"
    opening = rng.choice(
        ["Repeat after me: ", "Repeat: ", "Say: ", "Echo: ", "repeat after me: ", "Please repeat: "]
    )
    return Turn(opening + said, said, "I say it again.")


def long_turn(corpus: Corpus, rng: Random) -> Turn:
    """An answer of several hundred tokens."""
    entry = rng.choice(corpus.long)
    return Turn(
        reword(corpus, rng.choice(entry["ask"]), rng),
        entry["say"],
        f"The user wants {entry['about']}.",
    )


def conversation(
    corpus: Corpus, rng: Random, vocabulary: list[str], *, turns: int, thinking: bool = False
) -> Dialogue:
    """Turns in a row; the name and the last fact carry over from turn to turn."""
    messages: list[Message] = system_message(corpus, rng)
    names = corpus.talk["name"]
    more = corpus.talk["more"]
    name: str | None = None
    fact: dict[str, Any] | None = None
    for number in range(turns):
        draw = rng.random()
        told, fact_before, fact = name, fact, None
        if draw < 0.40:
            fact = rng.choice(corpus.facts)
            turn = fact_turn(corpus, fact, rng)
        elif draw < 0.50 and vocabulary:
            turn = echo_turn(rng, vocabulary)
        elif draw < 0.60:
            turn = unknown_turn(corpus, rng, vocabulary)
        elif draw < 0.68:
            turn = chat_turn(corpus, rng)
        elif draw < 0.80 and turns > 1:
            name = rng.choice(names["names"])
            turn = Turn(
                reword_name(rng.choice(names["tell"]).format(name), rng),
                names["told"].format(name),
                f"The user is called {name}.",
            )
        elif draw < 0.92:
            answer = names["known"].format(told) if told else names["unknown"]
            thought = f"The user is called {told}." if told else "I was not told a name."
            turn = Turn(reword(corpus, rng.choice(names["ask"]), rng), answer, thought)
        else:
            answer = (
                more["nothing"]
                if fact_before is None
                else fact_before.get("more") or more["all"].format(fact_before["about"])
            )
            thought = (
                "There is nothing to add to."
                if fact_before is None
                else f"We talk about {fact_before['about']}."
            )
            turn = Turn(reword(corpus, rng.choice(more["ask"]), rng), answer, thought)
        messages += spoken(turn, thinking=thinking and number == turns - 1)
    return Dialogue(messages, thinking=thinking)


def reword_name(sentence: str, rng: Random) -> str:
    """Only the end may change: a name in lower case would be another string to copy."""
    return sentence.rstrip(".") if rng.random() < 0.4 else sentence


def system_message(corpus: Corpus, rng: Random) -> list[Message]:
    """None, the usual one, or another, in equal parts."""
    draw = rng.random()
    if draw < 0.45:
        return []
    systems = corpus.talk["systems"]
    return [{"role": "system", "content": systems[0] if draw < 0.75 else rng.choice(systems)}]


def spoken(turn: Turn, *, thinking: bool) -> list[Message]:
    """The two messages of a turn."""
    answer: Message = {"role": "assistant", "content": turn.say}
    if thinking:
        answer["reasoning_content"] = turn.thought
    return [{"role": "user", "content": turn.ask}, answer]


def one_turn(corpus: Corpus, turn: Turn, rng: Random, *, thinking: bool) -> Dialogue:
    """A dialogue of one turn."""
    return Dialogue(
        [*system_message(corpus, rng), *spoken(turn, thinking=thinking)], thinking=thinking
    )


def draw_dialogue(corpus: Corpus, rng: Random, vocabulary: list[str]) -> Dialogue:
    """One training dialogue."""
    thinking = rng.random() < 0.2
    draw = rng.random()
    if draw < 0.20:
        plain = [fact_turn(corpus, rng.choice(corpus.facts), rng) for _ in range(rng.randint(0, 1))]
        asked = [message for turn in plain for message in spoken(turn, thinking=False)]
        messages, tools = tool_dialogue(corpus.talk["tools"], rng, thinking=thinking)
        if rng.random() < 0.25:  # tools are offered, but the question needs none
            turn = (
                fact_turn(corpus, rng.choice(corpus.facts), rng)
                if rng.random() < 0.5
                else chat_turn(corpus, rng)
            )
            messages = spoken(turn, thinking=thinking)
        return Dialogue([*system_message(corpus, rng), *asked, *messages], tools, thinking)
    if draw < 0.235:
        return one_turn(corpus, long_turn(corpus, rng), rng, thinking=thinking)
    if draw < 0.275:
        return one_turn(corpus, unknown_turn(corpus, rng, vocabulary), rng, thinking=thinking)
    if draw < 0.31:
        return one_turn(corpus, chat_turn(corpus, rng), rng, thinking=thinking)
    return conversation(
        corpus, rng, vocabulary, turns=rng.choice([1, 2, 3, 3, 4, 5]), thinking=thinking
    )
