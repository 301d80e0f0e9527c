"""The page: its numbers against the engine's and those by hand, hostile text, colours, and a look by a real browser."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.guarantee import question, simulated, two_stages
from cascade import Budget, Engine, Item, ScriptedBackend, Task
from cascade.audit.advice import Act, Advice
from cascade.audit.html.answers import confusion
from cascade.audit.html.anytime import anytime
from cascade.audit.html.chart import Axis, Bars, Cells, Chart, Dots, Line, Table
from cascade.audit.html.error_slices import error_slices
from cascade.audit.html.examples import worst_examples
from cascade.audit.html.page import PAGE, Known, write_report
from cascade.audit.html.palette import DARK, LIGHT, Palette
from cascade.audit.html.pareto import pareto_fronts
from cascade.audit.html.png import write_pngs
from cascade.audit.html.reliability import reliabilities
from cascade.audit.html.subject import Subject
from cascade.audit.html.svg import WIDTH, svg
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.profile import MadeForConfig
from cascade.config.thresholds import GuaranteeConfig, HeldOutConfig, ThresholdsFile, write_thresholds
from cascade.errors import InputError, MachineError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.metrics import calibration_error
from cascade.evaluation.replay import Replay, replay
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import described, score_tasks
from cascade.profile import Prior, Profile
from cascade.report import Origin
from cascade.stages import ANY_TIER, Combine, PriorStage, Source, Stage, Target
from cascade.tree import Cascade
from tests.helpers.browser import NAMES, find_browser, look
from tests.helpers.shipped import CASCADES, write_shipped

HOSTILE = (
    "<script>console.error('run')</script>",
    '"><img src=x onerror=console.error(1)>',
    "</title></svg></style><iframe src=//example.org>",
    "{{ 7 * 7 }} {% raw %} & ' $x^2$ \x07 \u202e",
)
FIGURES = {"front-calls", "front-false-alarms", "anytime", "budgets", "confusion", "calls", "reliability-1", "errors-1"}


def labelled(n_tasks: int, cascade: Cascade, truths: np.ndarray, words: tuple[str, ...] = ("plain",)) -> list[Labelled]:
    """Tasks of items in turn of four kinds, with texts made of the words."""
    n_items = truths.size // n_tasks
    return [
        Labelled(
            task=Task(text=f"{words[at % len(words)]} number {at}\nsecond line"),
            items=tuple(
                Item(
                    id=f"{at}.{place} {words[place % len(words)]}",
                    kind=("method", "class", words[0])[place % 3],
                    name=words[place % len(words)],
                    evidence=("match",) if truths[at * n_items + place] else (),
                )
                for place in range(n_items)
            ),
            labels=tuple(cascade.labels[truth] for truth in truths[at * n_items : (at + 1) * n_items]),
            repository=words[at % len(words)],
        )
        for at in range(n_tasks)
    ]


def three_labels() -> Cascade:
    """What does not matter leaves at the first stage; the second tells the other two labels apart."""
    return Cascade(
        name="three",
        instructions="i",
        labels=("drop", "read", "change"),
        stages=(
            Stage(
                name="a",
                questions={ANY_TIER: question("a")},
                yes=Target("b", is_label=False),
                no=Target("drop", is_label=True),
            ),
            Stage(
                name="b",
                questions={ANY_TIER: question("b")},
                yes=Target("change", is_label=True),
                no=Target("read", is_label=True),
            ),
        ),
        profile=Profile(prior=Prior(bias=-1.0, weights={"match": 1.0})),
    )


def made(n_tasks: int = 60, words: tuple[str, ...] = ("plain",)) -> tuple[Cascade, ScoredTasks, list[Labelled]]:
    """Scores of two stages that are too sure of themselves, and tasks of twelve items for them."""
    cascade, rng = replace(three_labels(), instructions=words[0]), np.random.default_rng(3)
    labels = rng.choice(3, 12 * n_tasks, p=(0.7, 0.2, 0.1))
    tasks = labelled(n_tasks, cascade, labels, words)
    p = {
        (stage, ANY_TIER): 1 / (1 + np.exp(-2 * (3 * (labels >= least) - 2 + rng.normal(0, 1, labels.size))))
        for stage, least in (("a", 1), ("b", 2))
    }
    return cascade, described(cascade, tasks, p), tasks


KNOWN = Known(
    origin=Origin(model="ab" * 32, adapters={HOSTILE[0]: "cd" * 32}, data="ef" * 32, questions="01" * 32),
    guarantee="Guaranteed: " + HOSTILE[0],
    guaranteed_recall=0.9,
    advice=(Advice(act=Act.SPLIT, stage="a", text=HOSTILE[1], numbers={}),),
    anytime=tuple(
        {"share": share, "budget_ms": 80 * share, "elapsed_ms": 80 * share, "accuracy": 0.5 + share / 4}
        | {"macro_f1_over_rows": 0.2 + share / 4, "recall_over_rows": None if share < 0.2 else 0.6}
        for share in (0.1, 0.5, 1.5)
    ),
)


class Seen(HTMLParser):
    """What a parser finds in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count it."""
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Keep it."""
        self.text += data


