"""Quantised backbones: options of transformers pass, and where they cannot be there is a reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl.models.backbone import quantising
from cl.models.backbone.quantising import quantisation
from cl.types import UserError


def test_options_pass_to_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(quantising, "find_spec", lambda name: name == "bitsandbytes")
    options = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"}
    config = quantisation(options)["quantization_config"]
    assert config.load_in_4bit and config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_compute_dtype == torch.bfloat16
    with pytest.raises(UserError, match=r"transformers refuses it: .*bnb_4bit_quant_type"):
        quantisation(options | {"bnb_4bit_quant_type": 4})
    assert quantisation({}) == {}


@pytest.mark.parametrize(
    ("options", "has_gpu", "message"),
    [
        ({"load_in_4bt": True}, True, "no option 'load_in_4bt'. Did you mean 'load_in_4bit'"),
        ({"bnb_4bit_quant_type": "nf4"}, True, "set load_in_4bit or load_in_8bit to true"),
        ({"load_in_8bit": True}, False, "needs a GPU with CUDA, and there is none here"),
        ({"load_in_8bit": True}, True, "needs the package bitsandbytes: pip install"),
    ],
)
def test_what_cannot_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], has_gpu: bool, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(quantising, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=message):
        quantisation(options)
