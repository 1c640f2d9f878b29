"""From a hub id or a folder to an encoder and its tokenizer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import CONFIG_NAME, logging
from transformers.utils.hub import cached_file

from cl.models.backbone.encoder import Backbone
from cl.models.backbone.outline import lacks_weights, outlined
from cl.models.backbone.quantising import quantisation
from cl.models.backbone.speaking import speech_of
from cl.models.options import Attention, Precision
from cl.system.words import did_you_mean
from cl.types import UserError

logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # also where nobody watches
# What the configs of encoder families call their dropout rates.
DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "hidden_dropout",
    "embedding_dropout",
    "mlp_dropout",
    "attn_pdrop",  # GPT-2
    "embd_pdrop",
    "resid_pdrop",
)


def load(
    name: str,
    dropout: float | None = None,
    trust_remote_code: bool = False,
    attention: Attention = "auto",
    dtype: Precision = "float32",
    quantize: Mapping[str, Any] | None = None,
    outline: bool = False,
    with_head: bool = False,
) -> tuple[Backbone, Any]:
    """The backbone and fast tokenizer of a hub id or a local folder, loaded once, in the precision asked for.

    `dropout` replaces every dropout rate of its config; None keeps them. `attention`: see `Backbone`. `quantize`: see
    `quantisation`. `outline`: of a folder without weights, names and shapes alone. `with_head`: of a language
    model its head too.
    """
    options, quantised = {"trust_remote_code": trust_remote_code}, quantisation(quantize or {})
    if (Path(name) / "adapter_config.json").is_file():  # transformers would look for a base and load both
        raise UserError(
            f"network.backbone: the folder {name} holds an adapter (adapter_config.json), which is no backbone. Name "
            "the folder of a whole model, such as cl export --merged writes"
        )
    if (os.path.isabs(name) or name.startswith((".", "~")) or name.count("/") > 1) and not os.path.isdir(name):
        raise UserError(f"network.backbone: there is no folder {name}.{_beside(Path(name))}")
    try:
        config = AutoConfig.from_pretrained(name, **options)
        if dropout is not None:
            for key in DROPOUTS:
                if isinstance(getattr(config, key, None), float | int):
                    setattr(config, key, dropout)
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, **options)
        if not tokenizer.is_fast:
            raise UserError(f"network.backbone: {name} has no fast tokenizer, which aligning word labels needs")
        if outline and lacks_weights(name):
            backbone = outlined(config, attention, dtype, trust_remote_code)
            if with_head:
                _refuse_encoder(backbone, name)
            return backbone, tokenizer
        with silent():  # that an encoder has no head for generating text is no news; what is missing is told below
            family: Any = AutoModelForCausalLM if with_head else AutoModel
            whole, loading = family.from_pretrained(
                name, config=config, dtype=getattr(torch, dtype), output_loading_info=True, **options, **quantised
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
    model, speech = (whole.base_model, speech_of(whole, name)) if with_head else (whole, None)
    try:
        backbone = Backbone(model, attention=attention)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"network.backbone: {name}, a {type(model).__name__}, is no backbone for single texts: it gives no hidden "
            f"states for token ids and their mask ({_first_line(error)}). Use another backbone"
        ) from error
    if with_head:
        _refuse_encoder(backbone, name)
    parameters = dict(whole.named_parameters())
    # Of a head or a pooler that nothing here reads, weights may be missing.
    if missing := [key for key in loading["missing_keys"] if key in parameters and parameters[key].requires_grad]:
        raise UserError(
            f"network.backbone: the files of {name} lack {len(missing)} weights of a {type(whole).__name__}, such as "
            f"{sorted(missing)[0]}: they would be random. Name a folder with all of them, or correct its config.json"
        )
    backbone.speech = speech
    return backbone, tokenizer


def _refuse_encoder(backbone: Backbone, name: str) -> None:
    if not backbone.is_causal:
        raise UserError(
            f"network.head is verbaliser, and {name} is an encoder, whose last token says no word: name a decoder, or "
            "set network.head=linear"
        )


def folder_of(name: str) -> Path:
    """The folder with the files of a backbone that was loaded: its own, or the hub's on this machine."""
    found = (
        name if os.path.isdir(name) else os.path.dirname(cached_file(name, CONFIG_NAME, local_files_only=True) or "")
    )
    return Path(found)


@contextmanager
def silent() -> Iterator[None]:
    """No report of transformers' about weights that a file has and a model has not, or the other way round."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _beside(missing: Path) -> str:
    """What may have been meant, of the folders that lie beside it."""
    there = [each.name for each in missing.parent.iterdir() if each.is_dir()] if missing.parent.is_dir() else []
    return did_you_mean(missing.name, there) or " Bring it back, or name another one"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