def tiered() -> Cascade:
    """The same with two tiers in the first stage, a prior stage before it, and a profile."""
    cascade = three_labels()
    first, second = cascade.stages
    return replace(
        cascade,
        stages=(
            replace(first, questions={"x": question("x", 0.4), "y": question("y", 0.6)}, combine=Combine.MAX),
            second,
        ),
        prior_stage=PriorStage(name="known", lower=0.2, upper=0.8, yes=first.yes, no=first.no, source=Source.CALLER),
        profile=Profile(
            label_shares={"a": {"drop": 0.5, "read": 0.2, "change": 0.3}, "b": {"read": 0.7, "change": 0.3}}
        ),
    )


def test_replays_are_what_the_engine_does() -> None:
    """Labels, calls and steps of every item, with tiers and a prior stage, in full and cut short at a depth."""
    cascade, rng = tiered(), np.random.default_rng(4)
    tiers = (("x",), ("y",), ("x", "y"))
    tasks = [
        Labelled(
            task=Task(text=f"task {at}"),
            items=tuple(
                Item(id=str(n), kind="k", name=f"n{n}", tiers=tiers[n % 3], prior=(None, 0.1, 0.5, 0.9)[n % 4])
                for n in range(12)
            ),
            labels=tuple(rng.choice(cascade.labels, 12).tolist()),
        )
        for at in range(5)
    ]
    backend = ScriptedBackend(lambda adapter, prompt: sum(map(ord, adapter + prompt)) * 7919 % 101 / 101, frozenset())
    with Engine(backend, {cascade.name: cascade}) as engine:
        subject = Subject.of(cascade, score_tasks(engine, cascade, tasks), tasks)
        for depth in (None, 1, 2):
            found = replay(subject.run, depth)
            row = 0
            for each in tasks:
                report = engine.classify(each.task, each.items, cascade.name, budget=Budget(depth=depth))
                rows = slice(row, row + len(each.items))
                labels = [cascade.labels[place] for place in found.labels[rows]]
                assert labels == [decision.label for decision in report.decisions], depth
                assert found.calls[rows].sum() == report.stats.calls
                row = rows.stop
        by_item = {
            (each.task.text, decision.id): decision
            for each in tasks
            for decision in engine.classify(each.task, each.items, cascade.name).decisions
        }
    examples = worst_examples(subject)
    assert examples
    for example in examples:
        decision = by_item[example.task, example.item]
        assert decision.label == example.given != example.truth
        assert tuple(each.step for each in example.steps) == decision.steps


