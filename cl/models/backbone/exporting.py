"""From an encoder and a head to a folder that transformers loads: weights, configuration, tokenizer."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize
from transformers import AutoModelForTokenClassification

from cl.models.backbone import classifier
from cl.models.backbone.classifier import Classifier, Cosine
from cl.models.backbone.encoder import Backbone
from cl.models.options import Pooling
from cl.types import Kind, UserError

AUTO: dict[Kind, str] = {"sequence": "AutoModelForSequenceClassification", "token": "AutoModelForTokenClassification"}
CODE = "modeling_classifier"  # the module in the folder, where transformers has no such class
TOLERANCE = 100  # roundings of the greatest logit, between ours and those of the model that is written: 1e-5 in float32


class Head(NamedTuple):
    """What is read out, and how: `weight` `[C, H]`, `bias` `[C]` of a linear head, `scale` of a cosine one; `names` of
    the classes; `types`: whether it was learnt with token types.
    """

    kind: Kind
    pooling: Pooling
    weight: Tensor
    bias: Tensor | None
    scale: Tensor | None
    names: tuple[str, ...]
    types: bool

    def logits(self, hidden: Tensor) -> Tensor:
        """Of texts without padding: hidden states `[B, L, H]` → `[B, C]` of texts, `[B, L, C]` of tokens."""
        if self.kind == "sequence":
            hidden = {"mean": hidden.mean(1), "first": hidden[:, 0], "last": hidden[:, -1]}[self.pooling]
        if self.scale is None:
            return linear(hidden, self.weight, self.bias)
        return self.scale * linear(normalize(hidden, dim=-1), normalize(self.weight, dim=-1))


def export(folder: Path, backbone: Backbone, tokenizer: Any, max_length: int, head: Head) -> bool:
    """Writes the model and its tokenizer; whether a class of transformers does what it does, else code lies beside it.

    That is so for tags from a linear head, wherever a trial shows the same logits. Classes for texts put other layers
    between the encoder and the head, or have no bias. Raises `UserError` for an encoder that is none of transformers'
    own, and where no model does the same.
    """
    model = task_model(backbone, tokenizer, head)
    model.save_pretrained(folder)
    write_code(folder, model)
    write_tokenizer(folder, tokenizer, max_length)
    return not isinstance(model, Classifier)


def task_model(
    backbone: Backbone, tokenizer: Any, head: Head, change: Callable[[Any], Any] = lambda model: None
) -> Any:
    """The model of transformers, or our `Classifier`, with the same logits, in eval mode and the head's precision.

    `change`: done to a model before it gets the encoder's weights, so that it has the encoder's parts. Raises
    `UserError` where there is no such model.
    """
    if not type(backbone.model.config).__module__.startswith("transformers."):
        raise UserError("the backbone's code is not part of transformers (network.trust_remote_code): it has no export")
    for make in (_native, _own):
        model: Any = make(_config(backbone, tokenizer, head), head)
        if model is None:
            continue
        model.to(head.weight.dtype).eval()
        change(model)
        model.base_model.load_state_dict(backbone.model.state_dict(), strict=False)
        if does_the_same(model, backbone, head):
            return model
    raise UserError(
        f"no model of transformers gives the logits of this network, a {type(backbone.model).__name__}: it has no "
        "export. cl predict can use it"
    )


def write_code(folder: Path, model: Any) -> None:
    """The code of the model, where it is not transformers' own."""
    if isinstance(model, Classifier):
        shutil.copyfile(classifier.__file__, folder / f"{CODE}.py")


def write_tokenizer(folder: Path, tokenizer: Any, max_length: int) -> None:
    """A tokenizer that cuts texts off at `max_length` tokens, and can pad."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = max_length
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.save_pretrained(folder)


def _config(backbone: Backbone, tokenizer: Any, head: Head) -> Any:
    config = copy.deepcopy(backbone.model.config)
    config._attn_implementation = None  # ours knows packed batches
    config.id2label = dict(enumerate(head.names))
    config.label2id = {name: i for i, name in enumerate(head.names)}
    config.problem_type = "single_label_classification"
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.eos_token_id if tokenizer.pad_token is None else tokenizer.pad_token_id
    return config


def _native(config: Any, head: Head) -> Any:
    """A model of transformers' own class with this head; None where there is none that can hold it."""
    if head.kind != "token" or head.bias is None:
        return None
    try:
        model = AutoModelForTokenClassification.from_config(config)  # type: ignore[no-untyped-call]
    except ValueError:
        return None
    readout = getattr(model, "classifier", None) or getattr(model, "score", None)  # encoders; decoders
    if not isinstance(readout, nn.Linear) or readout.bias is None:
        return None
    _set(readout, head)
    return model


def _own(config: Any, head: Head) -> Classifier:
    kind = "linear" if head.scale is None else "cosine"
    config.classifier = {"kind": head.kind, "pooling": head.pooling, "head": kind, "types": head.types}
    config.auto_map = {AUTO[head.kind]: f"{CODE}.{Classifier.__name__}"}
    model = Classifier(config)
    _set(model.classifier, head)
    return model


def _set(readout: nn.Linear, head: Head) -> None:
    readout.weight.data = head.weight.detach().clone()
    if head.bias is not None:
        readout.bias.data = head.bias.detach().clone()
    if isinstance(readout, Cosine) and head.scale is not None:
        readout.scale.data = head.scale.detach().clone()


def does_the_same(model: Any, backbone: Backbone, head: Head) -> bool:
    """Whether a model gives the logits of backbone and head, by a trial."""
    size = backbone.model.config.vocab_size
    ids = (size // 2 + torch.arange(6)[None]) % size  # ordinary tokens: the first ones may be special
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        ours = head.logits(backbone.eval()(ids, mask))
        theirs = model(input_ids=ids, attention_mask=mask).logits
    least = TOLERANCE * torch.finfo(ours.dtype).eps * ours.abs().max()
    return theirs.shape == ours.shape and bool((theirs - ours).abs().max() <= least)
