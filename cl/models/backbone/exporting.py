"""From an encoder and a head to a folder that transformers loads: weights, configuration, tokenizer."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification

from cl.models.backbone import classifier
from cl.models.backbone.classifier import Classifier
from cl.models.backbone.encoder import Backbone
from cl.models.options import Pooling
from cl.types import Kind, UserError

AUTO: dict[Kind, str] = {"sequence": "AutoModelForSequenceClassification", "token": "AutoModelForTokenClassification"}
CODE = "modeling_classifier"  # the module in the folder, where transformers has no such class
TOLERANCE = 1e-5  # of the greatest logit, between ours and those of transformers' class


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


def export(folder: Path, backbone: Backbone, tokenizer: Any, max_length: int, head: Head) -> bool:
    """Writes the model and its tokenizer; whether a class of transformers does what it does, else code lies beside it.

    That is so for tags from a linear head, wherever a trial shows the same logits. Classes for texts put other layers
    between the encoder and the head. Raises `UserError` for an encoder that is none of transformers' own.
    """
    if not type(backbone.model.config).__module__.startswith("transformers."):
        raise UserError("the backbone's code is not part of transformers (network.trust_remote_code): it has no export")
    config = _config(backbone, head)
    native = _native(config, backbone, head)
    model: Any = native or _own(config, backbone, head)
    model.to(head.weight.dtype).eval().save_pretrained(folder)
    if native is None:
        shutil.copyfile(classifier.__file__, folder / f"{CODE}.py")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)
    return native is not None


def _config(backbone: Backbone, head: Head) -> Any:
    config = copy.deepcopy(backbone.model.config)
    config._attn_implementation = None  # ours knows packed batches
    config.id2label = dict(enumerate(head.names))
    config.label2id = {name: i for i, name in enumerate(head.names)}
    config.problem_type = "single_label_classification"
    return config


def _native(config: Any, backbone: Backbone, head: Head) -> Any:
    """The model in transformers' own class; None where there is none that does the same."""
    if head.kind != "token" or head.bias is None:
        return None
    try:
        model = AutoModelForTokenClassification.from_config(copy.deepcopy(config))  # type: ignore[no-untyped-call]
    except ValueError:
        return None
    readout = getattr(model, "classifier", None)
    if not isinstance(readout, nn.Linear) or readout.bias is None:
        return None
    model.base_model.load_state_dict(backbone.model.state_dict(), strict=False)
    _set(readout, head)
    return model.to(head.weight.dtype) if _does_the_same(model.eval(), backbone, head) else None


def _own(config: Any, backbone: Backbone, head: Head) -> Classifier:
    kind = "linear" if head.scale is None else "cosine"
    config.classifier = {"kind": head.kind, "pooling": head.pooling, "head": kind, "types": head.types}
    config.auto_map = {AUTO[head.kind]: f"{CODE}.{Classifier.__name__}"}
    model = Classifier(config)
    model.encoder.load_state_dict(backbone.model.state_dict(), strict=False)
    _set(model.classifier, head)
    if model.scale is not None and head.scale is not None:
        model.scale.data = head.scale.detach().clone()
    return model


def _set(readout: nn.Linear, head: Head) -> None:
    readout.weight.data = head.weight.detach().clone()
    if head.bias is not None:
        readout.bias.data = head.bias.detach().clone()


def _does_the_same(model: Any, backbone: Backbone, head: Head) -> bool:
    ids = 1 + torch.arange(6)[None] % max(1, min(50, model.config.vocab_size - 1))
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        ours = nn.functional.linear(backbone.eval()(ids, mask), head.weight, head.bias)
        theirs = model.to(head.weight.dtype)(input_ids=ids, attention_mask=mask).logits
    return theirs.shape == ours.shape and bool((theirs - ours).abs().max() <= TOLERANCE * ours.abs().max())
