"""Label words: how a language model says each class, as rows of its own head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl.models.backbone import Backbone
from cl.models.backbone.facts import trying
from cl.models.backbone.speaking import Speech
from cl.types import UserError

WHERE = "network.prompt.words"


@dataclass(frozen=True)
class LabelWord:
    """How a class is said: the `tokens` of its word, the first of which is read; `row` `[H]` of it in the language
    model's head; `bias` `[]`, with which its logit begins.
    """

    tokens: Sequence[str]
    row: Tensor
    bias: Tensor


def label_words(
    words: Mapping[str, str],
    prompt: tuple[str, str],
    tokenizer: Any,
    speech: Speech,
    backbone: Backbone,
    takes_off: bool,
) -> dict[str, LabelWord]:
    """By class, the word as it stands after a prompt. `prompt`: the template around no text, and around some text;
    `takes_off`: whether what the model says after the former is taken off.

    Raises `UserError` for a word without a token of its own there, and for a tokenizer that ends texts with a token.
    """
    empty, asked = (tokenizer(text).input_ids for text in prompt)
    if tokenizer("a", return_special_tokens_mask=True).special_tokens_mask[-1]:
        raise UserError(
            "network.head is verbaliser, which reads the last token, and this tokenizer puts a token of its own after "
            "each text: set network.head=linear"
        )
    if takes_off and not empty:
        raise UserError("network.prompt.calibrate: an empty text has no token in this template: write more around it")
    tokens = {name: tokenizer(prompt[1] + word).input_ids for name, word in words.items()}
    for name, ids in tokens.items():
        if ids[: len(asked)] != asked:
            raise UserError(
                f"{WHERE}.{name} is {words[name]!r}, which changes the last token of the template: begin the word with "
                "a space, and end the template without one"
            )
        if len(ids) == len(asked):
            raise UserError(f"{WHERE}.{name} is {words[name]!r}, which has no token: write a word")
    said = {name: ids[len(asked) :] for name, ids in tokens.items()}
    firsts = [ids[0] for ids in said.values()]
    rows = speech.scale * speech.rows.detach()[firsts].float()
    biases = -rows @ _feature(backbone, empty) if takes_off else speech.scale * speech.bias.detach()[firsts].float()
    return {
        name: LabelWord(tokenizer.convert_ids_to_tokens(ids), row, bias)
        for (name, ids), row, bias in zip(said.items(), rows, biases, strict=True)
    }


def doubts(words: Mapping[str, LabelWord]) -> list[str]:
    """What a user should hear of them."""
    found = [
        f"{WHERE}.{name} has {len(word.tokens)} tokens, {' '.join(word.tokens)}, of which the first is read"
        for name, word in words.items()
        if len(word.tokens) > 1
    ]
    by_token: dict[str, list[str]] = {}
    for name, word in words.items():
        by_token.setdefault(word.tokens[0], []).append(name)
    found += [
        f"{WHERE}: {' and '.join(names)} begin with the same token, {token}: before training they cannot be told apart"
        for token, names in by_token.items()
        if len(names) > 1
    ]
    return found


def _feature(backbone: Backbone, ids: Sequence[int]) -> Tensor:
    """The hidden state of a text's last token, `[H]`."""
    batch = torch.tensor([ids], device=backbone.model.device)
    with trying(backbone):
        hidden: Tensor = backbone(batch, torch.ones_like(batch))
    return hidden[0, -1].float()
