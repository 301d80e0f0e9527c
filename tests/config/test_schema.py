"""Config files: what is read, and that every refusal names file, key and remedy."""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.config.schema import Config, read_config, shipped_config
from cascade.config.toml import at_key, write_toml
from cascade.errors import ConfigError, MachineError
from cascade.prompt import Limits
from cascade.stages import ANY_TIER, Combine, Target, Value
from cascade.tree import Cascade, ItemKind

MODEL = """
[model]
path = "models/base.gguf"

[adapters]
relevant = "relevant.gguf"
primary = { path = "/elsewhere/primary.gguf", scale = 0.5 }
"""

PRECISION = """
[cascade.precision]
labels = ["excluded", "primary", "type_context"]

[[cascade.precision.stages]]
name = "relevant"
question = "does it matter?"
adapter = "relevant"
threshold = 0.2
yes = { stage = "primary" }
no = { label = "excluded" }

[[cascade.precision.stages]]
name = "primary"
question = "must it be changed?"
adapter = "base"
yes = { label = "primary" }
no = { label = "type_context" }
"""

SCOPE = """
[cascade.scope]
labels = ["irrelevant", "relevant"]
instructions = "Which files matter?"

[[cascade.scope.stages]]
name = "relevant"
question = { near = "is it near?", far = "is it far?" }
marker = "file"
adapter = { near = "relevant", far = "primary" }
threshold = { near = 0.1, far = 0.3 }
combine = "mean"
yes = { label = "relevant" }
no = { label = "irrelevant" }
"""

SCOPE_BY_TIER = SCOPE.replace('marker = "file"\n', "")
GOOD = MODEL + PRECISION + SCOPE_BY_TIER


def write(folder: Path, text: str) -> Path:
    """A config file with that text."""
    path = folder / "cascade.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    """What the refusal of a config says behind the file's path."""
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    file, colon, rest = str(caught.value).partition(": ")
    assert (file, colon) == (str(path), ": ")
    return rest


def test_a_good_file(tmp_path: Path) -> None:
    """A config file becomes cascades with defaults filled in."""
    config = read_config(write(tmp_path, GOOD))
    precision, scope = config.cascades().values()
    assert precision.labels == ("excluded", "primary", "type_context")
    assert precision.dropped == "excluded"
    assert [(stage.name, stage.question(ANY_TIER).threshold) for stage in precision.stages] == [
        ("relevant", 0.2),
        ("primary", 0.5),
    ]
    assert precision.adapters() == ["relevant"]
    assert scope.first.combine is Combine.MEAN
    assert {tier: (asked.marker, asked.adapter, asked.threshold) for tier, asked in scope.first.questions.items()} == {
        "near": ("near", "relevant", 0.1),
        "far": ("far", "primary", 0.3),
    }


def test_what_a_cascade_is_asked_about(tmp_path: Path) -> None:
    """Files where a stage asks by tier, else symbols; the key decides, and symbols have no tiers to ask by."""
    precision, scope = read_config(write(tmp_path, GOOD)).cascades().values()
    assert (precision.items, scope.items) == (ItemKind.SYMBOLS, ItemKind.FILES)
    as_files = read_config(write(tmp_path, GOOD.replace("[cascade.precision]", '[cascade.precision]\nitems = "files"')))
    assert as_files.cascades()["precision"].items is ItemKind.FILES
    odd = GOOD.replace("[cascade.scope]", '[cascade.scope]\nitems = "symbols"')
    found = refusal(tmp_path, odd)
    assert found.startswith("cascade.scope.items: \"symbols\" is given, stage 'relevant' asks by tier")
    assert found.endswith('Set items = "files", or give the stage one question for all.')
    folders = refusal(tmp_path, GOOD.replace("[cascade.scope]", '[cascade.scope]\nitems = "folders"'))
    assert "folders of a repository have no tiers" in folders
    unknown = refusal(tmp_path, GOOD.replace("[cascade.scope]", '[cascade.scope]\nitems = "commits"'))
    assert "cascade.scope.items" in unknown
    assert "files" in unknown


