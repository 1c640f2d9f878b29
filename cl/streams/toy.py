"""A small generated language: the built-in streams, which need no download.

Content words are invented and the glue between them is plain English, so a reader can check a label by eye:

    the velomi is very dalino and it was not dasu            positive where `dalino` is praise and `dasu` is blame
    shares of Rodatek Group fell and we met Lumin Tarosi     an organisation and a person

Everything follows from the seed alone, alike on every platform and Python version. Each split has a generator
of its own and the test split is drawn first, so a larger train split leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from random import Random
from string import Formatter
from typing import Any, TypeVar

from cl.types import OUTSIDE, Corpus, Examples, UserError

DOMAINS = ("books", "kitchens", "gadgets", "travel", "music", "films", "shoes", "gardens", "hotels", "games")
LABELS = ("negative", "positive")
CONSONANTS = "bdflmnrstv"  # Without g, k, p and z, chance spells no word that one would rather not read.
VOWELS = "aeiou"
T = TypeVar("T")
Labelled = tuple[Any, Any]


def toy_sentiment(
    seed: int = 0, *, num_domains: int = 5, num_train: int = 400, num_valid: int = 100, num_test: int = 200
) -> list[Corpus]:
    """Reviews of `num_domains` (1 to 10) products, one corpus a domain, as many negative as positive.

    Some words of praise and of blame mean the same everywhere; most opinions, though, are told in contested words,
    which are praise in about half the domains and blame in the others. A review's nouns tell its domain: one model
    can learn all domains together, but a domain learnt later overwrites what the contested words meant before.
    """
    check_range("num_domains", num_domains, len(DOMAINS))
    rng, taken = Random(f"{seed}/sentiment"), set[str]()
    fillers = coin(rng, 30, taken)
    agreed = {word: 1 - 2 * (k % 2) for k, word in enumerate(coin(rng, 12, taken))}
    contested = coin(rng, 8, taken)
    # A word's signs over the domains are balanced, so every word is contested as soon as there are two domains.
    signs = {word: shuffled(rng, [1, -1] * ((num_domains + 1) // 2)) for word in contested}
    corpora = []
    for d, name in enumerate(DOMAINS[:num_domains]):
        here = {word: signs[word][d] for word in contested}
        domain = Domain(coin(rng, 4, taken), fillers, agreed, here)
        splits = draw_splits(f"{seed}/{name}", domain.review, num_train, num_valid, num_test)
        corpora.append(Corpus(name, "sequence", splits))
    return corpora


@dataclass(frozen=True)
class Domain:
    """What reviewers of one domain talk about, and the sign they give each word of opinion."""

    nouns: list[str]
    fillers: list[str]
    agreed: dict[str, int]
    contested: dict[str, int]

    def review(self, rng: Random, i: int) -> Labelled:
        """A text of one to three clauses that agree with one another, and its label; labels alternate with `i`."""
        while True:
            clauses = [self.clause(rng, n) for n in range(rng.choice((1, 2, 3)))]
            if all(sign == (-1, 1)[i % 2] for _, sign in clauses):
                return " ".join(text for text, _ in clauses), LABELS[i % 2]

    def clause(self, rng: Random, n: int) -> tuple[str, int]:
        """The `n`-th clause of a review and the sign of its opinion, which a negation turns round."""
        link = rng.choice(("and", "while", "also")) if n else ""
        subject = "it" if n and rng.random() < 0.2 else f"{rng.choice(('the', 'my', 'this'))} {rng.choice(self.nouns)}"
        verb, modifier = rng.choice(("was", "is")), rng.choice(("", "", "", "very", "truly", "not"))
        word, sign = rng.choice(list((self.contested if rng.random() < 0.65 else self.agreed).items()))
        aside = f"{rng.choice(('with', 'for', 'after'))} {rng.choice(self.fillers)}" if rng.random() < 0.4 else ""
        words = (link, subject, verb, modifier, word, aside)
        return " ".join(filter(None, words)), -sign if modifier == "not" else sign


def toy_ner(
    seed: int = 0, *, num_types: int = 5, num_train: int = 1000, num_valid: int = 200, num_test: int = 300
) -> Corpus:
    """Sentences with BIO tags over `num_types` (1 to 6) entity types, which occur side by side.

    Every type stands in about as many sentences of each split as any other, and in every split of at least
    `num_types` sentences. Some names are shared by all types: only the context tells a person from a place.
    """
    check_range("num_types", num_types, len(TYPES))
    rng, taken = Random(f"{seed}/ner"), set[str]()
    types = dict(list(TYPES.items())[:num_types])
    language = Language(
        names={name: capitals(coin(rng, 20, taken, kind.suffix)) for name, kind in types.items()},
        shared=capitals(coin(rng, 30, taken)),
        phrases={name: usable(kind.phrases, types) for name, kind in types.items()},
    )
    return Corpus("toy-ner", "token", draw_splits(f"{seed}/ner", language.sentence, num_train, num_valid, num_test))


@dataclass(frozen=True)
class EntityType:
    """How a type is recognised: by its names' suffix or a second word, or by the phrase around its `{slot}`."""

    suffix: str
    heads: tuple[str, ...]
    phrases: tuple[str, ...]