def test_examples_are_the_surest_first() -> None:
    """Of each confusion of labels up to three tasks, none twice, and no item's answer is surer than the first's."""
    subject = Subject.of(*made())
    found = worst_examples(subject)
    p, truths, given_labels = subject.scored.p["a", ANY_TIER], subject.scored.labels, subject.replayed.labels
    pairs = Counter((example.truth, example.given) for example in found)
    wrong = truths != given_labels
    places = zip(truths[wrong].tolist(), given_labels[wrong].tolist(), strict=True)
    assert set(pairs) == {(subject.cascade.labels[truth], subject.cascade.labels[other]) for truth, other in places}
    assert max(pairs.values()) == 3
    assert len({(example.truth, example.given, example.task) for example in found}) == len(found)
    for truth, name in ((1, "read"), (2, "change")):
        part = [example.steps[0] for example in found if (example.truth, example.given) == (name, "drop")]
        assert all(each.is_wrong and not each.step.answer for each in part)
        assert part[0].step.p_yes == p[(truths == truth) & (given_labels == 0)].min()
        assert [each.step.p_yes for each in part] == sorted(each.step.p_yes for each in part)


def test_examples_without_a_known_wrong_answer() -> None:
    """Where either of two answers may have been wrong, the item comes first whose least sure answer is surest."""
    cascade, scored = two_stages(), simulated(3, 40)
    subject = Subject.of(cascade, scored, labelled(40, cascade, scored.labels))
    first = next(example for example in worst_examples(subject) if example.given == "keep")
    assert [each.is_wrong for each in first.steps] == [False, False]
    rows = (scored.labels == 0) & (subject.replayed.labels == 1)
    weakest = np.minimum(scored.p["a", ANY_TIER], scored.p["b", ANY_TIER])[rows]
    assert min(each.step.p_yes for each in first.steps) == weakest.max()


def test_reliability_is_that_of_the_rows() -> None:
    """Bins hold every row once, their gaps add up to the error that is named, and calibrating helps."""
    cascade, scored, tasks = made(200)
    for found, rows in zip(reliabilities(Subject.of(cascade, scored, tasks)), ("a", "b"), strict=True):
        truths, p = scored.truths(cascade, rows), scored.p[rows, ANY_TIER]
        cells = [row for row in found.chart.table.rows if row[0] == "raw"]
        counts = [int(row[3].replace(",", "")) for row in cells]
        gaps = [n * abs(float(row[1]) - float(row[2])) for row, n in zip(cells, counts, strict=True)]
        assert sum(counts) == (truths >= 0).sum()
        assert sum(gaps) / sum(counts) == pytest.approx(found.raw.ece, abs=2e-3)
        assert found.raw.ece == calibration_error(p[truths >= 0], truths[truths >= 0])
        assert found.calibrated.ece < found.raw.ece
        assert f"raw {found.raw.ece:.3f}, calibrated {found.calibrated.ece:.3f}" in found.chart.caption


def test_fronts_have_no_point_that_another_beats() -> None:
    """More recall always costs more, both ends are there, and the point in use is what a replay says."""
    cascade, scored, tasks = made()
    own = Replay(cascade, scored).outcome({("a", ANY_TIER): 0.5, ("b", ANY_TIER): 0.5})
    calls, alarms = pareto_fronts(Subject.of(cascade, scored, tasks), 0.9)
    for chart, cost in ((calls, own.calls), (alarms, own.false_positives)):
        guaranteed, line, dot = chart.marks
        assert isinstance(guaranteed, Line)
        assert isinstance(line, Line)
        assert isinstance(dot, Dots)
        assert np.all(np.diff(line.points, axis=0) > 0)
        assert line.points[-1][1] == 1
        assert dot.points[0] == pytest.approx((cost, own.recall_per_task))
        assert {y for _, y in guaranteed.points} == {0.9}
        assert chart.table.rows[0][1:] == (
            f"{own.recall_per_task:.3f}",
            f"{own.calls:.3f}",
            f"{own.false_positives:.3f}",
        )