def test_whether_a_cascade_makes_evidence(tmp_path: Path) -> None:
    """Items are asked as they are given, unless the config says that evidence is made; anything else is refused."""
    for value, is_made in (("given", False), ("made", True)):
        text = GOOD.replace("[cascade.scope]", f'[cascade.scope]\nevidence = "{value}"')
        cascades = read_config(write(tmp_path, text)).cascades()
        assert (cascades["scope"].makes_evidence, cascades["precision"].makes_evidence) == (is_made, False)
        assert cascades["scope"].as_dict()["evidence"] == value
    with pytest.raises(ConfigError, match=r"cascade\.scope\.evidence.*'given' or 'made'"):
        read_config(write(tmp_path, GOOD.replace("[cascade.scope]", '[cascade.scope]\nevidence = "both"')))


def test_a_stage_may_read_texts(tmp_path: Path) -> None:
    """A stage says that it reads items' texts and how much of them; the cascade's JSON form says so as well."""
    for keys, most in (('reads = "text"', 200), ('reads = "text"\nmax_text_tokens = 64', 64), ('reads = "item"', 0)):
        text = GOOD.replace('adapter = "base"\n', f'adapter = "base"\n{keys}\n')
        cascade = read_config(write(tmp_path, text)).cascades()["precision"]
        assert [stage.question(ANY_TIER).max_text_tokens for stage in cascade.stages] == [0, most]
        first, second = (stage["questions"][0] for stage in cascade.as_dict()["stages"])
        assert "reads" not in first
        assert second.get("max_text_tokens", 0) == most
    both = GOOD.replace("[[cascade.scope.stages]]\n", '[[cascade.scope.stages]]\nreads = "text"\nmax_text_tokens = 9\n')
    scope = read_config(write(tmp_path, both)).cascades()["scope"]
    assert {question.max_text_tokens for question in scope.first.questions.values()} == {9}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('reads = "body"', "'item' or 'text'"),
        ('reads = "text"\nmax_text_tokens = 0', "greater than or equal to 1"),
        ('reads = "text"\nmax_text_tokens = 5000', "less than or equal to 4096"),
        ('reads = "text"\nmax_text_tokens = "many"', "valid integer"),
        ("max_text_tokens = 64", 'max_text_tokens = 64 needs reads = "text"'),
    ],
)
def test_what_a_stage_cannot_read_is_refused(tmp_path: Path, given: str, said: str) -> None:
    """A wrong value names the stage and what is allowed; a limit without ``reads`` is no half of anything."""
    found = refusal(tmp_path, GOOD.replace('adapter = "base"\n', f'adapter = "base"\n{given}\n'))
    assert "cascade.precision.stages.primary" in found
    assert said in found


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Relative paths start from the config file's folder; absolute ones stay."""
    config = read_config(write(tmp_path, GOOD))
    assert config.model.path == tmp_path / "models" / "base.gguf"
    assert config.adapter("relevant").path == tmp_path / "relevant.gguf"
    assert config.adapter("relevant").scale == 1.0
    assert config.adapter("primary").path == Path("/elsewhere/primary.gguf")
    assert config.adapter("primary").scale == 0.5


def test_limits_default_to_those_of_prompts(tmp_path: Path) -> None:
    """A file without limits has the prompt's; a file may set some of them."""
    assert read_config(write(tmp_path, GOOD)).model.limits.limits() == Limits()
    text = GOOD.replace("[adapters]", "[model.limits]\nitem = 7\n\n[adapters]")
    assert read_config(write(tmp_path, text)).model.limits.limits() == Limits(item=7)


def test_one_marker_for_one_question(tmp_path: Path) -> None:
    """A stage's marker is what the file says, else its name."""
    text = GOOD.replace('question = "does it matter?"', 'question = "does it matter?"\nmarker = "rel"')
    precision = read_config(write(tmp_path, text)).cascades()["precision"]
    assert [asked.marker for asked in precision.questions()] == ["rel", "primary"]


