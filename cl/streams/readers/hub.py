"""Data sets of the Hugging Face hub, or saved by its library. The one door to `datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cl.streams.readers.files import file_at, split_path
from cl.streams.readers.json_values import Located
from cl.streams.readers.records import Records
from cl.system.words import did_you_mean, listed
from cl.types import UserError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass
class Datasets(Records):
    """A data set by hub id (`user/name#train`), by folder (`./saved#train`) or by parquet file; `#` names the split.

    A folder is one that `save_to_disk` wrote, or one of data files; one that is under `stream.root` comes before a hub
    id of the same name. `ClassLabel` features give the names of integer labels and tags, `names` gives them where there
    are no such features.

    config: the configuration of a data set that has several.
    revision: the commit, tag or branch to read from the hub; a commit makes runs repeatable.
    """

    config: str | None = None
    revision: str | None = None

    example: ClassVar[str] = (
        "{name: news, kind: token, format: datasets, tokens: tokens, tags: ner_tags, train: saved#train}"
    )

    def under(self, root: str, path: str) -> str:
        """A path of the folder `root`, if it is there; else a hub id."""
        local = str(Path(root, Path(path).expanduser()))
        is_path = path.startswith((".", "/", "~")) or Path(split_path(local)[0]).exists()
        return local if is_path or Path(split_path(path)[0]).suffix == ".parquet" else path

    def _located(self, path: str) -> tuple[Iterable[Located], list[str]]:
        """The rows of a split, which errors number from 0."""
        source, split = split_path(path)
        data = _pick(self._splits(source), source, split)
        names = class_names(data, self.label if self.tokens is None else self.tags) or self.names
        return ((f"{path}: row {n}", row) for n, row in enumerate(data)), names

    def _splits(self, source: str) -> Mapping[str, Dataset]:
        import datasets

        folder = Path(source).expanduser()
        if source.startswith((".", "/", "~")) and not folder.exists():
            file_at(source)  # raises: it is no hub id either
        try:
            if folder.suffix == ".parquet":
                return dict(datasets.load_dataset("parquet", data_files=str(file_at(source))))
            if (folder / "dataset_dict.json").exists():
                return dict(datasets.load_from_disk(str(folder)))
            if (folder / "state.json").exists():
                single = datasets.load_from_disk(str(folder))
                return {str(single.split or "train"): single}
            name = str(folder) if folder.is_dir() else source
            return dict(datasets.load_dataset(name, self.config, revision=self.revision))
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise UserError(
                f"{source}: datasets cannot load it (config: {self.config}, revision: {self.revision}): "
                f"{str(error).strip('. ')}. Check the id, `config` and the connection; offline, "
                "give the folder of a copy made by `save_to_disk`."
            ) from error


def _pick(splits: Mapping[str, Dataset], source: str, split: str | None) -> Dataset:
    if split is None and len(splits) == 1:
        return next(iter(splits.values()))
    if split is not None and split in splits:
        return splits[split]
    asked = "name one of its splits" if split is None else f"no split {split!r}"
    raise UserError(
        f"{source}: {asked}; it has {listed(splits)}.{did_you_mean(split, splits)} "
        f"Write, for example, `{source}#{next(iter(splits))}`."
    )


def class_names(data: Any, column: Any) -> list[str]:
    """The names of the classes that a column of numbers stands for, if the data set has them (`ClassLabel`)."""
    feature = (getattr(data, "features", None) or {}).get(column)
    return getattr(getattr(feature, "feature", feature), "names", None) or []