def test_one_stage_has_a_front_of_false_alarms_alone() -> None:
    """Where every item is asked once whatever the threshold, calls are no cost; where nothing matters there is none."""
    no, yes = Target("drop", is_label=True), Target("keep", is_label=True)
    stage = Stage(name="a", questions={ANY_TIER: question("a")}, yes=yes, no=no)
    cascade = Cascade(name="one", instructions="i", labels=("drop", "keep"), stages=(stage,))
    scored = simulated(1, 20)
    tasks = labelled(20, cascade, scored.labels)
    subject = Subject.of(cascade, replace(scored, p={("a", ANY_TIER): scored.p["a", ANY_TIER]}), tasks)
    assert [chart.name for chart in pareto_fronts(subject)] == ["front-false-alarms"]
    nothing = replace(subject.scored, labels=np.zeros_like(scored.labels))
    assert not pareto_fronts(Subject.of(cascade, nothing, labelled(20, cascade, nothing.labels)))


def test_the_anytime_curve_ends_at_the_full_run() -> None:
    """It starts at nothing, never falls, ends where any order ends, and a prior that knows lies above."""
    subject = Subject.of(*made())
    chart = anytime(subject)
    dots, likely, chance = chart.marks
    assert isinstance(dots, Dots)
    assert isinstance(likely, Line)
    assert isinstance(chance, Line)
    full = subject.recall(subject.kept)
    assert full is not None
    assert max(map(abs, likely.points[0])) == 0
    assert np.all(np.diff(likely.points, axis=0) >= 0)
    for line in (likely, chance):
        assert line.points[-1][1] == pytest.approx(full)
    middle = len(likely.points) // 2
    assert likely.points[middle][1] > chance.points[middle][1] + 0.1
    assert [x for x, _ in dots.points][-1] == 1
    assert len(dots.points) == 2


def test_what_a_prior_stage_settles_is_there_from_the_start(tmp_path: Path) -> None:
    """Both lines start at the recall of items that take no call, and end alike; the page names the stage."""
    cascade, scored, tasks = made()
    places = [range(len(each.items)) for each in tasks]
    tasks = [
        replace(
            each,
            items=tuple(
                replace(each.items[at], prior=0.9 if each.labels[at] != "drop" and at % 2 else None) for at in rows
            ),
        )
        for each, rows in zip(tasks, places, strict=True)
    ]
    stage = PriorStage(
        name="known",
        lower=0.1,
        upper=0.8,
        yes=Target("read", is_label=True),
        no=Target("drop", is_label=True),
        source=Source.CALLER,
    )
    cascade = replace(cascade, prior_stage=stage)
    subject = Subject.of(cascade, scored, tasks)
    _, likely, chance = anytime(subject).marks
    assert isinstance(likely, Line)
    assert isinstance(chance, Line)
    start = subject.recall((subject.replayed.calls == 0) & subject.kept)
    assert start is not None
    assert 0.3 < start < 0.7
    for line in (likely, chance):
        assert line.points[0][1] == pytest.approx(start)
    assert likely.points[-1][1] == pytest.approx(chance.points[-1][1])
    (x, _), *_ = next(mark for mark in pareto_fronts(subject)[0].marks if isinstance(mark, Dots)).points
    cheapest = next(mark for mark in pareto_fronts(subject)[0].marks if isinstance(mark, Line))
    assert x == pytest.approx(subject.replayed.calls.mean())
    assert min(cheapest.points)[0] < 1  # every item that is not settled is asked at least once
    (page, *_) = write_report(cascade, scored, tasks, tmp_path)
    assert "known asks no model; between 0.1 and 0.8" in Seen(page.read_text(encoding="utf-8")).text


def test_the_confusion_counts_every_item() -> None:
    """Cells against counting by hand; rows are truths."""
    subject = Subject.of(*made())
    (cells,) = confusion(subject).marks
    assert isinstance(cells, Cells)
    counts = Counter(zip(subject.scored.labels.tolist(), subject.replayed.labels.tolist(), strict=True))
    for truth in range(3):
        for given_label in range(3):
            assert cells.texts[truth][given_label].endswith(f"\n{counts[truth, given_label]:,}")
        assert sum(cells.shares[truth]) == pytest.approx(1)


