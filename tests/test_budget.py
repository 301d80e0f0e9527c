"""Budgets: what is allowed, where they come from, and what an item gets when its way is cut short."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cascade import Budget, Engine, Item, ScriptedBackend, Status, read_config
from cascade.backends.base import Batch, Scores, Stop
from cascade.budget import NO_LIMIT, budget_of
from cascade.config.profile import read_profile, write_profile
from cascade.engine.admission import Rules
from cascade.engine.item_state import ItemState
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.request import Request
from cascade.engine.settings import EngineSettings, settings_of
from cascade.errors import ConfigError, InputError, ItemError, OverloadError
from cascade.profile import Prior, Profile
from cascade.stages import Target
from cascade.tree import Cascade
from tests.helpers.requests import files, plain_items
from tests.helpers.shipped import ADAPTERS, CASCADES, shipped_text

PRECISION, SCOPE = CASCADES["precision"], CASCADES["scope"]
LABEL_SHARES = {
    "relevant": {"excluded": 0.7, "primary": 0.15, "supporting": 0.1, "type_context": 0.05},
    "primary": {"excluded": 0.2, "primary": 0.5, "supporting": 0.2, "type_context": 0.1},
    "supporting": {"excluded": 0.2, "primary": 0.1, "supporting": 0.4, "type_context": 0.3},
}
KNOWN = replace(PRECISION, profile=Profile(pass_rates={"relevant": 0.3, "primary": 0.4}, label_shares=LABEL_SHARES))


def _engine(settings: EngineSettings | None = None, cascade: Cascade = KNOWN, **fields: object) -> Engine:
    fields.setdefault("script", dict.fromkeys(ADAPTERS, 0.99))
    backend = ScriptedBackend(adapters=ADAPTERS, **fields)  # type: ignore[arg-type]
    return Engine(backend, {cascade.name: cascade, "scope": SCOPE}, settings=settings or EngineSettings())


@pytest.mark.parametrize("ms", [0, -1, math.nan, math.inf, -math.inf, 0.0])
def test_a_budget_must_be_a_time(ms: float) -> None:
    """Zero, less, and what is no number are refused with what is allowed; the engine does nothing."""
    with pytest.raises(InputError, match=r"above 0\. Leave it out for no limit"):
        Budget(ms=ms)
    with _engine() as engine, pytest.raises(InputError, match="above 0"):
        engine.classify("a task", plain_items(1), budget=ms)


@pytest.mark.parametrize(
    ("fields", "message"), [({"deadline": math.nan}, "time.monotonic"), ({"depth": 0}, "1 or more stages")]
)
def test_deadlines_and_depths_are_checked(fields: dict[str, float], message: str) -> None:
    """Each says what is allowed."""
    with pytest.raises(InputError, match=message):
        Budget(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["soon", True, [5]])
def test_what_is_no_budget_is_refused(value: object) -> None:
    """The message lists what may stand there."""
    with pytest.raises(InputError, match="milliseconds, a Budget, None"):
        budget_of(value, NO_LIMIT)  # type: ignore[arg-type]


def test_the_earlier_of_two_times_holds() -> None:
    """Milliseconds count from the call, a deadline from nowhere; without either there is no end."""
    assert Budget(ms=500).ends(10.0) == 10.5
    assert Budget(ms=500, deadline=10.2).ends(10.0) == 10.2
    assert Budget(deadline=9.0).ends(10.0) == 9.0
    assert NO_LIMIT.ends(10.0) == math.inf


def test_none_is_no_limit_and_config_is_the_configs() -> None:
    """A number is milliseconds."""
    own = Budget(ms=7)
    assert budget_of("config", own) is own
    assert budget_of(None, own) == NO_LIMIT
    assert budget_of(5, own) == Budget(ms=5)
    assert budget_of(own, NO_LIMIT) is own


def test_leaves_come_from_the_profile_or_from_pass_rates() -> None:
    """Without a profile every answer is as likely yes as no."""
    plain, known = OnlineProfile(replace(PRECISION, profile=Profile())), OnlineProfile(KNOWN)
    assert plain.label_shares(PRECISION.first) == {
        "primary": 0.25, "supporting": 0.125, "type_context": 0.125, "excluded": 0.5,
    }  # fmt: skip
    assert known.label_shares(PRECISION.first) == LABEL_SHARES["relevant"]
    assert known.likeliest(KNOWN.stage("primary")) == ("primary", 0.5)
    reach = {entry.stage.name: (entry.probability, entry.further) for entry in known.reach(KNOWN.first)}
    assert reach == {"relevant": (1.0, 0), "primary": (0.3, 1), "supporting": (pytest.approx(0.18), 2)}
    assert known.n_levels == 3


def test_pass_rates_follow_what_stages_answer() -> None:
    """The profile's rate gives way to the engine's own requests."""
    known = OnlineProfile(KNOWN)
    for _ in range(100):
        known.learn(KNOWN.first, answer=True)
    assert 0.5 < known.pass_rate(KNOWN.first) < 1
    assert known.reach(KNOWN.first)[1].probability == known.pass_rate(KNOWN.first)
    for _ in range(10_000):
        known.learn(KNOWN.first, answer=False)
    assert known.pass_rate(KNOWN.first) < 0.02


def test_an_items_prior_weighs_the_first_stages_leaves() -> None:
    """The caller's own comes first, then the prior's, then that of all alike; later stages know better."""
    prior = Prior(bias=-1.0, weights={"match9": 3.0, "tier:dependency": 1.0, "group:seed": 2.0, "kind:file": 0.5})
    known = OnlineProfile(replace(KNOWN, profile=replace(KNOWN.profile, prior=prior)))
    item = Item(id="1", kind="file", name="a", evidence=("match9", "new"), tiers=("dependency",))
    assert known.p_matters(item) == pytest.approx(1 / (1 + math.exp(-3.5)))
    assert known.p_matters(replace(item, prior=0.25)) == 0.25
    unknown = replace(item, evidence=("new",))
    assert known.p_matters(unknown) == OnlineProfile(KNOWN).p_matters(item) == pytest.approx(0.3)
    assert known.likeliest(KNOWN.first, 0.5) == ("excluded", 0.5)
    label, p_label = known.likeliest(KNOWN.first, 0.9)
    assert (label, round(p_label, 6)) == ("primary", 0.45)
    assert known.likeliest(KNOWN.first) == ("excluded", 0.7)


def test_items_of_which_nothing_is_known_are_no_finds() -> None:
    """With no time for any call they get the commonest label, with its base rate, and not what the bias alone says."""
    shipped = CASCADES["precision"]
    assert shipped.profile.prior
    blank = Item(id="1", kind="function", name="f")
    expected = OnlineProfile(shipped)
    base = 1 - expected.label_shares(shipped.first)["excluded"]
    assert abs(shipped.profile.prior.p_matters(blank) - base) > 0.02
    assert expected.p_matters(blank) == pytest.approx(base)
    state = ItemState(blank, expected, shipped.first, p_matters=expected.p_matters(blank))
    state.give_up()
    assert (state.label, state.status) == ("excluded", Status.DEADLINE)
    assert state.p_label == pytest.approx(1 - base)


@pytest.mark.parametrize("prior", [-0.1, 1.1, math.nan])
def test_a_prior_is_a_probability(prior: float) -> None:
    """Anything else is refused."""
    with pytest.raises(ItemError, match=r"\[0, 1\]"):
        Item(id="1", kind="file", name="a", prior=prior)


def test_a_walk_that_is_cut_gets_the_likeliest_label_of_where_it_stands() -> None:
    """Its steps stay; nothing is asked of it any more."""
    state = ItemState(plain_items(1)[0], OnlineProfile(KNOWN), KNOWN.first)
    state.take(KNOWN.first, "", 0.9)
    state.give_up()
    assert (state.label, state.p_label, state.status) == ("primary", 0.5, Status.DEPTH_CAP)
    assert ([step.stage for step in state.steps], state.pending(), state.is_done) == (["relevant"], [], True)
    state.give_up()
    assert state.status is Status.DEPTH_CAP


def test_a_tier_that_said_yes_decides_although_others_were_not_asked() -> None:
    """With ``any`` no other answer could change it; a no leaves it open."""
    item = Item(id="1", kind="file", name="a", tiers=("dependency", "metadata"))
    sure, open_ = (ItemState(item, OnlineProfile(SCOPE), SCOPE.first) for _ in range(2))
    sure.take(SCOPE.first, "metadata", 0.9)
    sure.give_up()
    assert (sure.label, sure.status, sure.p_label) == ("relevant", Status.DECIDED, None)
    assert [step.tier for step in sure.steps] == ["metadata"]
    open_.take(SCOPE.first, "metadata", 0.01)
    open_.give_up()
    assert (open_.status, open_.steps) == (Status.DEADLINE, [])


def test_a_cut_after_a_sure_answer_tells_that_something_was_asked() -> None:
    """Where one tier's yes leads on to a stage that is not asked any more, the item has passed a stage."""
    item = Item(id="1", kind="file", name="a", tiers=("dependency", "metadata"))
    below, out = Target("relevant", is_label=False), Target("excluded", is_label=True)
    first = replace(SCOPE.first, name="tiers", yes=below, no=out)
    cascade = replace(PRECISION, profile=Profile(), stages=(first, *PRECISION.stages))
    state = ItemState(item, OnlineProfile(cascade), cascade.first)
    state.take(cascade.first, "metadata", 0.99)
    state.give_up()
    assert (state.status, [step.tier for step in state.steps], state.depth) == (Status.DEPTH_CAP, ["metadata"], 1)


