"""A stage that asks no model: settles what is clear from the evidence, leaves the rest to the questions."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from cascade import Budget, Cascade, Decision, Engine, Item, Profile, ScriptedBackend, Status, Task, read_config
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.errors import ConfigError, InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.evaluate import Evaluation
from cascade.profile import Prior
from cascade.stages import ANY_TIER, BASE, Question, Source, Stage, Target
from tests.helpers.shipped import shipped_text

NO = Target("drop", is_label=True)
KEEP = Target("keep", is_label=True)


def stage(name: str, yes: Target) -> Stage:
    """A stage of the base model."""
    question = Question(marker=name, wording=f"{name}?", adapter=BASE, threshold=0.5)
    return Stage(name=name, questions={ANY_TIER: question}, yes=yes, no=NO)


def cascade(prior_stage: Stage | None, profile: Profile | None = None) -> Cascade:
    """Two stages, one after the other."""
    return Cascade(
        name="c",
        instructions="i",
        labels=("drop", "keep"),
        stages=(stage("a", Target("b", is_label=False)), stage("b", KEEP)),
        profile=profile or Profile(),
        prior_stage=prior_stage,
    )


CALLER = Stage(name="prior", no_below=0.2, yes_from=0.8, yes=Target("b", is_label=False), no=NO, source=Source.CALLER)
PRIORS = (0.1, 0.2, 0.5, 0.8, None)
ITEMS = tuple(Item(id=str(at), kind="function", name=f"f{at}", prior=prior) for at, prior in enumerate(PRIORS))


def test_it_settles_what_is_clear() -> None:
    """Below the lower threshold the item leaves, from the upper on it skips the first question; no call for either."""
    backend = ScriptedBackend({BASE: 0.9}, frozenset())
    with Engine(backend, {"c": cascade(CALLER)}) as engine:
        report = engine.classify("t", ITEMS, "c")
    asked = [[(step.stage, step.adapter, step.answer) for step in decision.steps] for decision in report.decisions]
    both = [("a", BASE, True), ("b", BASE, True)]
    assert asked == [[("prior", "", False)], both, both, [("prior", "", True), ("b", BASE, True)], both]
    assert [decision.label for decision in report.decisions] == ["drop", *["keep"] * 4]
    assert [decision.steps[0].threshold for decision in report.decisions] == [0.8, 0.5, 0.5, 0.8, 0.5]
    assert report.stats.calls == 7
    assert {decision.status for decision in report.decisions} == {Status.DECIDED}


def test_it_is_evaluated() -> None:
    """It has figures of the items that it knows something of, F1 of those that it settles, and a row in the table."""
    task = Labelled(task=Task(text="t"), items=ITEMS, labels=("drop", "drop", "keep", "keep", "keep"))
    tree = cascade(CALLER)
    with Engine(ScriptedBackend({BASE: 0.9}, frozenset()), {"c": tree}) as engine:
        evaluation = Evaluation(engine, tree)
        evaluation.add(task)
    found = evaluation.as_dict()["prior_stage"]
    assert (found["stage"], found["n"], found["n_settled"]) == ("prior", 4, 2)
    assert (found["base_rate"], found["auc_over_rows"], found["f1_over_rows"]) == (0.5, 1.0, 1.0)
    with Engine(ScriptedBackend({BASE: 0.9}, frozenset()), {"c": cascade(None)}) as engine:
        assert Evaluation(engine, cascade(None)).as_dict()["prior_stage"] is None


def test_the_command_evaluates_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped cascade's own stands before its questions, with what its figures are of."""
    info = {"evidence": ["size3", "match9"], "prior": 0.9, "label": "primary"}
    unknown = {"evidence": ["hearsay"], "label": "excluded"}  # an item without evidence would get some, and a prior
    items = [{"id": "1", "name": "f"} | info, {"id": "2", "name": "g"} | unknown]
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"task": "t", "items": items}) + "\n", encoding="utf-8")
    assert main(["evaluate", "--cascade", "precision", "--data", str(data)]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[1:] if line.strip()][:2] == ["prior", "relevant"]
    assert "knows something of 1 of 2 items" in " ".join(shown.split())


def test_items_that_it_settles_all_cost_nothing() -> None:
    """No prompt is built and no batch is run; the decisions come all the same, also to those who listen."""
    backend = ScriptedBackend({BASE: 0.9}, frozenset())
    heard: list[Decision] = []

    async def streamed(engine: Engine) -> list[Decision]:
        return [decision async for decision in engine.stream("t", ITEMS[:1], "c", budget=1)]

    with Engine(backend, {"c": cascade(CALLER)}) as engine:
        report = engine.classify("t", ITEMS[:1], "c", on_decision=heard.append)
        assert asyncio.run(streamed(engine)) == heard
    assert [decision.label for decision in report.decisions] == ["drop"]
    assert tuple(heard) == report.decisions
    assert (report.stats.calls, report.stats.prompt_ms, len(backend.batches)) == (0, 0, 0)