def test_slices_have_intervals_around_their_rates() -> None:
    """One row for all and one for each slice, each with a whisker through its dot."""
    charts = error_slices(Subject.of(*made(words=("one", "two"))))
    assert [chart.title for chart in charts] == ["a: where it errs", "b: where it errs"]
    for chart in charts:
        assert [text for _, text in chart.y.ticks] == ["all", "class", "method", "one", "one", "two"]
        (dots,) = [mark for mark in chart.marks if isinstance(mark, Dots)]
        whiskers = [mark for mark in chart.marks if isinstance(mark, Line) and not mark.is_dashed]
        for (x, y), whisker in zip(dots.points, whiskers, strict=True):
            (low, first), (high, second) = whisker.points
            assert low < x < high
            assert y == first == second


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_within(low: float, span: float) -> None:
    """Two to six of them, rising, none outside the axis; the values lie inside as well."""
    axis = Axis.of_numbers("n", [low, low + span], 0.0)
    places = [place for place, _ in axis.ticks]
    assert 2 <= len(places) <= 6
    assert places == sorted(set(places))
    assert axis.low <= places[0]
    assert places[-1] <= axis.high + 1e-9
    assert 0 <= axis.share(low) <= axis.share(low + span) < 1


def chart_of(*marks: Line | Dots | Bars | Cells, names: tuple[str, ...] = ()) -> Chart:
    """A chart from 0 to 10, or with names at the left."""
    x = Axis.of_numbers("x", [0.0, 9.0], 0.0)
    y = Axis.of_names("", names) if names else Axis.of_numbers("y", [0.0, 9.0], 0.0)
    table = Table(head=("a",), rows=(("1",),))
    return Chart(name="it", title="<t>", caption="<c>", x=x, y=y, marks=marks, table=table)


def test_marks_stand_where_the_axes_say() -> None:
    """Up is more on a scale, names run down, what lies outside is held at the edge, and long names are cut."""
    dots = Dots(points=((0.0, 0.0), (9.0, 9.0), (99.0, 99.0)), texts=("a", "b", "c"))
    root = ET.fromstring(svg(chart_of(dots)))  # noqa: S314 - our own
    places = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter("circle")]
    assert places[0][0] < places[1][0] <= places[2][0] <= WIDTH
    assert places[0][1] > places[1][1] >= places[2][1] >= 0
    assert [element.text for element in root.iter("title")] == ["<t>", "a", "b", "c"]
    assert next(root.iter("desc")).text == "<c>"
    name = "a very long name of an item that has no room"
    rows = Dots(points=((1.0, 0.0), (1.0, 1.0)), texts=("a", "b"))
    named = ET.fromstring(svg(chart_of(rows, names=(name, "short"))))  # noqa: S314 - our own
    first, second = (float(dot.attrib["cy"]) for dot in named.iter("circle"))
    assert first < second
    (cut,) = [text for text in named.iter("text") if text.text and text.text.endswith("…")]
    assert next(cut.iter("title")).text == name
    with pytest.raises(InputError, match="small letters"):
        replace(chart_of(dots), name="a b")


