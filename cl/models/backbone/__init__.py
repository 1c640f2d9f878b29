"""Backbones and their tokenizers: the one door to transformers."""

from cl.models.backbone.encoder import Backbone
from cl.models.backbone.exporting import Head, export
from cl.models.backbone.facts import Facts
from cl.models.backbone.loading import folder_of, load
from cl.models.backbone.scratch import (
    count_words,
    of_family,
    scratch,
    tokenizer_from,
    tokenizer_of,
    word_pieces,
    words_of,
)

__all__ = [
    "Backbone",
    "Facts",
    "Head",
    "count_words",
    "export",
    "folder_of",
    "load",
    "of_family",
    "scratch",
    "tokenizer_from",
    "tokenizer_of",
    "word_pieces",
    "words_of",
]