def test_a_depth_holds_whatever_was_asked_ahead() -> None:
    """A tier of a later stage that was asked ahead and said yes does not lead past the cap."""
    item = Item(id="1", kind="file", name="a", tiers=("dependency", "metadata"))
    below, kept, out = (
        Target("tiers", is_label=False),
        Target("kept", is_label=True),
        Target("out", is_label=True),
    )
    first = replace(PRECISION.first, yes=below, no=out)
    second = replace(SCOPE.first, name="tiers", yes=kept, no=out)
    cascade = replace(SCOPE, labels=("out", "kept"), dropped="out", stages=(first, second), profile=Profile())
    state = ItemState(item, OnlineProfile(cascade), first, most=1)
    state.take(second, "metadata", 0.99)
    state.take(first, "", 0.99)
    assert (state.status, state.depth, [step.stage for step in state.steps]) == (Status.DEPTH_CAP, 1, [first.name])


def test_answers_that_were_asked_ahead_are_used_once_the_way_leads_there() -> None:
    """An answer that the tree does not need leaves no step."""
    primary, supporting = KNOWN.stage("primary"), KNOWN.stage("supporting")
    needed, unneeded = (ItemState(plain_items(1)[0], OnlineProfile(KNOWN), KNOWN.first) for _ in range(2))
    for state in (needed, unneeded):
        state.take(supporting, "", 0.9)
        state.take(primary, "", 0.01)
    needed.take(KNOWN.first, "", 0.9)
    unneeded.take(KNOWN.first, "", 0.01)
    assert (needed.label, [step.stage for step in needed.steps]) == (
        "supporting",
        ["relevant", "primary", "supporting"],
    )
    assert (unneeded.label, [step.stage for step in unneeded.steps]) == ("excluded", ["relevant"])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_depth_ends_every_way_there(depth: int) -> None:
    """Items that are decided earlier are decided; the others have the label of where they stand."""
    with _engine(script={"relevant": 0.9, "primary": 0.01, "supporting": 0.9}) as engine:
        report = engine.classify("a task", plain_items(6), budget=Budget(depth=depth))
    label, status = {1: ("primary", "depth_cap"), 2: ("supporting", "depth_cap"), 3: ("supporting", "decided")}[depth]
    assert {(entry.label, str(entry.status), len(entry.steps)) for entry in report.decisions} == {
        (label, status, depth)
    }
    assert report.stats.calls == 6 * depth
    assert {entry.p_label for entry in report.decisions} == {{1: 0.5, 2: 0.4, 3: None}[depth]}