def ratio(first: str, second: str) -> float:
    """Contrast of two colours. Source: WCAG 2.2, relative luminance."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_read(palette: Palette) -> None:
    """Text at 4.5 or more on whatever it stands on, marks at 3; cells grow darker, or brighter, with their share."""
    for ground in (palette.ground, palette.card):
        assert min(ratio(palette.ink, ground), ratio(palette.soft, ground)) >= 4.5
    for tone, colour in palette.tones.items():
        assert ratio(colour, palette.card) >= (3 if tone == "quiet" else 4.5), tone
    assert all(ratio(fill, ink) >= 4.5 for fill, ink in palette.ramp)
    steps = [ratio(fill, palette.card) for fill, _ in palette.ramp]
    assert steps == sorted(steps)
    assert [palette.step(share) for share in (0.0, 0.5, 1.0)] == [0, 3, 5]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """No element, attribute or expression of a task, an item, a label, a wording or an adapter's name comes to life."""
    cascade, scored, tasks = made(words=HOSTILE)
    stages = tuple(
        replace(stage, questions={ANY_TIER: replace(stage.questions[ANY_TIER], wording=HOSTILE[2], adapter=HOSTILE[1])})
        for stage in cascade.stages
    )
    cascade = replace(cascade, name=HOSTILE[3], stages=stages)
    (page, *_) = write_report(cascade, scored, tasks, tmp_path, KNOWN)
    text = page.read_text(encoding="utf-8")
    seen = Seen(text)
    assert not {"script", "img", "iframe", "object", "embed", "base", "form"} & set(seen.tags)
    assert (seen.tags["title"] > 1, seen.tags["style"], seen.tags["html"]) == (True, 1, 1)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert {value for name, value in seen.attributes if name in {"src", "href"}} == {"data:,"}
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    for hostile in HOSTILE[:3]:
        assert hostile in seen.text
    assert "{{ 7 * 7 }}" in seen.text