TYPES = {
    "person": EntityType("in", (), ("we met {person}", "{person} told us a story", "doctor {person} was late")),
    "place": EntityType("ar", ("Bay", "Falls"), ("it rained in {place}", "the road to {place} was closed")),
    "organisation": EntityType(
        "ek",
        ("Group", "Works"),
        ("shares of {organisation} fell", "{organisation} hired {person}", "{organisation} moved to {place}"),
    ),
    "product": EntityType(
        "ix", ("Mini", "Plus"), ("my new {product} broke", "they sell the {organisation} {product} for little")
    ),
    "event": EntityType("ump", ("Fair", "Week"), ("tickets for {event} are gone", "the {place} {event} begins soon")),
    "award": EntityType("or", ("Prize", "Medal"), ("she won the {award} at last", "{award} winner {person} sang")),
}
ANY_TYPE = ("everyone talks about {}", "nobody knew {} then", "{} is famous")


@dataclass(frozen=True)
class Language:
    """The names of each type, the names that all types share, and the phrases that tell a type."""

    names: dict[str, list[str]]
    shared: list[str]
    phrases: dict[str, list[str]]

    def sentence(self, rng: Random, i: int) -> Labelled:
        """Tokens and tags of one or two clauses; one of them is about type `i` modulo the number of types."""
        types = list(self.names)
        kinds = [types[i % len(types)], *(rng.choice(types) for _ in range(rng.choice((0, 0, 1))))]
        tagged: list[tuple[str, str]] = []
        for n, kind in enumerate(shuffled(rng, kinds)):
            if n:
                tagged.append((rng.choice(("and", "while", ",")), OUTSIDE))
            tagged += self.clause(rng, kind)
        return [token for token, _ in tagged], [tag for _, tag in tagged]

    def clause(self, rng: Random, kind: str) -> list[tuple[str, str]]:
        """A phrase with its slots filled; a phrase that fits any type gets a name that tells its type."""
        vague = rng.random() < 0.3
        phrase = rng.choice(ANY_TYPE).format(f"{{{kind}}}") if vague else rng.choice(self.phrases[kind])
        tagged: list[tuple[str, str]] = []
        for word in phrase.split():
            slot = word.strip("{}")
            tagged += [(word, OUTSIDE)] if slot == word else self.mention(rng, slot, telling=vague)
        return tagged

    def mention(self, rng: Random, kind: str, telling: bool) -> list[tuple[str, str]]:
        """A name of one or two words; `telling`: its first word has the type's own suffix."""
        names = self.names[kind] if telling or rng.random() < 0.5 else self.shared
        mention = [(rng.choice(names), f"B-{kind}")]
        if rng.random() < 0.35:
            mention.append((rng.choice(TYPES[kind].heads or self.shared), f"I-{kind}"))
        return mention


# ------------------------------------------------------------------------------------------ drawing


def draw_splits(
    key: str, draw: Callable[[Random, int], Labelled], num_train: int, num_valid: int, num_test: int
) -> dict[str, Examples]:
    """Shuffled splits of `draw(rng, i)`; no input stands twice, within a split or across splits."""
    sizes: dict[str, int] = {"test": num_test, "valid": num_valid, "train": num_train}
    seen: set[str] = set()
    splits: dict[str, Examples] = {}
    for split, num in sizes.items():
        rng = Random(f"{key}/{split}")
        examples = shuffled(rng, [draw_unseen(rng, i, draw, seen) for i in range(num)])
        splits[split] = Examples([x for x, _ in examples], [y for _, y in examples])
    return splits


def draw_unseen(rng: Random, i: int, draw: Callable[[Random, int], Labelled], seen: set[str]) -> Labelled:
    """The first `draw(rng, i)` whose input is not in `seen`, to which it is added."""
    while (key := repr((example := draw(rng, i))[0])) in seen:
        pass
    seen.add(key)
    return example


def coin(rng: Random, num: int, taken: set[str], suffix: str = "") -> list[str]:
    """`num` new words of two or three syllables and `suffix`, none of them in `taken`, to which they are added."""
    words: list[str] = []
    while len(words) < num:
        syllables = (rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.choice((2, 2, 3))))
        word = "".join(syllables) + suffix
        if word not in taken:
            taken.add(word)
            words.append(word)
    return words


def shuffled(rng: Random, values: list[T]) -> list[T]:
    return rng.sample(values, len(values))


def capitals(words: list[str]) -> list[str]:
    return [word.capitalize() for word in words]


def usable(phrases: tuple[str, ...], types: Container[str]) -> list[str]:
    """The phrases all of whose slots are of one of `types`."""
    return [p for p in phrases if all(slot in types for _, slot, _, _ in Formatter().parse(p) if slot)]


def check_range(option: str, value: int, most: int) -> None:
    """Raise a UserError unless `value` is in 1..`most`."""
    if not 1 <= value <= most:
        raise UserError(f"toy stream: {option} is {value}; give a number from 1 to {most}")
