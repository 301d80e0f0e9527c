"""``cascade config``: check a config file, print its JSON Schema, draw a cascade."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text
from rich.tree import Tree

from cascade.cli.adapter_map import Row, map_rows, show_map
from cascade.cli.guarantees import guarantee_in_words
from cascade.cli.output import (
    ConfigOption,
    JsonOption,
    ThresholdsOption,
    need_command,
    note,
    plain,
    print_json,
    results,
)
from cascade.config.base_models import key_of
from cascade.config.extends import Layers, read_layers
from cascade.config.schema import Config, config_of, shipped_config
from cascade.config.thresholds import ThresholdsFile
from cascade.errors import ConfigError, InputError, counted, unknown_cascade
from cascade.files import is_file, name_of
from cascade.stages import ANY_TIER, Answer, Question, Source, Stage, Target
from cascade.tree import Cascade, text_limits

if TYPE_CHECKING:
    from cascade.models.model_set import ModelSet

Answering = Mapping[str, str]
"""Adapter -> what answers, in words."""

app = typer.Typer(help="Check and show config files.", invoke_without_command=True, callback=need_command)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A TOML config file; - for stdin.")],
    *,
    json: JsonOption = False,
) -> None:
    """Read a config file and say whether it can be used, and if not, which key is wrong."""
    try:
        layers = read_layers(file)
        config = config_of(layers)
        _check_are_tuned(config, layers)
        missing = list(dict.fromkeys(str(path) for path in _files(config) if not is_file(path)))
        unchecked, odd = _unchecked(config, missing), []
        if not unchecked:
            odd = _check_files(config, layers)
    except InputError as error:
        if json:
            print_json({"file": str(file), "ok": False, "error": str(error)})
        raise
    if json:
        names = {"cascades": list(config.cascade), "adapters": list(config.adapters)}
        bases = [str(base) for base in layers.files[1:]]
        print_json(
            {"file": str(file), "ok": True, "extends": bases, **names, "missing_files": missing, "unchecked": unchecked}
            | {"warnings": odd}
        )
        return
    counts = f"{counted(len(config.cascade), 'cascade')}, {counted(len(config.adapters), 'adapter')}"
    results().print(plain(f"{layers}: can be used ({counts})"))
    if unchecked:
        note(f"{unchecked}. Whether models and adapters fit each other was not checked")
    for warning in odd:
        note(warning)


@app.command()
def schema(*, json: JsonOption = False) -> None:
    """Print the JSON Schema of config files, for editors; --json puts it on one line."""
    print_json(Config.model_json_schema(), is_compact=json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of the cascade.")],
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Draw a cascade: what each stage asks, which adapter answers, where yes and no lead."""
    layers = read_layers(config or shipped_config())
    read = config_of(layers, {name: thresholds})
    cascades = read.cascades()
    if name not in cascades:
        path = name_of(layers.files[0])
        msg = f"{path}: {unknown_cascade(name, cascades)}"
        raise ConfigError(msg)
    file = read.cascade[name].thresholds
    no_guarantee = file.no_guarantee if isinstance(file, ThresholdsFile) else None
    guarantee = guarantee_in_words(file.guarantee) if isinstance(file, ThresholdsFile) and file.guarantee else None
    sources = _sources(layers, name, thresholds)
    rows = map_rows(read, cascades[name])
    if json:
        figures = {
            "map": [asdict(row) for row in rows],
            "guarantee": guarantee,
            "no_guarantee": no_guarantee.text if no_guarantee else None,
            "sources": sources,
        }
        print_json(cascades[name].as_dict() | figures)
        return
    has_several = len(read.base_models) > 1
    results().print(_drawn(cascades[name], {row.adapter: _answers(row, has_several=has_several) for row in rows}))
    if has_several:
        show_map(rows)
    if guarantee:
        results().print(plain(guarantee))
    if no_guarantee:
        results().print(plain(f"Thresholds: {no_guarantee.text}"))
    for source, keys in sources.items() if len(sources) > 1 else ():
        results().print(plain(f"From {source}: {', '.join(keys)}"))


_CLOSING = 5
"""Tokens of a pair that no limit counts: one before it, one behind each text, and a bar before item and text."""


def _unchecked(config: Config, missing: Sequence[str]) -> str:
    """Why the files of models and adapters cannot be checked; empty where they can."""
    if missing:
        return f"scoring needs files that are not there: {', '.join(missing)}"
    on_hub = [name for name, model in config.base_models.items() if model.has_source and not model.path]
    return f"{' and '.join(on_hub)}: a file on the Hugging Face hub, which is not fetched here" if on_hub else ""


def _check_files(config: Config, layers: Layers) -> list[str]:
    """Refuse models and adapters that an engine would not open.

    Returns:
        What may go wrong: markers that an adapter was not trained under, pairs that an encoder cannot read whole.
    """
    from cascade.models.model_set import (  # noqa: PLC0415 - reads GGUF, which other commands need not
        load_model_sets,
        odd_markers,
    )

    try:
        sets = load_model_sets(config, is_check=True)
    except InputError as error:
        msg = f"{name_of(layers.files[0])}: {error}"
        raise type(error)(msg) from error
    cascades = config.cascades().values()
    odd = [str(odd) for each in sets.values() for one in cascades for odd in odd_markers(one, each.adapters)]
    return [*odd, *_long_pairs(config, sets)]