def test_a_deadline_that_has_passed_labels_everything_by_the_prior() -> None:
    """Nothing is asked; items with a prior of their own get a label that fits it."""
    items = [replace(item, prior=0.95 if at == 3 else None) for at, item in enumerate(plain_items(6))]
    with _engine() as engine:
        report = engine.classify("a task", items, budget=Budget(deadline=time.monotonic() - 1))
    assert [entry.label for entry in report.decisions] == ["excluded"] * 3 + ["primary"] + ["excluded"] * 2
    assert {entry.status for entry in report.decisions} == {Status.DEADLINE}
    assert report.stats.calls == 0


async def _until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - another thread makes it so
        await asyncio.sleep(1e-3)


class _Held(ScriptedBackend):
    """Scores one batch, then holds the next until it is stopped."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        if not self.n_batches:
            return await super().score(batch, stop)
        self.n_batches += 1
        await _until(lambda: stop.is_asked)
        cost = (await super().score(batch, stop)).cost
        query = batch.queries[0]
        lost = tuple((node, query.adapter) for node in query.node.path[:-1])
        return Scores([math.nan] * len(batch.queries), cost, lost)


def _held(**fields: object) -> Engine:
    script = dict.fromkeys(ADAPTERS, 0.99)
    settings = EngineSettings(**fields)  # type: ignore[arg-type]
    return Engine(_Held(script, ADAPTERS), {"precision": KNOWN}, settings=settings)


def test_a_batch_that_never_ends_does_not_keep_the_answer() -> None:
    """At the deadline the caller gets what was decided before, with how far it got."""
    with _held() as engine:
        report = engine.classify("a task", plain_items(3), budget=80)
        assert {(entry.label, entry.status) for entry in report.decisions} == {("primary", Status.DEPTH_CAP)}
        assert all([step.stage for step in entry.steps] == ["relevant"] for entry in report.decisions)
        assert engine.n_cached == 0


def test_a_caller_that_leaves_stops_the_batch_that_it_alone_waits_for() -> None:
    """Its nodes are forgotten and the engine goes on with others."""

    async def leave(engine: Engine) -> None:
        call = asyncio.ensure_future(engine.aclassify("a task", plain_items(3)))
        await _until(lambda: bool(engine.n_cached))
        await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await _until(lambda: not engine.n_cached)

    with _held() as engine:
        asyncio.run(leave(engine))


def test_budgets_come_from_the_config(tmp_path: Path) -> None:
    """A cascade's budget holds where the caller says nothing."""
    path = tmp_path / "map.toml"
    text = shipped_text(profile=False)
    assert "[cascade.precision]\n" in text
    text = text.replace("[cascade.precision]\n", "[cascade.precision]\nbudget_ms = 250\nmax_depth = 2\n")
    path.write_text(f'{text}\n[engine]\nmax_requests = 3\noverload = "refuse"\nask_ahead = false\n', encoding="utf-8")
    settings = settings_of(read_config(path))
    assert settings.budgets == dict.fromkeys(CASCADES, NO_LIMIT) | {"precision": Budget(ms=250, depth=2)}
    assert settings.rules == Rules(max_requests=3, refuses=True, asks_ahead=False)
    with _engine(EngineSettings(budgets={"precision": Budget(depth=1)})) as engine:
        assert {len(entry.steps) for entry in engine.classify("a task", plain_items(3)).decisions} == {1}
        assert {len(entry.steps) for entry in engine.classify("a task", plain_items(3), budget=None).decisions} == {2}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("budget_ms = 0", "cascade.precision.budget_ms"),
        ("budget_ms = nan", "cascade.precision.budget_ms"),
        ("max_depth = 0", "cascade.precision.max_depth"),
        ("profile = { pass_rates = { nobody = 0.5 } }", "no stage 'nobody'"),
        ("profile = { pass_rates = { relevant = 1.0 } }", "pass_rates.relevant"),
        ("profile = { label_shares = { relevant = { nothing = 1.0 } } }", "no label 'nothing'"),
        ("profile = { label_shares = { relevant = { primary = 0.5 } } }", "sum to 0.500"),
        ('profile = "absent.toml"', "cannot be read"),
    ],
)
def test_a_config_says_which_key_is_wrong(line: str, message: str, tmp_path: Path) -> None:
    """Budgets and profiles are checked like everything else."""
    lines = shipped_text(profile=False).splitlines()
    lines.insert(lines.index("[cascade.precision]") + 1, line)
    path = tmp_path / "map.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_a_profile_survives_its_file(tmp_path: Path) -> None:
    """What is written is read again, whatever the names."""
    prior = Prior(bias=-1.5, weights={'odd "fact" \\ ü\n': 0.25, "match9": -1.0})
    profile = replace(KNOWN.profile, prior=prior)
    path = tmp_path / "precision.profile.toml"
    write_profile(profile, path, "written by a test")
    assert read_profile(path).profile() == profile
    path.write_text("[prior]\nbias = 'high'\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"prior\.bias"):
        read_profile(path)


@pytest.mark.slow
def test_more_requests_than_allowed_are_refused_at_once() -> None:
    """The queue is bounded; those that were there before are not hurt."""

    async def crowd(engine: Engine) -> list[object]:
        calls = [engine.aclassify("a task", plain_items(3), budget=200) for _ in range(5)]
        return await asyncio.gather(*calls, return_exceptions=True)

    with _held(rules=Rules(max_requests=2)) as engine:
        found = asyncio.run(crowd(engine))
    refused = [entry for entry in found if isinstance(entry, OverloadError)]
    assert len(refused) == 3
    assert "max_requests" in str(refused[0])


def test_a_request_that_would_be_late_is_refused_with_the_time_it_would_take() -> None:
    """Set so, the engine does not answer less deeply but says at once what it would need."""
    with _engine(EngineSettings(rules=Rules(refuses=True)), slowdown=1.0) as engine:
        with pytest.raises(OverloadError, match=r"would take \d+ ms .* has \d+ ms"):
            engine.classify("a task", plain_items(60), budget=40)
        assert engine.classify("a task", plain_items(2), budget=600_000).stats.calls == 4
        assert engine.n_cached == 0


def test_an_engine_that_refuses_all_tries_now_and_then() -> None:
    """What was predicted when it opened may be wrong, which only a batch can show: every eighth request is taken."""
    with _engine(EngineSettings(rules=Rules(refuses=True)), slowdown=1.0) as engine:
        for _ in range(7):
            with pytest.raises(OverloadError):
                engine.classify("a task", plain_items(60), budget=40)
        assert len(engine.classify("a task", plain_items(60), budget=40).decisions) == 60


def test_items_of_most_value_are_asked_first() -> None:
    """The caller's priority counts first, then the prior; while there is time enough nothing is reordered."""
    rng = random.Random(1)
    items = [replace(item, priority=rng.choice((0, 1)), prior=rng.random()) for item in plain_items(12)]
    for slowdown, expected in (
        (1e-6, items),
        (1.0, sorted(items, key=lambda item: (-item.priority, -(item.prior or 0)))),
    ):
        backend = ScriptedBackend(dict.fromkeys(ADAPTERS, 0.01), ADAPTERS, slowdown=slowdown)
        with Engine(backend, {"precision": KNOWN}) as engine:
            engine.classify("a task", items, budget=1_800)
        asked = [bytes(query.node.parent.tokens).decode() for query in backend.batches[0].queries if query.node.parent]
        assert all(item.name in text for item, text in zip(expected, asked, strict=False))
        assert len(asked) == 12 if slowdown < 1 else 2 < len(asked) < 12


def test_files_of_several_tiers_have_a_label_whenever_they_are_cut() -> None:
    """A stage that is half asked leaves no item without label and status."""
    task, items = files(3, 20)
    backend = _Held(dict.fromkeys(ADAPTERS, 0.05), ADAPTERS)
    with Engine(backend, {"scope": SCOPE}) as engine:
        report = engine.classify(task, items, "scope", budget=60)
    assert {entry.status for entry in report.decisions} <= {Status.DEADLINE, Status.DECIDED}
    assert all(entry.label in SCOPE.labels for entry in report.decisions)


@pytest.mark.slow
def test_a_request_that_is_done_is_not_held_until_its_deadline() -> None:
    """An hour's budget keeps no request alive for an hour."""

    def n_held() -> int:
        gc.collect()
        return sum(isinstance(entry, Request) for entry in gc.get_objects())

    before = n_held()
    with _engine(records=False) as engine:
        engine.classify("a task", plain_items(3), budget=3_600_000)
        asyncio.run(asyncio.wait_for(_until(lambda: n_held() <= before), 20))
