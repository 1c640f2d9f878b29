"""Backbones and their tokenizers: the one door to transformers."""

from cl.models.backbone.encoder import Backbone, Facts
from cl.models.backbone.loading import load
from cl.models.backbone.scratch import count_words, scratch, tokenizer_of, word_pieces, words_of

__all__ = ["Backbone", "Facts", "count_words", "load", "scratch", "tokenizer_of", "word_pieces", "words_of"]
