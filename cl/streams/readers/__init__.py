"""Readers: one a format. A reader turns one split, a file or a part of a hub's data set, into `Examples`."""

from cl.streams.readers.base import Reader
from cl.streams.readers.columns import Columns
from cl.streams.readers.delimited import Csv, Tsv
from cl.streams.readers.hub import Datasets
from cl.streams.readers.records import Json, Jsonl

READERS: dict[str, type[Reader]] = {
    "columns": Columns,
    "csv": Csv,
    "tsv": Tsv,
    "jsonl": Jsonl,
    "json": Json,
    "datasets": Datasets,
}

__all__ = ["READERS", "Columns", "Csv", "Datasets", "Json", "Jsonl", "Reader", "Tsv"]
