"""OpenAI-compatible servers: ``POST /v1/completions``, one token with log-probabilities.

vLLM, SGLang and llama-cpp-python's own server speak it. The adapter is the ``model``; SGLang wants the base
model's name before it, as ``base:adapter``. vLLM is asked for exactly the labels by their token ids. The
others give their top-k tokens as text. If a label is missing from them, the k-th log-probability is an upper bound for
it, which bounds p(yes). The bound is used if it lies within ``MOST_BOUND`` of 0 or 1; otherwise the answer is an error.
Likewise of a choice or score: labels that are missing may have at most that probability together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, log
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
from cascade.errors import ServerError
from cascade.probability import odds_of_likeliest, softmax
from cascade.prompt import Labels
from cascade.stages import BASE

PATH = "/v1/completions"

MOST_BOUND = 0.01
"""How far from 0 or 1 a p(yes) may be of which only a bound is known."""

_LEAST_GAP = log((1 - MOST_BOUND) / MOST_BOUND)


class CompletionsApi:
    """See ``ServerApi``."""

    is_together = False
    n_shared = 1

    def __init__(self, setup: ServerSetup) -> None:
        self._peer = setup
        self._models: dict[str, str] = {}
        self._is_vllm = False

    def fetch_info(self, call: Call) -> ServerInfo:
        """See ``ServerApi.fetch_info``."""
        try:
            cards = {str(card["id"]): dict(card) for card in call("/v1/models")["data"]}
            bases = [name for name, card in cards.items() if not card.get("parent")]
            base = self._peer.config.model or bases[0]
        except UNLIKE as error:
            msg = f"lists no models as OpenAI's API does ({error!r})"
            raise MalformedError(msg) from error
        self._peer.check_model(bases)
        owner = cards[base].get("owned_by")
        self._is_vllm = owner == "vllm"
        if self._is_vllm and self._peer.prompts.labels is not None:
            self._peer.check_labels(self._find_labels(call, base))
        self._models = {name: self._model(name, base, cards, owner) for name in self._peer.adapters}
        longest = cards[base].get("max_model_len")
        return ServerInfo(model=base, max_prompt=longest - 1 if isinstance(longest, int) else None)

    def asks(self, queries: Sequence[Query]) -> Iterator[HttpRequest]:
        """See ``ServerApi.asks``; one request for each query."""
        for place, query in enumerate(queries):
            yield HttpRequest(path=PATH, body=self._body(query), places=(place,), labels=query.labels)

    def read(self, ask: HttpRequest, answer: Any) -> Answer:
        """See ``ServerApi.read``."""
        try:
            top = {str(text): number(p) for text, p in answer["choices"][0]["logprobs"]["top_logprobs"][0].items()}
            usage = dict(answer.get("usage") or {})
            computed, details = int(usage.get("prompt_tokens", 0)), dict(usage.get("prompt_tokens_details") or {})
            reused, model = int(details.get("cached_tokens") or 0), answer.get("model")
        except UNLIKE as error:
            msg = f"has no log-probabilities: {str(answer)[:500]}"
            raise MalformedError(msg) from error
        asked = ask.body["model"]
        if asked in self._adapter_models and isinstance(model, str) and model != asked:
            problem = f"answered as {model!r} when {asked!r} was asked. Load that adapter there"
            raise self._peer.refusal(problem)
        if ask.labels is None:
            return Answer(logits=(self._logit(top),), computed=computed - reused, reused=reused)
        values = self._values(top, ask.labels)
        found = odds_of_likeliest(values)
        return Answer(logits=(found,), values={0: values}, computed=computed - reused, reused=reused)

    @property
    def _adapter_models(self) -> set[str]:
        return {model for name, model in self._models.items() if self._peer.adapters[name].name != BASE}

    def _find_labels(self, call: Call, base: str) -> list[list[int]]:
        """The tokens of both labels, as vLLM finds them."""
        texts = (self._peer.prompts.yes, self._peer.prompts.no)
        bodies = [{"model": base, "prompt": text, "add_special_tokens": False} for text in texts]
        try:
            return [list(call("/tokenize", body)["tokens"]) for body in bodies]
        except UNLIKE as error:
            msg = f"does not tokenise ({error!r})"
            raise MalformedError(msg) from error

    def _model(self, adapter: str, base: str, cards: Mapping[str, Mapping[str, Any]], owner: object) -> str:
        """The ``model`` that asks an adapter of the map."""
        name = self._peer.adapters[adapter].name
        if name in {BASE, base}:
            return base
        if name not in cards:
            raise self._peer.lacks(adapter, [other for other in cards if other != base])
        parent = cards[name].get("parent")
        if parent is not None and parent != base:
            problem = (
                f"has the adapter {name!r} on the base model {parent!r}, not on {base!r}. Load one for {base!r} there, "
                f"or set servers.{self._peer.name}.model"
            )
            raise self._peer.refusal(problem)
        return f"{base}:{name}" if owner == "sglang" else name

    def _body(self, query: Query) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._models[query.adapter],
            "prompt": self._peer.prompt(query),
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": self._peer.config.top_logprobs,
        }
        if self._is_vllm:
            body["add_special_tokens"] = False
            tokens = query.labels.tokens if query.labels is not None else self._peer.prompts.labels
            if tokens:
                body |= {"logprob_token_ids": list(tokens), "return_tokens_as_token_ids": True}
        return body

    def _logit(self, top: Mapping[str, float]) -> float:
        """Log odds of yes against no; of the bound where one of them is missing.

        Raises:
            ServerError: Too little is known.
        """
        prompts = self._peer.prompts
        yes_id, no_id = prompts.labels or (None, None)
        yes = top.get(f"token_id:{yes_id}", top.get(prompts.yes))
        no = top.get(f"token_id:{no_id}", top.get(prompts.no))
        lowest = min(top.values(), default=0.0)
        found = (lowest if yes is None else yes) - (lowest if no is None else no)
        if not isfinite(found):
            msg = f"gives log-probabilities that are no numbers: {dict(top)}"
            raise NoNumberError(msg)
        if (yes is None or no is None) and abs(found) < _LEAST_GAP:
            raise self._missing(top)
        return found

    def _values(self, top: Mapping[str, float], labels: Labels) -> list[float]:
        """The log-probability of each label; that of the least likely token for those that are missing.

        Raises:
            ServerError: These might be likely together.
        """
        known = [
            top.get(f"token_id:{token}", top.get(text)) for text, token in zip(labels.texts, labels.tokens, strict=True)
        ]
        lowest = min(top.values(), default=0.0)
        found = [lowest if p is None else p for p in known]
        if not all(map(isfinite, found)):
            msg = f"gives log-probabilities that are no numbers: {dict(top)}"
            raise NoNumberError(msg)
        p_missing = sum(p for p, own in zip(softmax(found).tolist(), known, strict=True) if own is None)
        if p_missing > MOST_BOUND:
            raise self._missing(top, labels.texts)
        return found

    def _missing(self, top: Mapping[str, float], labels: Sequence[str] = ()) -> ServerError:
        shown = ", ".join(repr(text) for text in list(top)[:5])
        sought = " and ".join(map(repr, labels or (self._peer.prompts.yes, self._peer.prompts.no)))
        return self._peer.refusal(
            f"does not say how likely the labels {sought} are; its "
            f"{len(top)} likeliest tokens are {shown} and so on. Raise servers.{self._peer.name}.top_logprobs, or see "
            "that prompt format, model and adapter belong together"
        )
