"""Readers: one a format. A reader turns one split, files or a part of a hub's data set, into `Examples`."""

from cl.streams.readers.base import Reader
from cl.streams.readers.columns import Columns
from cl.streams.readers.conll import Conll2012, Conllu
from cl.streams.readers.delimited import Csv, Tsv
from cl.streams.readers.hub import Datasets
from cl.streams.readers.inline import Inline
from cl.streams.readers.parallel import Parallel
from cl.streams.readers.plain import Blocks, Folders, Lines
from cl.streams.readers.records import Json, Jsonl
from cl.streams.readers.spans import Spans
from cl.types import Examples

READERS: dict[str, type[Reader]] = {
    "columns": Columns,
    "conllu": Conllu,
    "conll2012": Conll2012,
    "inline": Inline,
    "spans": Spans,
    "csv": Csv,
    "tsv": Tsv,
    "jsonl": Jsonl,
    "json": Json,
    "lines": Lines,
    "parallel": Parallel,
    "blocks": Blocks,
    "folders": Folders,
    "datasets": Datasets,
}

__all__ = ["READERS", "Columns", "Csv", "Datasets", "Examples", "Json", "Jsonl", "Reader", "Spans", "Tsv"]
