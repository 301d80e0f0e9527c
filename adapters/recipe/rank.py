"""Training of the ranker: a small network over signals, on all views of the mined tasks."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapters.recipe.mine import LABELS, Mined, View
from cascade.evaluation.metrics import auc, auc_per_task
from cascade.evidence.ranker import Network, Ranker, log_p_changes
from cascade.evidence.signals import Columns

SHARES = {"none": 0.35, "right": 0.25, "wrong": 0.14, "own": 0.13, "source": 0.13}
"""How often a task is seen in each view."""

_PRIMARY = LABELS.index("primary")
_UNREAD = 0.5  # weight of a candidate whose label nobody read
_HIDDEN = (64, 32)
_MEMBERS = 3
_EPOCHS, _BATCH, _RATE = 14, 16, 4e-3
_LISTED = 0.2  # weight of which candidates come first, beside how likely each is


@dataclass(frozen=True, slots=True)
class Example:
    """A view as tensors: signals (n, s), targets (n, o) with NaN where a question is not put, weights (n,)."""

    signals: Tensor
    targets: Tensor
    weights: Tensor


class Net(nn.Module):
    """One member of ``cascade.evidence.ranker.Network``."""

    def __init__(self, n_signals: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.first = nn.Linear(n_signals, _HIDDEN[0])
        self.second = nn.Linear(*_HIDDEN)
        self.last = nn.Linear(_HIDDEN[1], len(rates))
        self.direct = nn.Linear(n_signals, len(rates), bias=False)
        self.drop = nn.Dropout(0.2)
        with torch.no_grad():
            self.direct.weight.zero_()
            self.last.bias.copy_(torch.tensor([np.log(rate / (1 - rate)) for rate in rates]))

    def forward(self, x: Tensor) -> Tensor:
        """(n, s) -> (n, o) log odds."""
        hidden = self.drop(F.silu(self.first(x)))
        return self.last(self.drop(F.silu(self.second(hidden)))) + self.direct(x)


def train_ranker(mined: Sequence[Mined], seed: int) -> Ranker:
    """A ranker of symbols and of files."""
    return Ranker(
        symbols=_network(mined, _symbol_example, lambda view: view.symbols, seed),
        files=_network(mined, _file_example, lambda view: view.files, seed),
    )


def _network(
    mined: Sequence[Mined], example: Callable[[View], Example | None], columns: Callable[[View], Columns], seed: int
) -> Network:
    tasks = [views for one in mined if (views := _views(one, example))]
    signals = torch.cat([one.signals for views in tasks for one in views.values()])
    mean, scale = signals.mean(0), signals.std(0) + 1e-3
    del signals
    nets = [_train(tasks, mean, scale, seed + member) for member in range(_MEMBERS)]
    return Network(
        signals=names_of(columns(mined[0].views[0])),
        mean=mean.numpy(),
        scale=scale.numpy(),
        first=_layers([net.first for net in nets]),
        second=_layers([net.second for net in nets]),
        last=_layers([net.last for net in nets]),
        direct=np.stack([net.direct.weight.detach().numpy().T for net in nets]),
    )


def _layers(layers: Sequence[nn.Linear]) -> np.ndarray:
    """Weights of k layers with their biases as the last row; (k, i + 1, j)."""
    return np.stack([torch.cat((one.weight.T, one.bias[None])).detach().numpy() for one in layers])


def _views(one: Mined, example: Callable[[View], Example | None]) -> dict[str, Example]:
    made = {view.name: example(view) for view in one.views}
    return {name: found for name, found in made.items() if found is not None}


def names_of(columns: Columns) -> tuple[str, ...]:
    """The signals that a network reads, in order."""
    return tuple(sorted(columns))


def _table(columns: Columns) -> Tensor:
    return torch.tensor(np.stack([columns[name].astype(np.float32) for name in names_of(columns)], axis=1))


def _symbol_example(view: View) -> Example | None:
    if not len(view.labels):
        return None
    matters = view.labels > 0
    changes = np.where(matters, view.labels == _PRIMARY, np.nan)
    return Example(
        _table(view.symbols),
        torch.tensor(np.stack([matters, changes], axis=1).astype(np.float32)),
        torch.tensor(np.where(view.is_labelled, 1.0, _UNREAD).astype(np.float32)),
    )


def _file_example(view: View) -> Example | None:
    if not view.records:
        return None
    paths = view.corpus.paths
    chosen = np.array([at for at, path in enumerate(paths) if path not in view.seeds])
    best = chosen[np.argsort(-view.files["words_share"][chosen])[:60]]
    rows = np.array([at for at in chosen if paths[at] in view.records or paths[at] in view.changed or at in set(best)])
    table = _table(view.files)[rows]
    targets = np.array([[paths[at] in view.changed] for at in rows], np.float32)
    return Example(table, torch.tensor(targets), torch.ones(len(rows)))


def _train(tasks: Sequence[dict[str, Example]], mean: Tensor, scale: Tensor, seed: int) -> Net:
    """A net that has seen every task fourteen times, each time in a view drawn anew."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    targets = torch.cat([one.targets for views in tasks for one in views.values()])
    net = Net(len(mean), [float(column[~column.isnan()].mean()) for column in targets.T])
    optimiser = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=0.02)
    steps = _EPOCHS * len(tasks) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps, pct_start=0.1)
    order: list[int] = []
    for step in range(steps):
        if len(order) < _BATCH:
            order = rng.sample(range(len(tasks)), len(tasks))
        batch = [_drawn(tasks[order.pop()], rng) for _ in range(_BATCH)]
        signals = ((torch.cat([one.signals for one in batch]) - mean) / scale).clamp(-4, 4)
        loss = _loss(net(signals), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            print(f"ranker: step {step} of {steps}, loss {loss.item():.3f}", flush=True)
    return net.eval()


def _drawn(views: dict[str, Example], rng: random.Random) -> Example:
    names = [name for name in views if name in SHARES]
    return views[rng.choices(names, [SHARES[name] for name in names])[0]]


def _loss(odds: Tensor, batch: Sequence[Example]) -> Tensor:
    """Cross-entropy of every question, and of which of a task's candidates are yes."""
    targets, weights = torch.cat([one.targets for one in batch]), torch.cat([one.weights for one in batch])
    total = odds.new_zeros(())
    for place in range(odds.shape[1]):
        asked = ~targets[:, place].isnan()
        each = F.binary_cross_entropy_with_logits(odds[asked, place], targets[asked, place], reduction="none")
        total = total + (each * weights[asked]).sum() / weights[asked].sum()
    listed = odds.new_zeros(())
    joint = odds.split([len(one.weights) for one in batch])
    for found, one in zip(joint, batch, strict=True):
        # what must be changed: log p(matters) + log p(changes | matters), against all candidates
        both = F.logsigmoid(found).sum(1) if found.shape[1] > 1 else found[:, 0]
        hits = one.targets[:, -1] == 1
        if hits.any():
            listed = listed - F.log_softmax(both, 0)[hits].mean()
    return total + _LISTED * listed / len(batch)


def measure(ranker: Ranker, mined: Sequence[Mined], view: str) -> dict[str, float]:
    """How well a ranker orders the candidates of one view: AUCs on rows whose label was read, and who comes first.

    ``first5`` is the share of tasks with all changed functions among the first five of the whole tree.
    """
    found: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {"matters": [], "changes": [], "files": []}
    first = {1: 0, 5: 0, 10: 0, 50: 0, 100: 0, 200: 0}
    n_ranked = 0
    for number, one in enumerate(mined):
        seen = next((each for each in one.views if each.name == view and len(each.labels)), None)
        if seen is None:
            continue
        odds = ranker.symbols.log_odds(seen.symbols)
        read, labels = seen.is_labelled, seen.labels
        found["matters"].append((odds[read, 0], labels[read] > 0, np.full(read.sum(), number)))
        hit = labels > 0
        found["changes"].append((odds[hit, 1], labels[hit] == _PRIMARY, np.full(hit.sum(), number)))
        if one.gold and seen.records:
            n_ranked += 1
            ids = [symbol.id for symbol in seen.corpus.symbols if symbol.kind != "class"]
            kinds = np.array([symbol.kind != "class" for symbol in seen.corpus.symbols])
            order = np.argsort(-log_p_changes(odds)[kinds], kind="stable")
            for most in first:
                first[most] += one.gold <= {ids[at] for at in order[:most]}
        if seen.records:
            rows = [at for at, path in enumerate(seen.corpus.paths) if path in seen.records]
            truth = np.array([seen.corpus.paths[at] in seen.changed for at in rows], np.bool_)
            found["files"].append((ranker.files.log_odds(seen.files)[rows, 0], truth, np.full(len(rows), number)))
    scores = {f"first{most}": 100 * n / n_ranked for most, n in first.items() if n_ranked}
    for question, rows in found.items():
        if rows:
            odds, truths, tasks = (np.concatenate(column) for column in zip(*rows, strict=True))
            scores[f"{question} per task"] = auc_per_task(odds, truths, tasks)
            scores[f"{question} pooled"] = auc(odds, truths)
    return scores