def test_a_depth_counts_questions_alone() -> None:
    """An item that was led past the first question is still asked one."""
    backend = ScriptedBackend({BASE: 0.9}, frozenset())
    with Engine(backend, {"c": cascade(CALLER)}) as engine:
        report = engine.classify("t", ITEMS, "c", budget=Budget(depth=1))
    assert [(decision.status, len(decision.steps)) for decision in report.decisions] == [
        (Status.DECIDED, 1),
        (Status.DEPTH_CAP, 1),
        (Status.DEPTH_CAP, 1),
        (Status.DECIDED, 2),
        (Status.DEPTH_CAP, 1),
    ]


def test_scoring_does_not_pass_it() -> None:
    """Whoever puts one stage to every item gets an answer for every item."""
    backend = ScriptedBackend({BASE: 0.9}, frozenset())
    with Engine(backend, {"c": cascade(CALLER)}) as engine:
        assert [len(steps) for steps in engine.score("t", ITEMS, "c", "b")] == [1] * len(ITEMS)
        with pytest.raises(InputError, match="has no stage 'prior'; it has a, b"):
            engine.score("t", ITEMS, "c", "prior")


def test_evidence_is_weighed_by_its_own_prior_or_by_the_profile() -> None:
    """The item's own number does not count there; an item without evidence that it weighs is left to the model."""
    own = Prior(bias=-6.0, weights={"match": 6.0, "small": -1.0, "kind:function": 3.0})
    by_evidence = replace(CALLER, source=Source.EVIDENCE)
    matched = Item(id="1", kind="function", name="f", evidence=("match",), prior=0.0)
    other, unknown = replace(matched, evidence=("small",)), replace(matched, evidence=("never seen",))
    for found in (cascade(replace(by_evidence, prior=own)), cascade(by_evidence, Profile(prior=own))):
        prior_stage = found.prior_stage
        assert prior_stage
        answers = [
            prior_stage.answer({} if (p := prior_stage.known_p(item)) is None else {ANY_TIER: p})
            for item in (matched, other, unknown)
        ]
        assert answers == [True, False, None]
    backend = ScriptedBackend({BASE: 0.9}, frozenset())
    with pytest.raises(ConfigError, match=r"cascade\.c\.stages\.prior: goes by evidence, and neither thresholds"):
        Engine(backend, {"c": cascade(by_evidence)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"no_below": 0.9}, "no_below 0.9 and yes_from 0.8 are not"),
        ({"yes_from": 1.5}, "no_below 0.2 and yes_from 1.5 are not"),
        ({"no_below": float("nan")}, "no_below nan"),
        ({"yes": Target("z", is_label=False)}, r"prior\.yes: leads to unknown stage 'z'"),
        ({"no": Target("z", is_label=True)}, r"prior\.no: leads to unknown label 'z'"),
        ({"name": "a"}, "'a' stands there twice"),
    ],
)
def test_what_does_not_hold_together_is_refused(changes: dict[str, object], message: str) -> None:
    """With the key and the remedy."""
    with pytest.raises(ConfigError, match=message):
        cascade(replace(CALLER, **changes))  # type: ignore[arg-type]


TABLE = """
[[cascade.precision.stages]]
kind = "prior"
lower = 0.01
upper = 0.99
yes = { stage = "primary" }
no = { label = "excluded" }

"""


def with_table(tmp_path: Path, before: str) -> Path:
    """The shipped config with a prior stage before another stage."""
    text = shipped_text()
    at = text.index(f'[[cascade.precision.stages]]\nname = "{before}"')
    path = tmp_path / "my.toml"
    path.write_text(text[:at] + TABLE + text[at:], encoding="utf-8")
    return path


