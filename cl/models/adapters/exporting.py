"""An adapted backbone and its head as a folder for peft, or as one whose adapter is merged into its weights."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cl.models.adapters.earlier import ADAPTER, join
from cl.models.adapters.injected import refusals
from cl.models.backbone import Backbone, Head
from cl.models.backbone.classifier import Classifier
from cl.models.backbone.exporting import does_the_same, task_model, write_code, write_tokenizer
from cl.models.backbone.loading import silent
from cl.models.backbone.outline import WEIGHTS
from cl.types import Kind, UserError

BASE = "base"  # the folder within the exported one that peft loads the base from
TASKS: dict[Kind, str] = {"sequence": "SEQ_CLS", "token": "TOKEN_CLS"}


def export_adapter(
    folder: Path, backbone: Backbone, tokenizer: Any, max_length: int, head: Head, base: Path | None
) -> bool:
    """Writes adapter and head for peft, and the tokenizer; whether a class of transformers does what it does, else code
    lies in `base/`.

    `base/` is a model of the head's classes with the weights as they were before the adapter: links to the files in the
    folder `base`; all of them where that is None, or where the cell has rounded them. Raises `UserError` where there is
    no model that does the same, and where what was written, loaded again, does not.
    """
    plain, wrapped = _plain(backbone, head.weight.dtype), []
    model = task_model(plain, tokenizer, head, lambda model: wrapped.append(_wrapped(model, plain, head.kind)))
    peft, place = wrapped[-1], folder.resolve() / BASE
    peft.peft_config[ADAPTER].base_model_name_or_path = str(place)
    peft.save_pretrained(folder, save_embedding_layers=False)
    if base is not None:
        _link_base(place, model, head.weight.dtype, base)
    if base is None or not _loads(folder, model, plain, head):
        shutil.rmtree(place, ignore_errors=True)  # or what is written would go where the links lead
        peft.unload().save_pretrained(place)
        if not _loads(folder, model, plain, head):
            raise UserError(
                f"{folder}: what was written gives other logits once it is loaded: peft does not restore this adapter. "
                "Export with --merged into a new folder"
            )
    write_code(place, model)
    write_tokenizer(folder, tokenizer, max_length)
    return not isinstance(model, Classifier)


def merged(backbone: Backbone, dtype: torch.dtype) -> Backbone:
    """A copy in this precision with the adapter merged into its weights. Raises `UserError` where peft cannot."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    own = _plain(backbone, dtype).eval()
    try:
        for name, module in list(own.model.named_modules()):
            if isinstance(module, BaseTunerLayer):
                module.merge(safe_merge=True)
                own.model.set_submodule(name, module.get_base_layer())
            elif isinstance(module, ModulesToSaveWrapper):
                own.model.set_submodule(name, module.modules_to_save[ADAPTER])
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(f"--merged: peft cannot merge this adapter: {error}. Leave --merged out") from error
    return own


def _plain(backbone: Backbone, dtype: torch.dtype) -> Backbone:
    """A copy in which every number is in one precision, parameters are what the model uses, and earlier adapters are
    part of its own.
    """
    own = copy.deepcopy(backbone)
    join(own.model)
    # Peft's wrappers answer for what they wrap: hence names of children, and not torch's `is_parametrized`.
    for module in [each for each in own.modules() if "parametrizations" in dict(each.named_children())]:
        used = {name: getattr(module, name).detach() for name in module.parametrizations}  # type: ignore[union-attr]
        module.__class__ = type(module).__bases__[0]  # torch's own removal would change the class that both share
        del module.parametrizations
        for name, value in used.items():
            module.register_parameter(name, nn.Parameter(value))
    return own.to(dtype)


def _wrapped(model: Any, backbone: Backbone, kind: Kind) -> Any:
    """Peft's model around one for a task, which gets the backbone's adapter, not its values. The head is part of it."""
    from peft import TaskType, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    config = copy.deepcopy(backbone.model.peft_config[ADAPTER])
    there, place = {name for name, _ in model.named_modules()}, _placed_in(model)
    adapted = [place(name) for name, m in backbone.model.named_modules() if isinstance(m, BaseTunerLayer)]
    config.target_modules = there.intersection(adapted)  # a pooler's adapter has no place in some
    if getattr(config, "feedforward_modules", None):
        config.feedforward_modules = {place(name) for name in config.feedforward_modules}
    config.task_type = TaskType(TASKS[kind])
    config.base_model_name_or_path = None
    with refusals():
        return get_peft_model(model, config).eval()


def _placed_in(model: nn.Module) -> Callable[[str], str]:
    return lambda name: f"{model.base_model_prefix}.{name}"


def _link_base(place: Path, model: Any, dtype: torch.dtype, base: Path) -> None:
    config = copy.deepcopy(model.config)
    config.dtype, config.architectures = dtype, [type(model).__name__]
    config.save_pretrained(place)
    for pattern in WEIGHTS:
        for file in base.glob(pattern):
            (place / file.name).symlink_to(file.resolve())


def _loads(folder: Path, written: Any, backbone: Backbone, head: Head) -> bool:
    """Whether the folder, loaded, gives the same logits: names of weights that do not fit would pass in silence."""
    from peft import PeftModel

    with silent(), refusals():
        base = type(written).from_pretrained(folder / BASE, config=copy.deepcopy(written.config))
        return does_the_same(PeftModel.from_pretrained(base, folder).eval(), backbone, head)
