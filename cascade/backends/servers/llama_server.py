"""llama.cpp's server: ``POST /completion``, one token, the adapters by their scales.

Two things make the answers right and p(yes) exact. Every request names the scale of every adapter,
because one that names none takes over a slot's cache under whatever adapter filled it (llama.cpp
issue 26207). And both labels get the same bias, so that they are the two most likely tokens and their
probabilities after sampling are those among yes and no.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from cascade.backends.base import Query
from cascade.backends.servers.api import (
    UNLIKE,
    Answer,
    Call,
    HttpRequest,
    MalformedError,
    NoNumberError,
    ServerInfo,
    ServerSetup,
    number,
)
from cascade.probability import odds_of_likeliest, sure_log, sure_logit
from cascade.stages import BASE

PATH = "/completion"

_BIAS = 100.0
"""Added to both labels' logits, which lifts them above all others and leaves their difference as it is."""


class LlamaServerApi:
    """See ``ServerApi``; the server has to be started with ``--lora`` for each adapter."""

    is_together = False
    n_shared = 1

    def __init__(self, setup: ServerSetup) -> None:
        self._peer = setup
        self._labels = (-1, -1)
        self._scales: dict[str, list[dict[str, float]]] = {}

    def fetch_info(self, call: Call) -> ServerInfo:
        """See ``ServerApi.fetch_info``."""
        try:
            (card,) = call("/v1/models")["data"]
            props = call("/props")
            path, n_ctx = str(props["model_path"]), int(props["default_generation_settings"]["n_ctx"])
            cards = call("/lora-adapters")
            loras = {int(lora["id"]): str(lora["path"]) for lora in cards}
            activated = {
                int(lora["id"]): tuple(map(int, tokens))
                for lora in cards
                if (tokens := lora.get("alora_invocation_tokens"))
            }
            names = [str(card["id"]), *_names(path)]
            meta = dict(card.get("meta") or {})
        except UNLIKE as error:
            msg = f"answers as no llama-server does ({error!r})"
            raise MalformedError(msg) from error
        self._peer.check_model(names)
        self._check_shape(meta)
        self._scales = {name: self._scale(name, loras) for name in self._peer.adapters}
        self._labels = self._peer.check_labels(self._find_labels(call))
        # With several slots at work an activated adapter acts on other slots' tokens as well: p(yes) was off by 0.05.
        return ServerInfo(
            model=names[1],
            max_prompt=n_ctx - 1,
            one_at_a_time=bool(activated),
            invocations=self._invocations(activated),
        )

    def asks(self, queries: Sequence[Query]) -> Iterator[HttpRequest]:
        """See ``ServerApi.asks``; one request for each query."""
        for place, query in enumerate(queries):
            labels = query.labels.tokens if query.labels is not None else self._labels
            body = completion_body(self._peer.prompt(query), self._scales[query.adapter], labels)
            yield HttpRequest(path=PATH, body=body, places=(place,), labels=query.labels)

    def read(self, ask: HttpRequest, answer: Any) -> Answer:
        """See ``ServerApi.read``."""
        values: dict[int, Sequence[float]] = {}
        if ask.labels is None:
            found = float(sure_logit(read_p(answer, self._labels)[0]))
        else:
            values[0] = sure_log(read_p(answer, ask.labels.tokens)).tolist()
            found = odds_of_likeliest(values[0])
        timings = answer.get("timings")
        counts = timings if isinstance(timings, dict) else {}
        return Answer(
            logits=(found,), values=values, computed=_count(counts, "prompt_n"), reused=_count(counts, "cache_n")
        )

    def _check_shape(self, meta: Mapping[str, Any]) -> None:
        """Refuse a server whose model has another shape than the model file at hand."""
        model = self._peer.prompts.model
        if model is None:
            return
        ours = {"n_vocab": model.n_vocab, "n_embd": model.n_embd, "n_ctx_train": model.n_ctx_train}
        theirs = {key: meta[key] for key in ours if key in meta}
        if any(theirs[key] != ours[key] for key in theirs):
            problem = f"serves a base model of {theirs}, and that of [model] has {ours}. Serve that one"
            raise self._peer.refusal(problem)

    def _scale(self, adapter: str, loras: Mapping[int, str]) -> list[dict[str, float]]:
        """Every adapter's scale, by its number, where one of the map answers."""
        entry = self._peer.adapters[adapter]
        own = [number for number, path in loras.items() if entry.name in _names(path)]
        if entry.name != BASE and len(own) != 1:
            raise self._peer.lacks(adapter, list(loras.values()))
        return [{"id": number, "scale": entry.scale if number in own else 0.0} for number in loras]

    def _invocations(self, activated: Mapping[int, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """What switches adapters of the map on; of prompts that go as text it cannot be seen."""
        on = {name: [int(lora["id"]) for lora in loras if lora["scale"]] for name, loras in self._scales.items()}
        found = {name: activated[own[0]] for name, own in on.items() if own and own[0] in activated}
        return found if self._peer.sends_tokens else {}

    def _find_labels(self, call: Call) -> list[list[int]]:
        try:
            prompts = self._peer.prompts
            return [list(call("/tokenize", {"content": text})["tokens"]) for text in (prompts.yes, prompts.no)]
        except UNLIKE as error:
            msg = f"does not tokenise ({error!r})"
            raise MalformedError(msg) from error


def completion_body(
    prompt: str | Sequence[int], lora: Sequence[Mapping[str, float]], labels: Sequence[int]
) -> dict[str, Any]:
    """The body of ``POST /completion`` for one query.

    Args:
        prompt: Token ids, or text.
        lora: The scale of every adapter of the server, by its number; those left out are off.
        labels: Token ids of yes and no, or of a question's values.
    """
    return {
        "prompt": prompt if isinstance(prompt, str) else list(prompt),
        "n_predict": 1,
        "cache_prompt": True,
        "temperature": 1.0,
        "samplers": ["top_k"],
        "top_k": len(labels),
        "logit_bias": [[label, _BIAS] for label in labels],
        "n_probs": len(labels),
        "post_sampling_probs": True,
        "lora": list(lora),
    }


def read_p(answer: Any, labels: Sequence[int]) -> list[float]:
    """The probability of each label among them all, in [0, 1], from an answer.

    Raises:
        MalformedError: It does not give a probability for every label.
        NoNumberError: One is no number, or below 0, or all are 0.
    """
    try:
        (entry,) = answer["completion_probabilities"]
        found = {int(token["id"]): number(token["prob"]) for token in entry["top_probs"]}
        p = [found[label] for label in labels]
    except UNLIKE as error:
        msg = f"gives no probability for the labels {list(labels)}: {str(answer)[:500]}"
        raise MalformedError(msg) from error
    if not (min(p) >= 0 and 0 < sum(p) < math.inf):
        msg = f"gives the labels {list(labels)} probabilities that are none: {' and '.join(map(str, p))}"
        raise NoNumberError(msg)
    return [each / sum(p) for each in p]


def _names(path: str) -> tuple[str, ...]:
    """What a file may be called: its name, its name without suffix, its path."""
    pure = PurePath(path)
    return pure.name, pure.stem, path


def _count(table: Mapping[str, Any], key: str) -> int:
    value = table.get(key, 0)
    return value if isinstance(value, int) else 0