def test_the_shipped_config() -> None:
    """The shipped config reads, and has the cascades that the command names."""
    cascades = read_config(shipped_config()).cascades()
    assert list(cascades) == ["precision", "scope", "routing", "refilter", "module", "edge"]
    assert cascades["precision"].labels == ("excluded", "primary", "supporting", "type_context")
    assert list(cascades["scope"].first.questions) == ["dependency", "co_change", "metadata"]


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        pytest.param(
            'yes = { stage = "primary" }',
            'yes = { label = "primary" }',
            "cascade.precision.stages.primary",
            "no answer leads to it. Lead one to it or remove it",
            id="unreachable stage",
        ),
        pytest.param(
            'no = { label = "type_context" }',
            'no = { stage = "relevant" }',
            "cascade.precision.stages.primary",
            "cycle: relevant -> primary -> relevant. Lead one of them to a label",
            id="cycle",
        ),
        pytest.param(
            'yes = { stage = "primary" }',
            'yes = { stage = "primry" }',
            "cascade.precision.stages.relevant.yes",
            "unknown stage 'primry'. Known are relevant, primary",
            id="unknown stage",
        ),
        pytest.param(
            'no = { label = "type_context" }',
            'no = { label = "types" }',
            "cascade.precision.stages.primary.no",
            "unknown label 'types'. Known are excluded, primary, type_context",
            id="unknown label",
        ),
        pytest.param(
            "threshold = 0.2",
            "threshold = 1.0",
            "cascade.precision.stages.relevant.threshold",
            "1.0 is outside (0, 1). Give a number between the two",
            id="threshold 1",
        ),
        pytest.param(
            "threshold = 0.2",
            "threshold = 0",
            "cascade.precision.stages.relevant.threshold",
            "0.0 is outside (0, 1). Give a number between the two",
            id="threshold 0",
        ),
        pytest.param(
            "far = 0.3",
            "far = 1.5",
            "cascade.scope.stages.relevant.threshold.far",
            "1.5 is outside (0, 1). Give a number between the two",
            id="threshold of a tier",
        ),
        pytest.param(
            "threshold = 0.2",
            'threshold = "0.2"',
            "cascade.precision.stages.relevant.threshold",
            "should be a valid number (given '0.2')",
            id="threshold in quotes",
        ),
        pytest.param(
            'adapter = { near = "relevant", far = "primary" }',
            'adapter = { near = "relevant" }',
            "cascade.scope.stages.relevant.adapter",
            "tier 'far' has none. Add it; the table has near",
            id="tier without adapter",
        ),
        pytest.param(
            'far = "primary"',
            'far = ""',
            "cascade.scope.stages.relevant.adapter.far",
            'there is none. Name one, or "base" for the base model',
            id="tier with an empty adapter",
        ),
        pytest.param(
            "threshold = { near = 0.1, far = 0.3 }",
            "threshold = { near = 0.1, far = 0.3, afar = 0.2 }",
            "cascade.scope.stages.relevant.question",
            "tier 'afar' has none. Add it; the table has near, far",
            id="tier that nobody asks",
        ),
        pytest.param(
            'combine = "mean"',
            'marker = { near = "n" }',
            "cascade.scope.stages.relevant.marker",
            "tier 'far' has none. Add it; the table has near",
            id="tier without marker",
        ),
        pytest.param(
            'labels = ["excluded", "primary", "type_context"]\n',
            "",
            "cascade.precision.labels",
            "is missing. Add it, as `cascade config schema` describes it",
            id="labels missing",
        ),
        pytest.param(
            'labels = ["excluded", "primary", "type_context"]',
            "labels = []",
            "cascade.precision.labels",
            "[] are fewer than two labels. List every label that a stage leads to",
            id="labels empty",
        ),
        pytest.param(
            'adapter = "relevant"\n',
            "",
            "cascade.precision.stages.relevant.adapter",
            "is missing. Add it",
            id="adapter missing",
        ),
        pytest.param(
            'adapter = "relevant"\n',
            'adapter = "relevent"\n',
            "cascade.precision.stages.relevant.adapter",
            "unknown adapter 'relevent'. The map [adapters] has relevant, primary; add it there",
            id="unknown adapter",
        ),
        pytest.param(
            'far = "primary"',
            'far = "relevent"',
            "cascade.scope.stages.relevant.adapter.far",
            "unknown adapter 'relevent'. The map [adapters] has relevant, primary; add it there",
            id="unknown adapter of a tier",
        ),
        pytest.param(
            "threshold = 0.2",
            "treshold = 0.2",
            "cascade.precision.stages.relevant.treshold",
            "unknown key. Did you mean 'threshold'? Remove it, or see `cascade config schema`",
            id="unknown key of a stage",
        ),
        pytest.param(
            "[model]\n",
            "[modell]\n[model]\n",
            "modell",
            "unknown key. Did you mean 'model'? Remove it, or see `cascade config schema`",
            id="unknown table",
        ),
        pytest.param(
            "scale = 0.5",
            "scal = 0.5",
            "adapters.primary.scal",
            "unknown key. Did you mean 'scale'? Remove it",
            id="unknown adapter key",
        ),
        pytest.param(
            "scale = 0.5", "scale = nan", "adapters.primary.scale", "(given nan)", id="scale that is no number"
        ),
        pytest.param(
            'relevant = "relevant.gguf"',
            "relevant = 3",
            "adapters.relevant",
            "the path of a file is needed, in quotes (given 3)",
            id="adapter that is no path",
        ),
        pytest.param(
            "[model]\n",
            '[model]\nformat = "odd"\n',
            "model.format",
            "there is no such prompt format; allowed are embedded, chatml, qwen3, qwen3-reranker, pair (given 'odd')",
            id="unknown prompt format",
        ),
        pytest.param(
            'path = "models/base.gguf"', "", "model", "give exactly one of path and repo_id", id="model without a file"
        ),
        pytest.param(
            'path = "models/base.gguf"',
            'repo_id = "a/b"',
            "model",
            "repo_id and filename go together",
            id="repository without a file",
        ),
        pytest.param(
            'yes = { stage = "primary" }',
            'yes = { stage = "primary", label = "primary" }',
            "cascade.precision.stages.relevant.yes",
            'give exactly one of stage and label, such as { label = "excluded" }',
            id="two targets",
        ),
        pytest.param(
            'yes = { stage = "primary" }',
            'yes = "primary"',
            "cascade.precision.stages.relevant.yes",
            "a table is needed (given 'primary')",
            id="target that is no table",
        ),
        pytest.param(
            'labels = ["irrelevant", "relevant"]',
            "labels = true",
            "cascade.scope.labels",
            "an array is needed (given true)",
            id="labels that are a boolean",
        ),
        pytest.param(
            'labels = ["irrelevant", "relevant"]',
            'labels = "irrelevant"',
            "cascade.scope.labels",
            "an array is needed (given 'irrelevant')",
            id="labels that are no array",
        ),
        pytest.param(
            'combine = "mean"',
            'combine = "all"',
            "cascade.scope.stages.relevant.combine",
            "should be 'any', 'mean' or 'max' (given 'all')",
            id="unknown combine",
        ),
        pytest.param(
            'name = "primary"', 'name = ""', "cascade.precision.stages", "should have at least 1", id="stage unnamed"
        ),
        pytest.param(
            'instructions = "Which files matter?"',
            'dropped = "nothing"',
            "cascade.scope.dropped",
            "'nothing' is not a label. Choose one of irrelevant, relevant",
            id="unknown dropped label",
        ),
    ],
)
def test_refused(tmp_path: Path, old: str, new: str, key: str, words: str) -> None:
    """A wrong config is refused with file, key, what was given or is allowed, and what to do."""
    assert old in GOOD
    said = refusal(tmp_path, GOOD.replace(old, new, 1))
    assert said.startswith(key)
    assert words in said


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('labels = ["irrelevant"', 'labels = [ODD, "irrelevant"', "cascade.scope.labels.0"),
        ('name = "relevant"', "name = ODD", "cascade.precision.stages.0.name"),
        ("[cascade.scope]", "[cascade.ODD]", "cascade.SHOWN"),
        ('near = "is it near?"', 'ODD = "is it near?"', "cascade.scope.stages.relevant.question.SHOWN"),
        ('relevant = "relevant.gguf"', 'ODD = "relevant.gguf"', "adapters.SHOWN"),
    ],
)
@pytest.mark.parametrize("odd", [" ", "a\n", "\0", "\x1b[2J", "\u202e"])
def test_names_that_a_reader_cannot_see_are_refused(tmp_path: Path, old: str, new: str, key: str, odd: str) -> None:
    """Labels and names of stages, cascades, tiers and adapters: the message has file and key, and shows the name."""
    assert old in GOOD
    written = '"' + "".join(f"\\u{ord(sign):04X}" for sign in odd) + '"'
    said = refusal(tmp_path, GOOD.replace(old, new.replace("ODD", written), 1))
    assert said.startswith(key.replace("SHOWN", repr(odd)))
    assert "one line of printable characters without white space around it is needed" in said
    assert repr(odd) in said
    assert said.isprintable()