def _long_pairs(config: Config, sets: Mapping[str, ModelSet]) -> Iterator[str]:
    """Of each encoder whether the limits allow pairs that are longer than it reads."""
    for name, each in sets.items():
        model, own = config.base_models[name], {each.base, *each.adapters}
        asked = [one for cascade in config.cascades().values() for one in cascade.questions() if one.adapter in own]
        limits, texts = model.limits, text_limits(asked)
        most = limits.task + limits.group + limits.item + max(texts, default=0) + _CLOSING
        reads = min(each.model.n_ctx_train, model.n_batch)
        if each.model.is_encoder and most > reads:
            yield (
                f"{key_of(name, config.models)}.limits: a pair may have {most} tokens, and the encoder reads {reads}; "
                f"a request with a longer one is refused. Lower them{', or a max_text_tokens' if texts else ''}."
            )


def _check_are_tuned(config: Config, layers: Layers) -> None:
    """Refuse a config with a cascade that can be tuned, but not run."""
    for cascade in config.cascades().values():
        try:
            cascade.check_is_tuned()
        except ConfigError as error:
            msg = f"{name_of(layers.files[0])}: {error}"
            raise ConfigError(msg) from error


def _sources(layers: Layers, cascade: str, thresholds: Path | None) -> dict[str, list[str]]:
    """File -> what it decides."""
    sources = {name_of(file): keys for file, keys in layers.sources(cascade).items()}
    if thresholds is None:
        return sources
    own = f"cascade.{cascade}.thresholds"
    others = {file: [key for key in keys if key != own] for file, keys in sources.items()}
    return {name_of(thresholds): [own]} | {file: keys for file, keys in others.items() if keys}


def _files(config: Config) -> list[Path]:
    models = [model.path for model in config.base_models.values() if model.path]
    return [*models, *(entry.path for entry in config.files.values())]


def _drawn(cascade: Cascade, answering: Answering) -> Tree:
    head = Text.assemble((cascade.name, "bold"), f": {plain(cascade.instructions)}")
    tree = Tree(head)
    prior = cascade.prior_stage
    if prior is not None:
        _draw_prior(prior, cascade, tree)
    _draw(cascade, cascade.first, tree, "", set(), answering)
    return tree


def _draw_prior(stage: Stage, cascade: Cascade, tree: Tree) -> None:
    """Adds a prior stage with the answers that it can give: nothing is below 0, and only a caller's p can be 1."""
    is_callers = stage.source is Source.CALLER
    what = "the item's own prior" if is_callers else "its evidence"
    branch = tree.add(Text.assemble((plain(stage.name), "bold"), f": by {what}, before anything is asked"))
    if not is_callers and stage.prior is None:
        branch.add("nothing weighs it: has to be tuned first")
        return
    answers = [(f"below {stage.no_below:g}", stage.no)] if stage.no_below > 0 else []
    answers += [(f"from {stage.yes_from:g}", stage.yes)] if is_callers or stage.yes_from < 1 else []
    if not answers:
        branch.add("settles nothing: no_below is 0, and yes_from is 1")
    if stage.uncertain not in (None, Target(cascade.first.name, is_label=False)):
        answers += [("uncertain", stage.uncertain)]
    for word, target in answers:
        where = (plain(target.name), "green") if target.is_label else (f"stage {plain(target.name)}", "")
        branch.add(Text.assemble((f"{word} -> ", "dim"), where))


_COLOURS: dict[Answer, str] = {None: "yellow"}


def _draw(cascade: Cascade, stage: Stage, tree: Tree, answer: str, drawn: set[str], answering: Answering) -> None:
    """Adds a stage below a branch; a stage that several answers lead to is drawn once."""
    line = Text.assemble((answer, "dim"), (plain(stage.name), "bold"))
    if stage.name in drawn:
        tree.add(line.append(" (drawn above)", "dim"))
        return
    drawn.add(stage.name)
    if stage.is_tiered:
        branch = tree.add(line.append(f": asked by tier, answers combined by {stage.combine}"))
        for tier, question in stage.questions.items():
            branch.add(Text.assemble((f"tier {plain(tier)}: ", "dim"), _asked(question, answering)))
    else:
        branch = tree.add(line.append(": ").append_text(_asked(stage.question(ANY_TIER), answering)))
    for given, target in stage.ways.items():
        word, colour = plain(stage.in_words(given)), _COLOURS.get(given, "green")
        if target.is_label:
            branch.add(Text.assemble((f"{word} -> ", "dim"), (plain(target.name), colour)))
        else:
            _draw(cascade, cascade.stage(target.name), branch, f"{word} -> ", drawn, answering)


def _answers(row: Row, *, has_several: bool) -> str:
    """What answers a question; the only model needs no name."""
    return row.answers if has_several else replace(row, model=None).answers


def _asked(question: Question, answering: Answering) -> Text:
    what = answering[question.adapter]
    reads = f", reads {counted(question.max_text_tokens, 'token')} of the text" if question.max_text_tokens else ""
    if question.values:
        values = "; ".join(": ".join(filter(None, (value.name, value.description))) for value in question.values)
        least = f", confidence from {question.threshold:g}" if question.threshold else ""
        return Text.assemble(
            plain(question.wording),
            (f" {plain(values)}", ""),
            (f" [{plain(what)}, {question.kind}{least}{reads}]", "dim"),
        )
    no_below, yes_from = question.limits
    limits = f"yes from {yes_from:g}" if no_below == yes_from else f"no below {no_below:g}, yes from {yes_from:g}"
    return Text.assemble(plain(question.wording), (f" [{plain(what)}, {limits}{reads}]", "dim"))
