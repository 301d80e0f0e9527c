"""``cascade improve``: one command from the log to a better cascade."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli.adopt import FOLLOWS, RELOAD, show_tests
from cascade.cli.candidate import DELTA, GainOption, TargetOption, check_gain, check_own
from cascade.cli.dataset_options import (
    KindOption,
    RenameOption,
    RestOption,
    SinceOption,
    TrustOption,
    cascade_of,
    reading_of,
)
from cascade.cli.improve_steps import Aim, Learning
from cascade.cli.improvement import Improvement, State, Step, Wish, improve
from cascade.cli.log_file import LogOption, log_path, since_option
from cascade.cli.output import ConfigOption, ExitCode, JsonOption, note, plain, print_json, results
from cascade.cli.tune import read_target
from cascade.config.schema import read_config
from cascade.dataset.splitting import Shares
from cascade.errors import InputError, counted
from cascade.training.plan import LEAST_RATE


def improve_(  # noqa: PLR0913 - the command line's options
    cascade: Annotated[str, typer.Argument(help="Name of the cascade.")],
    *,
    adapter: Annotated[str, typer.Option(help="The adapter to train; the one that the audit names if absent.")] = "",
    promotes: Annotated[bool, typer.Option("--promote", help="Make what passes the tests live.")] = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="Let it answer in the shadow before it is tested.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Begin another round, though this one is not over.")] = False,
    work: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where steps keep what they make; improve/CASCADE by default.")
    ] = None,
    log: LogOption = None,
    outcome: KindOption = None,
    rest: RestOption = "",
    rename: RenameOption = None,
    trust: TrustOption = None,
    since: SinceOption = None,
    test: Annotated[float, typer.Option(help="Share of the tasks that are kept for the test, the latest.")] = 0.2,
    valid: Annotated[
        float, typer.Option(help="Share that tells when to stop, and that thresholds are tuned on.")
    ] = 0.2,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train from nothing, and not on from the live adapter.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Most steps of 8 tasks; four rounds if absent.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=LEAST_RATE, max=1, help="Peak learning rate; by the model's width.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Learn from it as well, as in `cascade train`.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The base model's safetensors; by default its GGUF is read.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order, and the first weights.")] = 7,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; a GPU where there is one.")] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A dataset of another cascade that asks the adapter; may be repeated."),
    ] = None,
    target: TargetOption = None,
    at_least: GainOption = 0.0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Train the adapter of the worst question on what the log has, test it, and say what it would make live.

    It builds a dataset, audits, trains, keeps a version, and tests it. Killed anywhere, the same command goes on. What
    is live changes with --promote alone. It ends with 0 where there is a better version, with 1 where there is none.
    """
    path = check_own(config)
    check_gain(at_least)
    tree = cascade_of(read_config(path), cascade)
    if device not in {None, "cpu", "cuda", "mps"}:
        msg = f"--device is {device!r}; allowed are cpu, cuda, mps."
        raise InputError(msg)
    since_option(since)
    if target is not None:
        read_target(target, None, DELTA, None)
    aim = Aim(
        config=path,
        tree=tree,
        log=log_path(log, path),
        work=work or path.parent / "improve" / cascade,
        reading=reading_of(tree, outcome, rest, rename, trust),
        since=since,
        shares=Shares(test=test, valid=valid),
        adapter=adapter,
        others=tuple(data or ()),
        learning=Learning(
            is_fresh=fresh, steps=steps, rate=rate, teacher=teacher, weights=weights, seed=seed, device=device
        ),
        target=target,
        at_least=at_least,
    )
    found = improve(aim, Wish(promotes=promotes, shadows=shadow, is_anew=anew), note)
    if json:
        print_json(as_dict(aim, found))
    else:
        show(aim, found)
    return ExitCode.FAILURE if found.state is State.NOTHING else ExitCode.DONE


def as_dict(aim: Aim, found: Improvement) -> dict[str, Any]:
    """JSON form of what a run has come to."""
    is_ready = found.state is State.BETTER
    return {
        "cascade": aim.tree.name,
        "state": str(found.state),
        "why": found.why or None,
        "work": str(aim.work),
        "steps": _finite(found.steps),
        "promote": command(aim, found) if is_ready else None,
    }


def show(aim: Aim, found: Improvement) -> None:
    """What a run has come to, what is to be expected of it, and the command that comes next."""
    console = results()
    if found.verdict is not None:
        show_tests(found.verdict)
    version = str(found.steps.get(Step.KEEP, {}).get("version", ""))
    if found.state is State.NOTHING:
        console.print(plain(f"{aim.tree.name}: nothing to promote: {found.why}"))
        return
    if found.state is State.SHADOW:
        console.print(
            plain(f"{version} answers beside the live one from now on; run this again to test it. {FOLLOWS} {RELOAD}")
        )
        return
    for line in expected(found):
        console.print(plain(line))
    if found.state is State.PROMOTED:
        console.print(plain(f"{version} is live. {RELOAD}"))
    else:
        console.print(plain(f"It would promote {version}:"))
        console.print(plain(command(aim, found)))


def expected(found: Improvement) -> list[str]:
    """What a better version is expected to gain and to cost, in sentences."""
    lines = []
    for test in found.steps.get(Step.TEST, {}).get("tests", ()):
        for pair in test["test"]:
            stage = f"{pair['stage']}.{pair['tier']}" if pair["tier"] else pair["stage"]
            lines.append(
                f"expected at {stage} of {test['cascade']}: AUC per task {pair['after'] - pair['before']:+.4f} "
                f"({pair['low']:+.4f} to {pair['high']:+.4f}, 95 %), from {pair['before']:.4f}, on "
                f"{counted(pair['n_tasks'], 'task')} that were kept for the test"
            )
        calls = test["calls_per_item"]
        lines.append(
            f"it costs {calls['new']:.2f} calls per item of {test['cascade']}; the live one {calls['live']:.2f}"
        )
    trained = found.steps.get(Step.TRAIN, {})
    if "seconds" in trained:
        amount = f"{counted(trained['tasks'], 'task')} with {counted(trained['items'], 'answer')}"
        lines.append(f"trained on {amount}; the last run of the training took {trained['seconds']:,.0f} s")
    return lines


def command(aim: Aim, found: Improvement) -> str:
    """The command that makes the version live."""
    words = ["cascade", "adopt", str(found.steps[Step.KEEP]["version"]), "--promote"]
    for folder in (aim.data, *aim.others):
        words += ["--data", str(folder)]
    words += ["--target", aim.target] if aim.target is not None else []
    words += [f"--at-least={aim.at_least:g}"] if aim.at_least else []
    return shlex.join([*words, "--config", str(aim.config)])


def _finite(value: Any) -> Any:
    """A JSON value with null for what is no finite number."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