def test_what_the_core_refuses_has_a_key() -> None:
    """An error that a stage or cascade raises by itself names its place; one that knows its key stays as it is."""
    with pytest.raises(ConfigError, match=r"^cascade\.c: The name of a value is ''; one line"), at_key("cascade.c"):
        Value("")
    with pytest.raises(ConfigError, match=r"^cascade\.c\.stages: there is none"), at_key("cascade.c"):
        Cascade(name="c", instructions="", labels=("a", "b"), stages=())


@pytest.mark.slow
def test_many_mistakes_make_one_short_line(tmp_path: Path) -> None:
    """Of many mistakes the first are named and the rest counted; long values are cut."""
    text = GOOD.replace("threshold", "x" * 20).replace("combine", "y").replace("name =", "nom =")
    said = refusal(tmp_path, text)
    assert said.count(";") == 3
    assert said.endswith(" more")
    assert len(refusal(tmp_path, GOOD.replace("threshold = 0.2", f'threshold = "{"x" * 999}"'))) < 200


def test_too_many_stages(tmp_path: Path) -> None:
    """A cascade of a thousand stages is refused in words."""
    stages = "".join(
        f'[[cascade.c.stages]]\nname = "s{i}"\nquestion = "q"\nadapter = "base"\n'
        f'yes = {{ stage = "s{i + 1}" }}\nno = {{ label = "no" }}\n'
        for i in range(1000)
    )
    said = refusal(tmp_path, MODEL + '[cascade.c]\nlabels = ["no", "yes"]\n' + stages)
    assert said == "cascade.c.stages: at most 64 are allowed (given 1000)"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"labels = [", "is not TOML"),
        (b"a = 1\na = 2", "is not TOML"),
        (b"\xff\xfe", "line 1: is not UTF-8"),
        (b"a = 1\nb = '\xff'", "line 2: is not UTF-8"),
        (b"a = " + b"[" * 100_000, "is not TOML"),
        (b"a = " + b"7" * 5_000, "is not TOML"),
        (b"\x1f\x8b\x08", "is damaged, gzip cannot unpack it"),
    ],
)
def test_not_toml(tmp_path: Path, data: bytes, words: str) -> None:
    """A file that is not TOML is refused with its path and what the parser says."""
    path = tmp_path / "cascade.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert re.match(rf"{re.escape(str(path))}(: |, ){words} \(", str(caught.value))


@pytest.mark.parametrize("value", ["0x" + "f" * 5_000, "[0x" + "f" * 5_000 + "]"])
def test_a_number_that_python_does_not_write_is_refused(tmp_path: Path, value: str) -> None:
    """A hexadecimal number of more digits than Python writes in decimal is named by its key."""
    path = tmp_path / "cascade.toml"
    path.write_text(f"[model]\npath = 'm.gguf'\nn_ctx = {value}\n[cascade]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"model\.n_ctx: .*\(given a number of very many digits\)"):
        read_config(path)


@pytest.mark.slow
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_written_so_that_it_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Keys and strings come back as they were, quotes and control characters included."""
    path = tmp_path_factory.mktemp("toml") / "written.toml"
    tables = {text: text, "table": {text: [0.5, 1.0], "absent": None}}
    write_toml(tables, path, "From a test.")
    assert tomllib.loads(path.read_text(encoding="utf-8")) == {text: text, "table": {text: [0.5, 1.0]}}


def test_text_that_utf_8_cannot_carry_is_refused(tmp_path: Path) -> None:
    """A lone surrogate, which JSON can hold, ends in an error that says what to do; nothing is written."""
    path = tmp_path / "written.toml"
    with pytest.raises(MachineError, match="Name questions, tiers and adapters in UTF-8"):
        write_toml({"a\udcff": 1.0}, path, "From a test.")
    assert not path.exists()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file and a folder are refused with their paths and what to give."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            read_config(path)
        assert str(caught.value).startswith(f"{path}: cannot be read (")
        assert str(caught.value).endswith("Give the path of a TOML file.")


def test_a_home_of_nobody(tmp_path: Path) -> None:
    """A path below the home of a user who does not exist is refused."""
    said = refusal(tmp_path, GOOD.replace("models/base.gguf", "~nobody-at-all/base.gguf"))
    assert said.endswith("Write the folder in full.")


def as_toml(value: object) -> str:
    """A value as inline TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value)


def places(value: object) -> list[tuple[str | int, ...]]:
    """Every place in nested tables and lists, the root left out."""
    entries: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    return [place for key, entry in entries for place in ((key,), *((key, *rest) for rest in places(entry)))]


PLACES = places(tomllib.loads(GOOD))
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-2, 2),
    st.sampled_from(["", "relevant", "primary", "base", "excluded", "~/x"]),
    st.lists(st.sampled_from(["a", "b"]), max_size=2),
    st.dictionaries(st.sampled_from(["", "near", "label", "stage"]), st.sampled_from(["relevant", 0.5]), max_size=2),
)


