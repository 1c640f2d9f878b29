"""Backbones and their tokenizers. The one door to transformers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils.logging import disable_progress_bar

from cl.models.options import Scratch
from cl.models.packing import Packing
from cl.types import UserError

disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar for each cell, also where nobody watches
# What configs call attention that does not reach the whole example, which packing does not know.
WINDOWS = ("sliding_window", "local_attention", "attention_window")
PACKED = "packed"  # the name of our attention, which is sdpa where a batch is not packed
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
# What the configs of encoder families call their dropout rates.
DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "hidden_dropout",
    "embedding_dropout",
    "mlp_dropout",
)


class Backbone(nn.Module):
    """An encoder: `input_ids` and `attention_mask` `[B, L]` → hidden states `[B, L, H]`.

    Where it can (`first_position` is not None) its layers see no padding, and hidden states are 0 there. Parameters
    that no hidden state depends on (a pooler) are frozen, so that every trainable parameter has a gradient in every
    step. Its attention maps can be watched.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.train()  # a pretrained one comes in eval mode, without dropout
        self.hidden: int = model.config.hidden_size
        self.attentions: tuple[Tensor, ...] | None = None
        for parameter in unused_parameters(model):
            parameter.requires_grad_(False)
        self.first_position = first_position(model)
        self._padded = False
        self.fast: str = model.config._attn_implementation

    @property
    def max_positions(self) -> int | None:
        """What the configuration calls the longest input in tokens, None where it says nothing.

        A model may take fewer, where the table of positions has rows that no token reaches: see `cl.models.trial`.
        """
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return limit if isinstance(limit, int) and limit > 0 else None

    def freeze(self) -> None:
        """Nothing in it trains any more, and its dropout is off."""
        self.requires_grad_(False).eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        if self.first_position is not None and not self._padded and self.attentions is None:
            return _packed(self.model, Packing.of(attention_mask), input_ids, self.first_position)
        options = {} if self.attentions is None else {"output_attentions": True}
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, **options)
        if options:
            self.attentions = output.attentions
        hidden: Tensor = output.last_hidden_state
        return hidden

    @contextmanager
    def padded(self) -> Iterator[None]:
        """Within it every layer sees batches as they are, `[B, L, …]`, padding and all."""
        outer, self._padded = self._padded, True
        try:
            yield
        finally:
            self._padded = outer

    @contextmanager
    def embedding(self, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Within it the word embeddings of a batch, `[B, L, E]`, pass through `change`, before positions are added."""
        handle = self.model.get_input_embeddings().register_forward_hook(lambda _, __, embedded: change(embedded))
        try:
            with self.padded():
                yield
        finally:
            handle.remove()

    def watch(self) -> None:
        """Keeps the attention maps of the newest pass. Attention is eager and padded meanwhile: slower, and
        `layers · B · heads · L²` numbers in memory.
        """
        self.model.set_attn_implementation("eager")
        self.attentions = ()

    def unwatch(self) -> tuple[Tensor, ...]:
        """The maps of the newest pass since `watch`, `[B, heads, L, L]` a layer, as dropout left them."""
        maps, self.attentions = self.attentions or (), None
        self.model.set_attn_implementation(self.fast)
        return maps


def unused_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that the last hidden state does not depend on, found by one backward pass."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    ids = torch.tensor([[1, 2, 3]])
    hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    gradients: Sequence[Tensor | None] = torch.autograd.grad(hidden.float().sum(), parameters, allow_unused=True)
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is None]


def first_position(model: Any) -> int | None:
    """The number of an example's first position, and the model ready to pack; None where it cannot.

    Found by a try: packed and padded, two examples must come out the same.
    """
    config, fast = model.config, model.config._attn_implementation
    if fast != "sdpa" or any(getattr(config, name, None) for name in WINDOWS):
        return None
    ids = torch.tensor([[5, 6, 7], [8, 9, 0]]) % config.vocab_size
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    packing, was_training = Packing.of(mask), model.training
    model.eval()
    found = None
    with torch.no_grad():
        padded = model(input_ids=ids, attention_mask=mask).last_hidden_state * mask.unsqueeze(-1)
        model.set_attn_implementation(PACKED)
        for first in (0, 1 + (config.pad_token_id or 0)):  # RoBERTa counts on from its padding token
            try:
                hidden = _packed(model, packing, ids, first)
            except (IndexError, RuntimeError, TypeError, ValueError):
                continue
            if torch.allclose(hidden, padded, rtol=1e-3, atol=1e-4):
                found = first
                break
    model.train(was_training)
    if found is None:
        model.set_attn_implementation(fast)
    return found


def _packed(model: Any, packing: Packing, input_ids: Tensor, first: int) -> Tensor:
    """Hidden states `[B, L, H]`, 0 for padding, of a pass over the real tokens alone."""
    ids, positions = packing.pack(input_ids).unsqueeze(0), (packing.positions + first).unsqueeze(0)
    hidden: Tensor = model(input_ids=ids, position_ids=positions, packing=packing).last_hidden_state
    return packing.unpack(hidden[0])


def _attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any) -> Any:
    """Our entry among transformers' attentions."""
    packing: Packing | None = options.pop("packing", None)
    if packing is None:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    return packing.attend(module, query, key, value, options.get("dropout", 0.0), options.get("scaling")), None


AttentionInterface.register(PACKED, _attend)
AttentionMaskInterface.register(PACKED, sdpa_mask)


def load(name: str, dropout: float | None = None, trust_remote_code: bool = False) -> tuple[Backbone, Any]:
    """The encoder and fast tokenizer of a hub id or a local folder.

    `dropout` replaces every dropout rate of its config; None keeps them.
    """
    options = {"trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(name, **options)
        if dropout is not None:
            for key in DROPOUTS:
                if isinstance(getattr(config, key, None), float | int):
                    setattr(config, key, dropout)
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, add_prefix_space=True, **options)
        model, loading = AutoModel.from_pretrained(
            name, config=config, dtype=torch.float32, output_loading_info=True, **options
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        place = (
            f"the folder {name}" if os.path.isdir(name) else f"{name!r} (no such folder here, so taken for a hub id)"
        )
        raise UserError(
            f"network.backbone: {place} does not load as a transformers model and tokenizer: "
            f"{_first_line(error).rstrip('.')}. Name a folder with config.json, weights and tokenizer files, a hub "
            "id that can be reached, or 'scratch'."
        ) from error
    if not tokenizer.is_fast:
        raise UserError(f"network.backbone: {name} has no fast tokenizer, which aligning word labels needs")
    try:
        backbone = Backbone(model)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"network.backbone: {name}, a {type(model).__name__}, is no encoder of single texts: it gives no hidden "
            f"states for token ids and their mask ({_first_line(error)}). Use another backbone"
        ) from error
    parameters = dict(model.named_parameters())
    # Of a head or a pooler that nothing here reads, weights may be missing.
    if missing := [key for key in loading["missing_keys"] if key in parameters and parameters[key].requires_grad]:
        raise UserError(
            f"network.backbone: the files of {name} lack {len(missing)} weights of a {type(model).__name__}, such as "
            f"{sorted(missing)[0]}: they would be random. Name a folder with all of them, or correct its config.json"
        )
    return backbone, tokenizer


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def scratch(size: Scratch, tokenizer: Any, max_length: int, dropout: float | None = None) -> Backbone:
    """A small BERT with random weights (torch's global generator) for the words of a tokenizer."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=2 * size.hidden,
        max_position_embeddings=max_length,
        hidden_dropout_prob=0.1 if dropout is None else dropout,
        attention_probs_dropout_prob=0.1 if dropout is None else dropout,
        pad_token_id=0,
    )
    return Backbone(BertModel(config, add_pooling_layer=False))


def word_pieces(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of every character and the most frequent words, a function of the texts alone.

    (A trained vocabulary could differ between processes; ranks and resumed runs must agree.)
    """
    return tokenizer_of(count_words(texts), size)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word is in the texts."""
    normalizer, split = _word_splitter()
    return Counter(word for text in texts for word, _ in split.pre_tokenize_str(normalizer.normalize_str(text)))


def tokenizer_of(words: Counter[str], size: int) -> PreTrainedTokenizerFast:
    """The tokenizer of `word_pieces` for words that were counted already."""
    normalizer, split = _word_splitter()
    characters = sorted({character for word in words for character in word})
    frequent = sorted(words, key=lambda word: (-words[word], word))
    pieces = [*SPECIAL, *characters, *(f"##{c}" for c in characters), *frequent]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces[: max(size, 2 * len(characters) + 4)]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, split
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)  # type: ignore[no-untyped-call]


def _word_splitter() -> tuple[normalizers.Normalizer, pre_tokenizers.PreTokenizer]:
    return normalizers.BertNormalizer(lowercase=False, strip_accents=False), pre_tokenizers.BertPreTokenizer()


def words_of(inputs: Sequence[Any]) -> Iterable[str]:
    """Texts as they are, sentences joined by spaces."""
    return (text if isinstance(text, str) else " ".join(text) for text in inputs)
