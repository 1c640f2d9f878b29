"""The backbone: a model of transformers with what plugins may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cl.models.backbone.attention import OURS, first_position, packed_pass, padded_pass, set_direction
from cl.models.backbone.entering import Entering, Virtual
from cl.models.backbone.facts import Facts, ignores_later_tokens, tokens, trying, unused_parameters
from cl.models.backbone.layers import above, below, inputs_of, layers_of
from cl.models.backbone.speaking import Speech
from cl.models.options import Attention
from cl.models.packing import Packing
from cl.types import UserError

if TYPE_CHECKING:
    from cl.models.verbaliser import LabelWord


class Backbone(nn.Module):
    """`input_ids` and `attention_mask` `[B, L]` → hidden states `[B, L, H]`. Of pairs of texts it may also take token
    `types` `[B, L]` (see `takes_types`). Virtual tokens stand before each text in its layers; hidden states and
    attention maps are those of real tokens alone.

    Where it can (`first_position` is not None) its layers see no padding, and hidden states are 0 there. Parameters
    that no hidden state depends on (a pooler) are frozen, so that every trainable parameter has a gradient in every
    step. Its attention maps can be watched. `attention`: whether a token sees those after it, where that shall be
    otherwise than the model is made.
    """

    def __init__(self, model: Any, facts: Facts | None = None, attention: Attention = "auto") -> None:
        super().__init__()
        self.model = model.train()  # a pretrained one comes in eval mode, without dropout
        model.config.use_cache = False  # of keys and values, for generating text
        self.hidden: int = model.config.hidden_size
        self.attentions: tuple[Tensor, ...] | None = None
        self.speech: Speech | None = None  # the head of a language model, as it was loaded
        self.label_words: Mapping[str, LabelWord] = {}  # of it the words of classes
        self._padded = False
        self.first_position = first_position(model) if facts is None else facts.first_position
        if self.first_position is not None:
            model.set_attn_implementation(OURS)
        if attention != "auto":
            if self.first_position is None:
                raise UserError(
                    f"network.attention is {attention}: a {type(model).__name__} has attention of its own, which "
                    "cannot be changed. Set network.attention=auto, or use another backbone"
                )
            set_direction(model, attention)
        self.facts = facts or Facts(unused_parameters(self), self.first_position, ignores_later_tokens(self))
        self._own_attention: str = model.config._attn_implementation
        for name in self.facts.unused:
            model.get_parameter(name).requires_grad_(False)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """Its transformer layers, first to last; none where the model does not keep them in one list."""
        return layers_of(self.model)

    @property
    def virtual(self) -> Virtual | None:
        """What puts virtual tokens before those of each text, if anything does."""
        return getattr(self.model, "virtual_tokens", None)

    @property
    def is_outline(self) -> bool:
        """Whether it has names and shapes, and no numbers: nothing passes through it."""
        return next(self.parameters()).is_meta

    @property
    def is_causal(self) -> bool:
        """Whether the hidden state of a token ignores the tokens after it."""
        return self.facts.is_causal

    def checkpoint_gradients(self) -> None:
        """Keeps only the inputs of layers for the backward pass. Raises `UserError` where the model cannot."""
        model = self.model  # what it is called has changed with transformers 5.2x
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        try:
            enable({"use_reentrant": False})
        except ValueError as error:
            raise UserError(f"network.gradient_checkpointing: {error}") from error
        # Transformers makes the embeddings' output need a gradient, and so every layer, frozen or not.
        model.disable_input_require_grads()

    @property
    def max_positions(self) -> int | None:
        """What the configuration calls the longest input in tokens, None where it says nothing.

        A model may take fewer, where the table of positions has rows that no token reaches: see `cl.models.trial`.
        """
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return limit if isinstance(limit, int) and limit > 0 else None

    @property
    def takes_types(self) -> bool:
        """Whether token types tell it the two texts of a pair apart."""
        has_types = getattr(self.model.config, "type_vocab_size", 2) > 1  # RoBERTa has a table of one
        return has_types and "token_type_ids" in signature(self.model.forward).parameters

    def freeze(self) -> None:
        """Nothing in it trains any more, and its dropout is off."""
        self.requires_grad_(False).eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, types: Tensor | None = None) -> Tensor:
        entering, length = Entering(input_ids, attention_mask, types), input_ids.shape[1]
        if self.virtual is None:
            return self._pass(entering)
        hidden = self._pass(self.virtual.lead(entering, self.model.get_input_embeddings()))
        if self.attentions is not None:
            self.attentions = tuple(maps[..., -length:, -length:] for maps in self.attentions)
        return hidden[:, -length:]

    def _pass(self, entering: Entering) -> Tensor:
        if self.first_position is None:
            return self._own_pass(entering)
        if self.is_packed_now:
            return packed_pass(self.model, entering, self.first_position)
        maps: list[Tensor] | None = None if self.attentions is None else []
        hidden = padded_pass(self.model, entering, self.first_position, maps)
        if maps is not None:
            self.attentions = tuple(maps)
        return hidden

    def _own_pass(self, entering: Entering) -> Tensor:
        """A pass in the model's own attention, over padding and all."""
        if entering.prefix is not None:
            raise TypeError("its attention is its own and takes no prefix")
        watched = {} if self.attentions is None else {"output_attentions": True}
        output = self.model(**entering.named(), attention_mask=entering.mask, **watched)
        if watched:
            self.attentions = output.attentions
        hidden: Tensor = output.last_hidden_state
        return hidden

    def first_trained_layer(self) -> int | None:
        """The number of the first layer that trains, or whose input depends on what trains: all before it does the same
        in each pass over an example, but for dropout. 0 where layers cannot be told apart; None where nothing trains.
        """
        if not any(parameter.requires_grad for parameter in self.parameters()):
            return None
        layers = self.layers
        if self.first_position is None or not layers or self.virtual is not None:  # they enter at the first layer
            return 0
        ids = tokens(self, 3)
        with trying(self), torch.enable_grad():
            entering = inputs_of(layers, partial(self.forward, ids, torch.ones_like(ids)))
        for number, (layer, hidden) in enumerate(zip(layers, entering, strict=True)):
            if hidden.requires_grad or any(parameter.requires_grad for parameter in layer.parameters()):
                return number
        return len(layers) - 1  # what trains stands after the last layer

    def below(self, layer: int | None, input_ids: Tensor, attention_mask: Tensor, types: Tensor | None) -> Tensor:
        """The hidden states `[T, H]` of a batch's real tokens that enter a layer; None: those that leave the last."""
        run = partial(self.forward, input_ids, attention_mask, types)
        return Packing.of(attention_mask).pack(run()) if layer is None else below(self.layers[layer], run)[0]

    def above(
        self, layer: int | None, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor, types: Tensor | None
    ) -> Tensor:
        """What a pass gives, `[B, L, H]`, where these states enter a layer: the inverse of `below`."""
        if layer is None:
            return Packing.of(attention_mask).unpack(hidden)
        run = partial(self.forward, input_ids, attention_mask, types)
        return above(self.layers, layer, hidden.unsqueeze(0), run)

    @property
    def is_packed_now(self) -> bool:
        """Whether a pass is over real tokens alone: whether the model can, and nobody watches."""
        return self.first_position is not None and not self._padded and self.attentions is None

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
        """Keeps the attention maps of the newest pass. Attention is padded and without fused kernels meanwhile:
        slower, and `layers · B · heads · L²` numbers in memory.
        """
        if any(getattr(layer, "gradient_checkpointing", False) for layer in self.model.modules()):
            raise UserError(
                "network.gradient_checkpointing computes layers twice, and attention maps of the first time have no "
                "gradient: a plugin that compares attention maps needs network.gradient_checkpointing=false"
            )
        if self.first_position is None:
            self.model.set_attn_implementation("eager")
        self.attentions = ()

    def unwatch(self) -> tuple[Tensor, ...]:
        """The maps of the newest pass since `watch`, `[B, heads, L, L]` a layer, as dropout left them. What real tokens
        see of virtual ones is left out: the rows then sum to less than 1.
        """
        maps, self.attentions = self.attentions or (), None
        if self.first_position is None:
            self.model.set_attn_implementation(self._own_attention)
        return maps
