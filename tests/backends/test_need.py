"""How much of a cache each of several models gets, where the config does not say."""

from __future__ import annotations

import pytest

from cascade import Cascade, Profile
from cascade.backends.need import by_need, reach, share_asked
from cascade.config.model import ModelConfig
from cascade.stages import Question, Stage, Target, Value

KEEP, DROP = Target("keep", is_label=True), Target("drop", is_label=True)
OWNERS = {"quick": "small", "judge": "large"}


def asking(adapter: str, threshold: float = 0.5, no_below: float | None = None) -> dict[str, Question]:
    """One question for all tiers."""
    return {"": Question(marker=adapter, wording="?", adapter=adapter, threshold=threshold, no_below=no_below)}


def tree(share: float, *, is_uncertain: bool = False) -> Cascade:
    """A stage of the small model that hands a share of its items on to one of the large model."""
    last = Stage(name="judge", questions=asking("judge"), yes=KEEP, no=DROP)
    onward = Target("judge", is_label=False)
    if is_uncertain:
        first = Stage(name="quick", questions=asking("quick", 0.8, 0.2), yes=KEEP, no=DROP, uncertain=onward)
        profile = Profile(pass_rates={"quick": 0.1}, uncertain_rates={"quick": share})
    else:
        first = Stage(name="quick", questions=asking("quick"), yes=onward, no=DROP)
        profile = Profile(pass_rates={"quick": share})
    return Cascade(name="c", instructions="", labels=("drop", "keep"), stages=(first, last), profile=profile)


@pytest.mark.parametrize("is_uncertain", [False, True])
def test_a_share_of_the_items_takes_a_share_of_the_cells(is_uncertain: bool) -> None:  # noqa: FBT001 - a parameter
    """The model that is asked first has the defaults; the one that half of the items reach has half of them."""
    cascades = {"c": tree(0.5, is_uncertain=is_uncertain)}
    sized = by_need({"small": ModelConfig(), "large": ModelConfig()}, cascades, OWNERS)
    assert reach(cascades["c"]) == {"quick": 1.0, "judge": 0.5}
    assert (sized["small"].n_ctx, sized["small"].n_seq_max) == (4_096, 128)
    assert (sized["large"].n_ctx, sized["large"].n_seq_max) == (2_048, 64)


def test_the_ways_of_a_choice_count() -> None:
    """A stage that one of three values leads to is reached by a third where the profile says nothing."""
    which = Question(marker="which", wording="?", adapter="quick", threshold=0.0, values=tuple(map(Value, "abc")))
    ways = {"a": DROP, "b": KEEP, "c": Target("judge", is_label=False)}
    first = Stage(name="which", questions={"": which}, next=ways)
    last = Stage(name="judge", questions=asking("judge"), yes=KEEP, no=DROP)
    cascade = Cascade(name="c", instructions="", labels=("drop", "keep"), stages=(first, last))
    assert reach(cascade) == {"which": 1.0, "judge": pytest.approx(1 / 3)}


def test_two_prompts_always_fit() -> None:
    """A model that hardly any item reaches still has room for two of the longest prompts, in whole blocks of cells."""
    sized = by_need({"small": ModelConfig(), "large": ModelConfig()}, {"c": tree(0.01)}, OWNERS)["large"]
    longest = sum(sized.limits.model_dump().values()) + 256
    assert sized.n_ctx >= 2 * longest
    assert sized.n_ctx % 256 == 0
    assert sized.n_seq_max == 32


def test_what_the_config_says_wins() -> None:
    """Cells and sequences that a config sets are as it says."""
    large = ModelConfig(n_ctx=3_000, n_seq_max=100)
    sized = by_need({"small": ModelConfig(), "large": large}, {"c": tree(0.01)}, OWNERS)["large"]
    assert (sized.n_ctx, sized.n_seq_max) == (3_000, 100)


def test_the_largest_share_of_any_cascade_counts() -> None:
    """A model that one cascade asks first gets all, and so does one that no cascade asks: callers may ask it."""
    first = Cascade(
        name="d",
        instructions="",
        labels=("drop", "keep"),
        stages=(Stage(name="judge", questions=asking("judge"), yes=KEEP, no=DROP),),
    )
    assert share_asked("large", {"c": tree(0.1), "d": first}, OWNERS) == 1.0
    assert share_asked("third", {"c": tree(0.1)}, OWNERS) == 1.0
