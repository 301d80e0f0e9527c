"""The audit's report: whole, always the same, deaf to hostile text, and looked at by a real browser."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from benchmarks.guarantee import two_stages
from cascade import Item, Task
from cascade.audit.advice import Act, Advice
from cascade.audit.html import PAGE, Known, write_report
from cascade.audit.html.charts import confusion, error_slices
from cascade.audit.html.draw import COLOURS, cell_colours, write_pngs
from cascade.audit.html.subject import Subject
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.profile import MadeForConfig
from cascade.config.thresholds import GuaranteeConfig, HeldOutConfig, ThresholdsFile, write_thresholds
from cascade.errors import InputError, MachineError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.scoring import scored_tasks
from cascade.machine import install_extra
from cascade.report import Origin
from cascade.stages import ANY_TIER, Source, Stage, Target
from tests.helpers.browser import NAMES, find_browser, look
from tests.helpers.scored_runs import three_label_run
from tests.helpers.shipped import CASCADES, write_shipped

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
HOSTILE = (
    "<script>console.error('run')</script>",
    '"><img src=x onerror=console.error(1)>',
    "</title></svg></style><iframe src=//example.org>",
    "{{ 7 * 7 }} {% raw %} & ' $x^2$ \x07 \u202e #0068a8",
)
FIGURES = {"front-calls", "front-false-alarms", "anytime", "budgets", "confusion", "calls", "reliability-1", "errors-1"}
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


def test_a_colour_tells_its_name() -> None:
    """No two are alike in the light, where charts are drawn, and cells are deeper the larger their share."""
    names = {light: name for name, (light, _) in COLOURS.items()}
    assert len(names) == len(COLOURS)
    assert [names[cell_colours(share)[0]] for share in (0.0, 0.5, 1.0)] == ["cell-0", "cell-3", "cell-5"]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """No element, attribute or expression of a task, an item, a label, a wording or an adapter's name comes to life."""
    cascade, scored, tasks = three_label_run(750, words=HOSTILE)
    stages = tuple(
        replace(stage, questions={ANY_TIER: replace(stage.questions[ANY_TIER], wording=HOSTILE[2], adapter=HOSTILE[1])})
        for stage in cascade.stages
    )
    no, yes = (Target(label, is_label=True) for label in ("drop", "read"))
    prior = Stage(name=HOSTILE[0], no_below=0.1, yes_from=0.8, yes=yes, no=no, source=Source.CALLER)
    name = "".join(filter(str.isprintable, HOSTILE[3]))  # what controls a terminal or a line is refused in a name
    cascade = replace(cascade, name=name, stages=stages, prior_stage=prior)
    (page, *_) = write_report(cascade, scored, tasks, tmp_path, KNOWN)
    text = page.read_text(encoding="utf-8")
    seen = Seen(text)
    assert not {"script", "img", "image", "iframe", "object", "embed", "base", "form"} & set(seen.tags)
    assert (seen.tags["title"] > 1, seen.tags["style"], seen.tags["html"]) == (True, 1, 1)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    outside = [value for name, value in seen.attributes if name in {"src", "href"} and not str(value).startswith("#")]
    assert outside == ["data:,"]
    assert text.count("url(") == text.count("url(#")
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert page.stat().st_size < 300_000
    assert "asks no model; between 0.1 and 0.8" in seen.text
    for hostile in HOSTILE[:3]:
        assert hostile in seen.text
    assert "{{ 7 * 7 }}" in seen.text
    assert "var(--first)" not in seen.text.partition("</style>")[2]


def test_the_report_is_whole_and_always_the_same(tmp_path: Path) -> None:
    """Every figure with title, description and table; the same bytes twice; what is known stands in it."""
    case = three_label_run(words=("one", "two"))
    first, *pictures = write_report(*case, tmp_path / "new" / "first", KNOWN)
    second, *others = write_report(*case, tmp_path / "second", KNOWN)
    assert first.name == PAGE
    assert first.read_bytes() == second.read_bytes()
    assert [path.read_bytes() for path in pictures] == [path.read_bytes() for path in others]
    seen = Seen(first.read_text(encoding="utf-8"))
    ids = [value for name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert set(ids) >= FIGURES
    assert {path.stem for path in pictures} >= FIGURES
    assert seen.tags["figure"] == seen.tags["svg"] == seen.tags["desc"] == seen.tags["figcaption"] == len(pictures)
    assert seen.tags["table"] > seen.tags["figure"]
    colours = [value for name, value in seen.attributes if name == "style" and "#" in str(value)]
    assert not colours  # all are variables, so that the dark has its own
    for words in ("60", "720", "abababababab", "Guarantee", "guaranteed", "split", "task: one number"):
        assert words in seen.text
    assert "second line" not in seen.text


def test_pictures_do_not_depend_on_the_users_own_settings(tmp_path: Path) -> None:
    """The same bytes under another matplotlibrc, and with names of any script; each is a PNG file."""
    subject = Subject.of(*three_label_run(words=(*HOSTILE, "漢字")))
    charts = [*error_slices(subject), confusion(subject)]
    once = write_pngs(charts, tmp_path / "once")
    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "font.size": 30}):
        twice = write_pngs(charts, tmp_path / "twice")
    assert [path.stem for path in once] == [chart.name for chart in charts]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in once)
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]


