"""Scripted requests: episodes on one engine and one machine, in virtual time and so the same whenever they are run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from benchmarks.virtual_time import VirtualLoop
from cascade import Engine
from cascade.engine.admission import Rules
from cascade.engine.settings import EngineSettings
from cascade.prompt import FORMATS, Node, PromptBuilder
from cascade.stages import SERVED, Question
from tests.fuzz.request_calls import Callers, Tally
from tests.fuzz.request_checks import Checker, Truth
from tests.fuzz.request_machine import ADAPTERS, EXACT, Machine, Trouble, WordTokenizer, answer_of, state_of
from tests.fuzz.request_worlds import Kind, World, random_world

TOLERANCE = 1e-9
"""Of a score; two that differ are a thirty-second apart."""

PATIENCE_S = 1e6
"""Virtual seconds in which every request must have ended."""

KINDS = {Kind.CLASSIFY: 6, Kind.STREAM: 3, Kind.SCORE: 1}
"""How often requests are made in which way."""

_TICK_S = 2e-6  # virtual time that passes whenever somebody looks at the clock
_SETTLING_S = 100.0


class TickingLoop(VirtualLoop):
    """Virtual time that passes a little while something runs, so that pauses come in the midst of work."""

    def time(self) -> float:
        """Virtual seconds."""
        self._clock.now += _TICK_S
        return super().time()


class Episode:
    """Requests on one engine.

    Args:
        seed: Everything follows from it.
        n: Requests.
        machine: What computes; a test may plant a fault in it.
    """

    def __init__(self, seed: int, n: int, machine: type[Machine] = Machine) -> None:
        self._rng = rng = random.Random(seed)
        self._n = n
        few = rng.sample(list(ADAPTERS), 2)
        self._world = random_world(rng, few if rng.random() < 0.2 else list(ADAPTERS))
        builder = PromptBuilder(FORMATS["embedded"], WordTokenizer())
        self._checker = Checker(Truth(self._world, builder, cold(builder), TOLERANCE))
        longest, deepest = _largest(self._world, builder)
        self._machine = machine(
            random.Random(rng.random()),
            max_tokens=round(longest * rng.choice((1.0, 1.0, 1.5, 4.0, 100.0))),
            max_nodes=round(deepest * rng.choice((1.0, 1.0, 1.5, 4.0, 100.0))),
            trouble=_trouble(rng),
        )
        self._rules = Rules(
            max_requests=4 if rng.random() < 0.1 else 1_024, refuses=rng.random() < 0.1, asks_ahead=rng.random() < 0.7
        )
        self._most_items = rng.choice((1, 2, 4, 4, 8))
        self._mean_s = rng.choice((0.05, 0.3, 1.0))
        self._settles_at = rng.randrange(n) if rng.random() < 0.5 else None

    def run(self, patience_s: float) -> Tally:
        """Make all requests and check what comes of them.

        Args:
            patience_s: Real seconds after which the episode counts as hung.
        """
        loop = TickingLoop()
        settings = EngineSettings(new_event_loop=lambda: loop, rules=self._rules)
        engine = Engine(self._machine, self._world.cascades, settings=settings)
        callers = Callers(engine, self._checker, self._machine, self._rules, self._rng)
        try:
            asyncio.run_coroutine_threadsafe(self._all(callers), loop).result(patience_s)
        except TimeoutError:
            callers.tally.fail(f"it has not ended within {patience_s:.0f} s")
            return callers.tally  # closing it would wait as well
        engine.close()
        callers.tally.items, callers.tally.steps = self._checker.n_items, self._checker.n_steps
        return callers.tally

    async def _all(self, callers: Callers) -> None:
        gap_s = self._mean_s * self._rng.choice((0.02, 0.2, 0.2, 1.0, 1.0))
        calls = []
        for number in range(self._n):
            await asyncio.sleep(self._rng.expovariate(1 / gap_s))
            if number == self._settles_at:
                callers.settle()
            asked = self._world.asked(self._rng, KINDS, self._most_items, self._mean_s)
            calls.append(asyncio.get_running_loop().create_task(callers.one(asked)))
        _, waiting = await asyncio.wait(calls, timeout=PATIENCE_S)
        if waiting:
            callers.tally.fail(f"{len(waiting)} requests have not ended")
        for call in waiting:  # left behind, they would raise wherever they are collected
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(_SETTLING_S)  # the last batch may still have to hear that nobody waits for it
        machine, engine = self._machine, callers.engine
        left = {
            "nodes of the planner": engine.n_cached,
            "nodes": len(machine.cached),
            "owed answers": len(machine.owed),
        }
        for problem in (*machine.faults, *(f"{n} {what} are left" for what, n in left.items() if n)):
            callers.tally.fail(problem)
        if not engine.is_open:
            callers.tally.fail("the engine has failed")


def cold(builder: PromptBuilder) -> Callable[[Node, Question], float]:
    """What the machine answers of a prompt that it computes at once from its beginning."""

    def p(item: Node, question: Question) -> float:
        prefix_adapter, state = ADAPTERS[question.adapter], 0
        for node in item.path:
            state = state_of(state, node.tokens, question.adapter if prefix_adapter == SERVED else prefix_adapter)
        return EXACT[answer_of(state, builder.question(item, question.marker).tokens, question.adapter)]

    return p


def _trouble(rng: random.Random) -> Trouble:
    """A machine that is sound, or fails in some ways."""
    if rng.random() < 0.4:
        return Trouble(owes=rng.choice((0.0, 0.3)))

    def share(most: float) -> float:
        return rng.uniform(0, most) if rng.random() < 0.4 else 0.0

    return Trouble(
        fails=share(0.1),
        spoils=share(0.1),
        shorts=share(0.05),
        slow=share(0.2),
        owes=share(1.0),
        unable=share(0.2),
        stops=share(0.2),
    )


def _largest(world: World, builder: PromptBuilder) -> tuple[int, int]:
    """(tokens of the longest prompt, nodes of a path) in a world."""
    longest = deepest = 0
    for cascade in world.cascades.values():
        most, limits = max(map(builder.question_tokens, cascade.questions())), cascade.text_limits()
        for task in world.tasks:
            root = builder.task(cascade.instructions, cascade.questions(), task)
            for item in world.items:
                node = builder.item(builder.group(root, item.group) if item.group is not None else root, item)
                node = builder.text(node, item, limits)[-1] if limits else node
                longest, deepest = max(longest, node.end + most), max(deepest, len(node.path))
    return longest, deepest