def test_it_comes_from_a_config(tmp_path: Path) -> None:
    """First, with the prior of the profile; nowhere else, and with no other keys."""
    path = with_table(tmp_path, "relevant")
    found = read_config(path).cascades()["precision"]
    assert found.prior_stage
    assert (found.prior_stage.no_below, found.prior_stage.prior) == (0.01, found.profile.prior)
    assert found.first.name == "relevant"
    with pytest.raises(ConfigError, match=r'cascade\.precision\.stages: one of kind "prior" stands at place 2'):
        read_config(with_table(tmp_path, "primary"))
    path = with_table(tmp_path, "relevant")
    path.write_text(path.read_text(encoding="utf-8").replace("lower = 0.01", "adapter = 'relevant'"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cascade\.precision\.stages\.\S*adapter: unknown key"):
        read_config(path)
    path.write_text(path.read_text(encoding="utf-8").replace('kind = "prior"', "kind = 'x'"), encoding="utf-8")
    with pytest.raises(ConfigError, match="kind"):
        read_config(path)


def extending(folder: Path, *lines: str) -> Path:
    """A file that extends the shipped config and says these things of ``precision``."""
    path = folder / "my.toml"
    path.write_text("\n".join(['extends = "shipped"', "[cascade.precision]", *lines]), encoding="utf-8")
    return path


BARE = ('thresholds = ""', 'profile = ""')


def test_a_check_finds_a_prior_that_nothing_weighs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What could only be tuned cannot be used; the drawing says so, and shows no bound that settles nothing."""
    path = extending(tmp_path, *BARE, 'prior_source = "evidence"')
    assert main(["config", "check", str(path)]) == ExitCode.BAD_INPUT
    told = " ".join(capsys.readouterr().err.split())
    assert f"{path}: cascade.precision.stages.prior: goes by evidence, and neither thresholds nor a profile" in told
    assert 'set prior_source = "caller" under [cascade.precision]' in told
    assert main(["config", "show", "precision", "--config", str(path)]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert "nothing weighs it: has to be tuned first" in shown
    assert "below 0" not in shown
    assert f"From {path}: cascade.precision.prior_source, cascade.precision.thresholds" in " ".join(shown.split())


def test_a_source_needs_no_copy_of_the_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key of the cascade wins over that of its stage; thresholds that were tuned by another source do not fit it."""
    by_evidence = extending(tmp_path, *BARE, 'prior_source = "evidence"')
    stage = read_config(by_evidence).cascades()["precision"].prior_stage
    assert stage
    assert stage.source is Source.EVIDENCE
    with pytest.raises(ConfigError, match=r"precision\.thresholds: these were tuned with a prior stage that goes by"):
        read_config(extending(tmp_path, 'prior_source = "evidence"'))
    path = extending(tmp_path, *BARE, 'prior_source = "caller"')
    stage = read_config(path).cascades()["precision"].prior_stage
    assert stage
    assert (stage.source, stage.no_below, stage.yes_from) == (Source.CALLER, 0.0, 1.0)
    assert main(["config", "check", str(path)]) == ExitCode.DONE
    assert main(["config", "show", "precision", "--config", str(path)]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert "by the item's own prior" in shown
    assert "from 1 -> stage primary" in shown
    assert "below 0" not in shown
    plain = tmp_path / "plain.toml"
    plain.write_text(shipped_text().replace("[cascade.scope]", '[cascade.scope]\nprior_source = "caller"'), "utf-8")
    with pytest.raises(ConfigError, match=r"cascade\.scope\.prior_source: 'caller' is given, and no prior stage"):
        read_config(plain)


@pytest.mark.slow
def test_a_source_that_wins_is_tuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Few tasks, whose items have priors of their caller's."""
    names = {"parse": ("primary", 0.9), "Cache": ("excluded", 0.1), "find": ("supporting", 0.5)}
    items = [{"id": name, "name": name, "label": label, "prior": p} for name, (label, p) in names.items()]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps({"task": f"t {at}", "items": items}) for at in range(6)), encoding="utf-8")
    config = extending(tmp_path, *BARE, 'prior_source = "caller"')
    command = ["tune", "--cascade", "precision", "--data", str(data), "--config", str(config), "--no-guarantee"]
    assert main([*command, "--target", "macro_f1"]) == ExitCode.DONE
    assert "is kept as it was (no below 0, yes from 1), and counted in: it gives 0.0%" in " ".join(
        capsys.readouterr().out.split()
    )


def test_what_thresholds_guarantee_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped ones say it in words and in JSON; a config without them has nothing to say."""
    assert main(["config", "show", "precision"]) == ExitCode.DONE
    guaranteed = "Guaranteed of these thresholds: a recall per task of at least 0.8"
    assert guaranteed in " ".join(capsys.readouterr().out.split())
    assert main(["config", "show", "precision", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["guarantee"].startswith(guaranteed)
    path = extending(tmp_path, 'thresholds = ""')
    assert main(["config", "show", "precision", "--config", str(path), "--json"]) == ExitCode.DONE
    shown = json.loads(capsys.readouterr().out)
    assert shown["guarantee"] is None
    assert shown["sources"][str(path)] == ["cascade.precision.thresholds"]
