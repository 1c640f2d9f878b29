"""The model card of an exported cell: what it was trained on, how, how well it does, how it is used."""

from __future__ import annotations

import json
from hashlib import sha256

from cl import __version__
from cl.config import Config
from cl.data.prompts import Template
from cl.models.snapshot import base_names, hashes
from cl.reporting.cells import CellResult, load_cells, plain
from cl.runs.restored import Restored
from cl.types import Experience, Kind

TASKS: dict[Kind, str] = {"sequence": "text-classification", "token": "token-classification"}
CALLS: dict[Kind, tuple[str, str]] = {
    "sequence": ("", '"a text", truncation=True'),
    "token": (', aggregation_strategy="first"', '"a text"'),
}
CALL_OF_LAST = ("", '"a text"')
CALL_OF_PAIRS = ("", '{"text": "a text", "text_pair": "another"}, truncation=True')
OF_KIND: dict[Kind, str] = {
    "sequence": "A text has one label. `truncation=True` cuts off what is longer than the network was trained for.",
    "token": 'The tag of a word is that of its first token: hence `aggregation_strategy="first"`.',
}
OF_LAST = "The tag of a word is that of its last token, which has read all of it; `aggregation_strategy` cannot say so."
OF_PROMPT = """A text stands within the prompt that it was trained in, which a pipeline does not put there: {template}.
Where both have more than {max_length} tokens, cut the text before you put it there: `truncation=True` would cut the
prompt."""
CODE = """
The folder holds code, `{place}modeling_classifier.py`, since transformers has no class that reads out features in this
way. Read it before you trust it. It is for inference. `pipeline` logs that it does not list this class, and works.
"""
USE = """```python
from transformers import pipeline

model = pipeline("{task}", model="this folder"{trusts}{options})
model({arguments})
```"""
USE_OF_ADAPTER = """```python
from peft import {auto}
from transformers import AutoTokenizer, pipeline

network = {auto}.from_pretrained("this folder"{trusts})
tokenizer = AutoTokenizer.from_pretrained("this folder")
model = pipeline("{task}", model=network, tokenizer=tokenizer{options})
model({arguments})
```

It is an adapter and a head. While it loads, transformers reports that the weights of a head are missing in `base/` and
newly drawn: peft puts this folder's head in their place after that.

The other weights are those of {backbone}, hash {hash}; `base/` holds them, or links to their files on the machine of
the export. On another machine put the files in the place of the links. Once this folder has moved, write the new place
of `base/` as `base_model_name_or_path` into `adapter_config.json`."""
AUTO: dict[Kind, str] = {
    "sequence": "AutoPeftModelForSequenceClassification",
    "token": "AutoPeftModelForTokenClassification",
}
CARD = """---
library_name: {library}
pipeline_tag: {task}
---
# {strategy}, seed {seed}

Trained by continual learning (cl {version}), through a stream of {num_experiences} experiences, one after the other.

- stream: {scenario}: {names}
- backbone: {backbone}, at most {max_length} tokens
- strategy: {strategy} ({plugins})
- seed: {seed}
{own}
{use}

{of_kind}
{code}
## Scores

Of the {split} split of each experience, after the last one, in per cent: accuracy of texts, strict F1 of entities.

| experience | kind | score |
|---|---|---|
{scores}
{metrics}"""


def card(found: Restored, experience: Experience, native: bool, is_adapter: bool) -> str:
    """The text of `README.md`. `native`: whether a class of transformers loads the model, without code beside it;
    `is_adapter`: whether the folder is one for peft.
    """
    cell, kind = found.cell, experience.kind
    (result,) = load_cells([cell.folder])
    config = cell.config
    own = f"\nIt answers as one of the experience {plain(experience.name)}.\n"
    last = found.encoder.word == "last" and kind == "token"
    return CARD.format(
        library="peft" if is_adapter else "transformers",
        task=TASKS[kind],
        strategy=plain(cell.strategy),
        seed=cell.seed,
        version=__version__,
        num_experiences=len(result.matrix.names),
        scenario=plain(config.stream.scenario),
        names=plain(" → ".join(result.matrix.names)),
        backbone=plain(config.network.backbone),
        max_length=config.network.max_length,
        plugins=plain(str(config.strategies[cell.strategy] or "no plugin")),
        own=own if experience.candidates == "own" else "",
        use=_use(found, experience, native, is_adapter, last),
        of_kind=_of_kind(config, kind, last),
        code="" if native else CODE.format(place="base/" if is_adapter else ""),
        split=config.evaluate.split,
        scores=_scores(result),
        metrics=_metrics(result),
    )


def _of_kind(config: Config, kind: Kind, last: bool) -> str:
    template = config.network.prompt.template
    if kind == "sequence" and template:
        return OF_PROMPT.format(template=plain(repr(template)), max_length=config.network.max_length)
    return OF_LAST if last else OF_KIND[kind]


def _use(found: Restored, experience: Experience, native: bool, is_adapter: bool, last: bool) -> str:
    """How it is used; of an adapter also what it stands upon."""
    kind = experience.kind
    options, arguments = CALL_OF_PAIRS if found.takes_pairs else CALL_OF_LAST if last else CALLS[kind]
    if kind == "sequence" and (template := found.cell.config.network.prompt.template):
        arguments = json.dumps(Template.of(template).around("a text"), ensure_ascii=False)
    return (USE_OF_ADAPTER if is_adapter else USE).format(
        task=TASKS[kind],
        trusts="" if native else ", trust_remote_code=True",
        options=options,
        arguments=arguments,
        auto=AUTO[kind],
        backbone=plain(found.cell.config.network.backbone),
        hash=_hash(found, experience) if is_adapter else "",
    )


def _hash(found: Restored, experience: Experience) -> str:
    """Of the weights that have not trained."""
    network = found.network_for(experience)
    return sha256(str(sorted(hashes(network, base_names(network)).items())).encode()).hexdigest()[:16]


def _scores(result: CellResult) -> str:
    rows = zip(result.matrix.names, result.matrix.kinds, result.matrix.array()[-1], strict=True)
    return "".join(f"| {plain(name)} | {kind} | {_percent(score)} |\n" for name, kind, score in rows)


def _metrics(result: CellResult) -> str:
    known = [name for name in ("average_score", "forgetting") if name in result.metrics]
    return "".join(f"- {name.replace('_', ' ')}: {_percent(result.metrics[name])}\n" for name in known)


def _percent(value: float | None) -> str:
    return "–" if value is None or value != value else f"{100 * value:.1f}"