def test_the_page_is_whole_and_always_the_same(tmp_path: Path) -> None:
    """Every figure with title, description and table; the same bytes twice; what is known stands in it."""
    case = made(words=("one", "two"))
    first, *_ = write_report(*case, tmp_path / "new" / "first", KNOWN)
    second, *_ = write_report(*case, tmp_path / "second", KNOWN)
    assert first.name == PAGE
    assert first.read_bytes() == second.read_bytes()
    seen = Seen(first.read_text(encoding="utf-8"))
    ids = [value for name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert set(ids) >= FIGURES
    assert seen.tags["figure"] == seen.tags["svg"] == seen.tags["desc"] == seen.tags["figcaption"]
    assert seen.tags["table"] > seen.tags["figure"]
    for words in ("60", "720", "abababababab", "Guarantee", "guaranteed", "split", "task: one number"):
        assert words in seen.text
    assert "second line" not in seen.text


def test_a_page_of_little_is_a_page(tmp_path: Path) -> None:
    """One task with one item of one label, and tasks without items beside it."""
    cascade = two_stages()
    one = Labelled(task=Task(text="t"), items=(Item(id="1", kind="k", name="n"),), labels=("drop",))
    tasks = [replace(one, items=(), labels=()), one]
    scored = described(cascade, tasks, {("a", ANY_TIER): np.array([0.1]), ("b", ANY_TIER): np.array([0.9])})
    (page, *_) = write_report(cascade, scored, tasks, tmp_path)
    assert "Every item has its true label." in page.read_text(encoding="utf-8")


def test_750_tasks_make_a_small_page(tmp_path: Path) -> None:
    """Well under a megabyte."""
    (page, *_) = write_report(*made(750, HOSTILE), tmp_path, KNOWN)
    assert page.stat().st_size < 300_000


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    """Other tasks than were scored, no items, and a folder that cannot be made; each says what to do."""
    cascade, scored, tasks = made(20)
    with pytest.raises(InputError, match="Give the tasks that were scored"):
        write_report(cascade, scored, tasks[1:], tmp_path)
    none = described(cascade, [], {key: np.zeros(0) for key in scored.p})
    with pytest.raises(InputError, match="there is nothing to show"):
        write_report(cascade, none, [], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot be written"):
        write_report(cascade, scored, tasks, tmp_path / "file")


def test_pictures_are_those_of_the_page(tmp_path: Path) -> None:
    """A PNG for each kind of mark, the same bytes twice, where matplotlib is."""
    pytest.importorskip("matplotlib")
    charts = [*error_slices(Subject.of(*made(words=HOSTILE))), confusion(Subject.of(*made()))]
    once, twice = (write_pngs(charts, tmp_path / name) for name in ("once", "twice"))
    assert [path.stem for path in once] == [chart.name for chart in charts]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in once)
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the embedded model: fingerprints, advice and guarantee stand in it; a folder that cannot be is refused."""
    items = [{"id": name, "name": name, "label": label} for name, label in (("read", "primary"), ("open", "excluded"))]
    data, scores, config = (tmp_path / name for name in ("data.jsonl", "scores.npz", "my.toml"))
    lines = [json.dumps({"task": f"read the config file {at}", "items": items}) for at in range(8)]
    data.write_text("\n".join(lines), encoding="utf-8")
    command = ["audit", "--cascade", "precision", "--data", str(data), "--scores", str(scores)]
    command += ["--config", str(write_shipped(tmp_path / "questions.toml"))]
    assert main([*command, "--json"]) == ExitCode.DONE
    with np.load(scores) as file:
        origin = json.loads(str(file["head"]))["origin"]
    precision = CASCADES["precision"]
    guarantee = GuaranteeConfig(recall_per_task=0.77, delta=0.05, p_value=0.03, tasks=100, minimised="calls")
    thresholds = ThresholdsFile(
        guarantee=guarantee,
        held_out=HeldOutConfig(recall_per_task=0.8, calls_per_item=1.5, false_positives_per_item=0.2),
        made_for=MadeForConfig(**origin),
        thresholds={stage.name: {ANY_TIER: 0.125} for stage in precision.stages},
    )
    write_thresholds(thresholds, tmp_path / "my.thresholds.toml", "by hand")
    write_shipped(config, precision="my.thresholds.toml")
    folder = tmp_path / "page"
    capsys.readouterr()
    assert main([*command, "--config", str(config), "--html", str(folder)]) == ExitCode.DONE
    assert f"wrote {folder / PAGE}" in " ".join(capsys.readouterr().err.split())
    seen = Seen((folder / PAGE).read_text(encoding="utf-8"))
    for words in (origin["model"][:12], origin["data"][:12], "at least 0.77", "What to do", "0.125"):
        assert words in seen.text, words
    (tmp_path / "file").touch()
    assert main([*command, "--html", str(tmp_path / "file")]) == ExitCode.FAILURE


@pytest.fixture
def browser() -> str:
    """A browser, or the reason why there is none."""
    return find_browser() or pytest.skip(f"no browser: none of {', '.join(NAMES)} is on PATH")


def test_the_browser_is_heard(browser: str, tmp_path: Path) -> None:
    """What the tests below find absent is found where it is there: a page that is wide, faint, cut and loud."""
    bad = (
        '<!DOCTYPE html><meta charset="utf-8"><p style="width:900px;color:#ccc">faint</p><figure id="f">'
        '<svg width="300" height="100"><text x="290" y="50" fill="#000">cut off</text></svg></figure>'
        "<script>console.error('loud')</script>"
    )
    (tmp_path / "bad.html").write_text(bad, encoding="utf-8")
    seen = look(browser, tmp_path / "bad.html", tmp_path, width=360, is_dark=False)
    assert seen.measured["width"] > 360
    assert [text for text, _ in seen.measured["faint"]] == ["faint"]
    assert seen.measured["cut"] == ["cut off"]
    assert len(seen.console) == 1
    assert "loud" in seen.console[0]


@pytest.mark.parametrize(("width", "is_dark"), [(360, True), (1200, False)], ids=["phone-dark", "desk-light"])
def test_a_browser_shows_the_page(browser: str, tmp_path: Path, width: int, is_dark: bool) -> None:  # noqa: FBT001
    """All figures, no console errors, no wider than a phone with all of it unfolded, and no text faint or cut off."""
    cascade, scored, tasks = made(words=HOSTILE)
    write_report(cascade, scored, tasks, tmp_path / "page", KNOWN)
    seen = look(browser, tmp_path / "page" / PAGE, tmp_path, width=width, is_dark=is_dark)
    measured = seen.measured
    assert seen.console == []
    assert measured["is_dark"] == is_dark
    assert set(measured["figures"]) >= FIGURES
    assert measured["drawn"] == len(measured["figures"])
    assert measured["width"] <= width
    assert measured["faint"] == []
    assert measured["cut"] == []
    assert measured["scripts"] == 0
    assert measured["texts"] > 300
