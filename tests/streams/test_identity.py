"""What a stream's data is known by: its content, whatever file, format or row it comes from."""

from __future__ import annotations

from dataclasses import replace

from cl.streams.identity import changes, fingerprint, identity_of
from cl.types import Examples, Experience, Split

TEXTS = Examples(["a b", "c", "d"], ["x", "y", "x"])
WORDS = Examples([["Rome", "is"], ["a b"]], [["B-place", "O"], ["O"]])


def experience(train: Split, name: str = "one", classes: tuple[str, ...] = ("x", "y")) -> Experience:
    empty = Split(train.examples, train.kind, [])
    return Experience(0, name, train.kind, 0, classes, "seen", train, empty, train)


def identity(train: Split, **options: object) -> list[dict[str, object]]:
    return identity_of([experience(train, **options)])  # type: ignore[arg-type]


def test_content_counts_and_nothing_else() -> None:
    copy = Examples(tuple(TEXTS.inputs), tuple(TEXTS.labels))
    shifted = Examples(["not used", *TEXTS.inputs], ["z", *TEXTS.labels])
    one = identity(Split(TEXTS, "sequence"))
    assert one == identity(Split(copy, "sequence")) == identity(Split(shifted, "sequence", [1, 2, 3]))
    assert changes(one, one) == []


def test_every_change_is_told_by_name() -> None:
    one = identity(Split(TEXTS, "sequence"))
    cases = {
        "the order of the examples of 'one', split train": Split(TEXTS, "sequence", [2, 1, 0]),
        "the labels of 'one', split train": Split(Examples(TEXTS.inputs, ["x", "x", "x"]), "sequence"),
        "the texts of 'one', split train": Split(Examples(["a b", "c", "e"], TEXTS.labels), "sequence"),
        "the texts and labels of 'one', split train": Split(Examples(["e", "f", "g"], ["y", "y", "y"]), "sequence"),
        "the examples (3 then, 2 now) of 'one', split train": Split(TEXTS, "sequence", [0, 1]),
    }
    for said, split in cases.items():
        assert changes(one, identity(split))[0] == said
    assert changes(one, identity(Split(TEXTS, "sequence"), classes=("y", "x"))) == ["the classes of 'one'"]
    assert changes(one, identity(Split(TEXTS, "sequence"), name="two")) == ["the experience 'one', which is 'two' now"]
    assert changes(one, one + one) == ["the number of experiences (1 then, 2 now)"]


def test_words_are_not_their_text() -> None:
    """Where tokens end is content; which types a split shows is, too."""
    one = identity(Split(WORDS, "token"))
    joined = Examples([["Rome is"], ["a", "b"]], [["B-place"], ["O", "O"]])
    assert fingerprint(one) != fingerprint(identity(Split(joined, "token")))
    assert fingerprint(one) != fingerprint(identity(Split(WORDS, "token", keep=frozenset())))


def test_shared_examples_are_hashed_once() -> None:
    class Counted(list):  # type: ignore[type-arg]
        reads = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            Counted.reads += 1
            return super().__iter__()

    examples = Examples(Counted(TEXTS.inputs), TEXTS.labels)
    one = experience(Split(examples, "sequence"))
    assert len(identity_of([replace(one, index=i) for i in range(50)])) == 50
    assert Counted.reads == 1