def test_a_report_of_little_is_a_report(tmp_path: Path) -> None:
    """One task with one item of one label, and tasks without items beside it."""
    cascade = two_stages()
    one = Labelled(task=Task(text="t"), items=(Item(id="1", kind="k", name="n"),), labels=("drop",))
    tasks = [replace(one, items=(), labels=()), one]
    scored = scored_tasks(cascade, tasks, {("a", ANY_TIER): np.array([0.1]), ("b", ANY_TIER): np.array([0.9])})
    (page, *_) = write_report(cascade, scored, tasks, tmp_path)
    assert "Every item has its true label." in page.read_text(encoding="utf-8")


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    """Other tasks than were scored, no items, and a folder that cannot be made; each says what to do."""
    cascade, scored, tasks = three_label_run(20)
    with pytest.raises(InputError, match="Give the tasks that were scored"):
        write_report(cascade, scored, tasks[1:], tmp_path)
    none = scored_tasks(cascade, [], {key: np.zeros(0) for key in scored.p})
    with pytest.raises(InputError, match="there is nothing to show"):
        write_report(cascade, none, [], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot be written"):
        write_report(cascade, scored, tasks, tmp_path / "file")


def test_the_command_writes_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the embedded model: fingerprints, advice and guarantee stand in it; a folder that cannot be is refused."""
    items = [{"id": name, "name": name, "label": label} for name, label in (("read", "primary"), ("open", "excluded"))]
    data, scores, config = (tmp_path / name for name in ("data.jsonl", "scores.npz", "my.toml"))
    rows = [json.dumps({"task": f"read the config file {at}", "items": items}) for at in range(8)]
    data.write_text("\n".join(rows), encoding="utf-8")
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
    folder = tmp_path / "report"
    capsys.readouterr()
    assert main([*command, "--config", str(config), "--html", str(folder)]) == ExitCode.DONE
    assert f"wrote {folder / PAGE}" in " ".join(capsys.readouterr().err.split())
    seen = Seen((folder / PAGE).read_text(encoding="utf-8"))
    for words in (origin["model"][:12], origin["data"][:12], "at least 0.77", "What to do", "0.125"):
        assert words in seen.text, words
    (tmp_path / "file").touch()
    assert main([*command, "--html", str(tmp_path / "file")]) == ExitCode.FAILURE


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("jinja2", ["audit", "--cascade", "precision", "--data", "absent", "--html", "report"]),
        ("matplotlib", ["audit", "--cascade", "precision", "--data", "absent", "--html", "report"]),
        ("matplotlib", ["depth", "--cascade", "precision", "--data", "absent", "--plot", "report"]),
    ],
)
def test_without_the_extra_the_command_says_what_to_install(missing: str, command: list[str], tmp_path: Path) -> None:
    """Exit code 1 before anything is read or made, and the extra's name; other commands are as they were."""
    (tmp_path / "absent").touch()
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from cascade.cli import main; "
        f"assert main(['config', 'show', 'precision']) == 0; sys.exit(main({command!r}))"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == ExitCode.FAILURE
    assert f"{missing} is not installed. Run `{install_extra('report')}`." in done.stderr
    assert not (tmp_path / "report").exists()


def test_what_draws_is_loaded_when_something_is_drawn() -> None:
    """Neither the report's package nor the commands load jinja2 or matplotlib before they need them."""
    code = (
        "import sys, cascade.audit.html, cascade.cli.audit, cascade.cli.depth\n"
        "print([name for name in ('jinja2', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def browser() -> str:
    """A browser, or the reason why there is none."""
    return find_browser() or pytest.skip(f"no browser: none of {', '.join(NAMES)} is on PATH")


def test_the_browser_is_heard(browser: str, tmp_path: Path) -> None:
    """What the test below finds absent is found where it is there: a page that is wide, faint, cut and loud."""
    bad = (
        '<!DOCTYPE html><meta charset="utf-8"><p style="width:900px;color:#ccc">faint</p><figure id="f">'
        '<svg width="300" height="100"><text x="290" y="20" fill="#000">cut off</text>'
        '<path d="M 0 50 H 200 V 90 H 0 z" fill="#333"/><text x="20" y="70" fill="#555">dark</text></svg></figure>'
        "<script>console.error('loud')</script>"
    )
    (tmp_path / "bad.html").write_text(bad, encoding="utf-8")
    seen = look(browser, tmp_path / "bad.html", tmp_path, width=390, is_dark=False)
    assert seen.measured["width"] > 390
    assert [text for text, _ in seen.measured["faint"]] == ["faint", "dark"]
    assert seen.measured["cut"] == ["cut off"]
    assert len(seen.console) == 1
    assert "loud" in seen.console[0]


@pytest.mark.parametrize(("width", "is_dark"), [(390, True), (1280, False)], ids=["phone-dark", "desk-light"])
def test_a_browser_shows_the_report(browser: str, tmp_path: Path, width: int, is_dark: bool) -> None:  # noqa: FBT001
    """All figures, no console errors, no wider than a phone with all of it unfolded, and no text faint or cut off."""
    cascade, scored, tasks = three_label_run(words=HOSTILE)
    write_report(cascade, scored, tasks, tmp_path / "report", KNOWN)
    seen = look(browser, tmp_path / "report" / PAGE, tmp_path, width=width, is_dark=is_dark)
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
