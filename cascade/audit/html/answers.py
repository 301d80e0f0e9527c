"""What items are given and asked: the confusion of labels, and calls per item. Pure numpy."""

from __future__ import annotations

import numpy as np

from cascade.audit.html.chart import Axis, Bars, Cells, Chart, Table
from cascade.audit.html.subject import Subject
from cascade.config.figures import Figure
from cascade.evaluation.metrics import accuracy, macro_f1


def confusion(subject: Subject) -> Chart:
    """True labels against those given."""
    labels = subject.cascade.labels
    counts = subject.replayed.confusion(subject.scored.labels, len(labels))
    sums = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / sums
    texts = tuple(
        tuple(f"{share:.0%}\n{n:,}" for share, n in zip(*pair, strict=True))
        for pair in zip(shares.tolist(), counts.tolist(), strict=True)
    )
    rows = [
        (label, *(f"{n:,} ({share:.1%})" for share, n in zip(*pair, strict=True)))
        for label, *pair in zip(labels, shares.tolist(), counts.tolist(), strict=True)
    ]
    return Chart(
        name="confusion",
        title="What is taken for what",
        caption=(
            "Each row is a true label: the share of its items that each label was given to, and how many they are. "
            f"Accuracy {accuracy(counts):.3f}, {Figure.MACRO_F1_OVER_ROWS.words} {macro_f1(counts):.3f}."
        ),
        x=Axis.of_names("label given", labels),
        y=Axis.of_names("", labels),
        marks=(Cells(shares=tuple(map(tuple, shares.tolist())), texts=texts),),
        table=Table(head=("true label", *labels), rows=tuple(rows)),
    )


def calls_per_item(subject: Subject) -> Chart:
    """How many probes items take."""
    calls = subject.replayed.calls
    counts = np.bincount(calls)
    shares = (counts / calls.size).tolist()
    mean = float(calls.mean())
    return Chart(
        name="calls",
        title="Calls per item",
        caption=f"{mean:.2f} on average, {int(calls.max())} at most; {shares[0]:.0%} of the items take none.",
        x=Axis.of_names("calls", [str(n) for n in range(counts.size)]),
        y=Axis.of_shares("share of the items", 0.0, min(1.0, max(shares) * 1.12)),
        marks=(
            Bars(
                points=tuple((float(n), share) for n, share in enumerate(shares)),
                texts=tuple(f"{share:.0%}" for share in shares),
                width=0.7,
            ),
        ),
        table=Table(
            head=("calls", "items", "share"),
            rows=tuple((str(n), f"{counts[n]:,}", f"{share:.1%}") for n, share in enumerate(shares)),
        ),
    )