@pytest.mark.slow
@given(place=st.sampled_from(PLACES), odd=ODD)
def test_any_value_anywhere_is_used_or_refused_in_words(place: tuple[str | int, ...], odd: object) -> None:
    """Whatever stands at whatever key, a config either holds together or is refused as a ConfigError."""
    table = tomllib.loads(GOOD)
    holder: object = table
    for key in place[:-1]:
        holder = holder[key]  # type: ignore[index]
    if odd is None:
        del holder[place[-1]]  # type: ignore[attr-defined]
    else:
        holder[place[-1]] = odd  # type: ignore[index]
    text = "\n".join(f"{json.dumps(key)} = {as_toml(value)}" for key, value in table.items())
    outcome = read_text(text)
    if isinstance(outcome, Config):
        assert all(stage.questions for cascade in outcome.cascades().values() for stage in cascade.stages)
    else:
        assert re.fullmatch(r"[^:\n]+: .+", str(outcome))


def read_text(text: str) -> Config | ConfigError:
    """What a config file with that text makes."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return read_config(write(Path(folder), text))
        except ConfigError as error:
            return error


def test_the_schema_knows_every_key() -> None:
    """The JSON Schema describes the keys of a config file and refuses others."""
    schema = Config.model_json_schema()
    assert set(schema["properties"]) == {
        "extends",
        "servers",
        "service",
        "model",
        "models",
        "adapters",
        "engine",
        "log",
        "registry",
        "shadow",
        "cascade",
    }
    assert [each["required"] for each in schema["anyOf"]] == [["extends"], ["model", "cascade"], ["models", "cascade"]]
    assert all(entry["additionalProperties"] is False for entry in schema["$defs"].values() if "properties" in entry)
    stage = schema["$defs"]["StageConfig"]
    assert stage["required"] == ["name", "question", "adapter", "yes", "no"]
    assert all("description" in entry or "$ref" in entry for entry in stage["properties"].values())


THREE_WAYS = """
no_below = 0.2
yes_from = 0.7
uncertain = { label = "review" }
yes = { label = "primary" }
no = { label = "type_context" }
"""
LAST = 'yes = { label = "primary" }\nno = { label = "type_context" }\n'


def three_ways(threshold: str = "no_below = 0.2\nyes_from = 0.7", uncertain: str = '{ label = "review" }') -> str:
    """A config whose last stage may be uncertain, with other thresholds or another way."""
    text = THREE_WAYS.replace("no_below = 0.2\nyes_from = 0.7", threshold).replace('{ label = "review" }', uncertain)
    return GOOD.replace(LAST, text).replace('labels = ["excluded",', 'labels = ["excluded", "review",')


def test_a_stage_may_have_two_thresholds_and_a_third_way(tmp_path: Path) -> None:
    """One value each or a table from tier to value; ``threshold`` is the short form of both."""
    tree = read_config(write(tmp_path, three_ways())).cascades()["precision"]
    last = tree.stages[-1]
    assert last.limits == {ANY_TIER: (0.2, 0.7)}
    assert (last.uncertain, tree.handed_on) == (Target("review", is_label=True), ("review",))
    assert tree.as_dict()["stages"][-1]["uncertain"] == {"label": "review"}
    assert tree.as_dict()["stages"][-1]["questions"][0]["no_below"] == 0.2
    assert tree.first.limits[ANY_TIER].no_below == tree.first.limits[ANY_TIER].yes_from
    by_tier = (
        'no_below = { near = 0.1, far = 0.3 }\nyes_from = { near = 0.6, far = 0.3 }\nuncertain = { label = "later" }'
    )
    text = GOOD.replace("threshold = { near = 0.1, far = 0.3 }", by_tier)
    text = text.replace('["irrelevant", "relevant"]', '["irrelevant", "relevant", "later"]')
    scope = read_config(write(tmp_path, text)).cascades()["scope"]
    assert scope.first.limits == {"near": (0.1, 0.6), "far": (0.3, 0.3)}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"threshold": "yes_from = 0.7"}, "yes_from is given without no_below; give both, or threshold in place"),
        ({"threshold": "no_below = 0.2"}, "no_below is given without yes_from"),
        (
            {"threshold": "threshold = 0.5\nno_below = 0.2\nyes_from = 0.7"},
            "threshold is given beside no_below and yes",
        ),
        ({"threshold": "no_below = 0.8\nyes_from = 0.7"}, "no_below: 0.8 is outside (0, yes_from]"),
        ({"threshold": "no_below = 0.2\nyes_from = 1.5"}, "yes_from: 1.5 is outside (0, 1)"),
        ({"threshold": "threshold = 0.5"}, "uncertain: no item could take it"),
        ({"threshold": ""}, "uncertain: no item could take it"),
        ({"uncertain": '{ label = "primary" }'}, "uncertain: leads to 'primary', which yes or no leads to as well"),
        ({"uncertain": '{ stage = "nowhere" }'}, "uncertain: leads to unknown stage 'nowhere'"),
        ({"uncertain": '{ stage = "relevant" }'}, "goes round in a cycle"),
    ],
)
def test_a_third_way_that_cannot_be_is_refused(tmp_path: Path, given: dict[str, str], words: str) -> None:
    """With the key, what was given, and the remedy."""
    assert words in refusal(tmp_path, three_ways(**given))
    missing = (
        three_ways().replace('uncertain = { label = "review" }\n', "").replace('"excluded", "review"', '"excluded"')
    )
    assert "uncertain: there is none, and a p(yes) from no_below up to yes_from" in refusal(tmp_path, missing)


PRIOR = """
[[cascade.precision.stages]]
source = "caller"
{thresholds}
yes = {{ stage = "primary" }}
no = {{ label = "excluded" }}
"""


def with_prior(thresholds: str) -> str:
    """A config with a stage before the first that goes by the caller's prior."""
    at = GOOD.index("[[cascade.precision.stages]]")
    return GOOD[:at] + PRIOR.format(thresholds=thresholds) + GOOD[at:]


def test_a_stage_with_a_source_has_the_keys_of_every_stage(tmp_path: Path) -> None:
    """Its former names of the thresholds still hold; its uncertain items go to the stage that follows."""
    found = [
        read_config(write(tmp_path, with_prior(thresholds))).cascades()["precision"].prior_stage
        for thresholds in ("no_below = 0.1\nyes_from = 0.9", "lower = 0.1\nupper = 0.9", 'kind = "prior"\nlower = 0.1')
    ]
    assert found[0] == found[1]
    assert [stage and (stage.no_below, stage.yes_from) for stage in found] == [(0.1, 0.9), (0.1, 0.9), (0.1, 1.0)]
    assert {stage and stage.uncertain for stage in found} == {Target("relevant", is_label=False)}
    assert "lower is the former name of no_below" in refusal(tmp_path, with_prior("lower = 0.1\nno_below = 0.2"))
    assert "unknown key" in refusal(tmp_path, with_prior("threshold = 0.5"))
