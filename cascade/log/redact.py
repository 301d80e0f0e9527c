"""Secrets are taken out of texts before anything is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from functools import cache, lru_cache
from typing import Any

from cascade.errors import MachineError
from cascade.machine import install_extra

Redactor = Callable[[str], str]
"""A text -> the text that may be written."""

REDACTED = "[redacted]"

_OWN = re.compile(
    r"-----BEGIN ([A-Z0-9 ]+)-----.*?(?:-----END \1-----|\Z)"  # the detectors find its first line alone
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"  # a JSON web token, of which they leave the signature
    r"|(?i:\b(?:bearer|basic)\s+)[\w.~+/=-]{16,}",
    re.DOTALL,
)
_KEPT, _SHORT = 4_096, 1_000  # texts that are remembered, which come again with every task, and their most characters
_LEAST = 4  # characters; what is shorter stands in words everywhere
_LONG = 40  # characters of a run that is looked at although it has no digit
_RUN, _DIGIT = re.compile(r"[A-Za-z0-9+/_=-]{20,}"), re.compile("[0-9]")
_KEYS = re.compile(r"(?:api|auth|service|account|db|database|priv|private|client)_?key|\bap[0-9a-f]")
_SIGNS = (
    *("password", "passwd", "pwd", "secret", "contrase", "db_pass", "dbpass", "database_pass", "key_pass", "keypass"),
    *("begin ", "bearer", "basic", "eyj", "xox", "glpat", "k_live", "a3t", "abia", "acca", "akia", "asia", "akc"),
)
"""Words, in small letters, of passwords and of tokens that may be short, or have no digit."""


def is_suspect(text: str) -> bool:
    """Whether a text, or the JSON of several, has what every detector needs somewhere; others are left, quickly."""
    small = text.lower()
    return (
        any(sign in small for sign in _SIGNS)
        or ("://" in small and "@" in small)
        or any(len(run) >= _LONG or _DIGIT.search(run) for run in _RUN.findall(text))
        or (("key" in small or "ap" in small) and _KEYS.search(small) is not None)
    )


class SecretRedactor:
    """Puts ``[redacted]`` in place of private keys, access tokens, and passwords in assignments and addresses.

    The detectors are those of detect-secrets (the extra ``log``), without its tests of entropy, which take hashes and
    long names for secrets.

    Raises:
        MachineError: The package is not installed.
    """

    def __init__(self) -> None:
        self._detectors = _detectors()
        self._clean = lru_cache(maxsize=_KEPT)(self._redacted)

    def __call__(self, text: str) -> str:
        """The text without its secrets."""
        if not is_suspect(text):
            return text
        return self._clean(text) if len(text) <= _SHORT else self._redacted(text)

    def _redacted(self, text: str) -> str:
        text = _OWN.sub(REDACTED, text)
        for secret in sorted(set(self._found(text)), key=len, reverse=True):
            text = text.replace(secret, REDACTED)
        return text

    def _found(self, text: str) -> Iterator[str]:
        for line in text.splitlines():
            if is_suspect(line):
                for analyse in self._detectors:
                    yield from (secret for secret in analyse(line) if len(secret) >= _LEAST)


@cache
def _detectors() -> tuple[Callable[[str], Iterator[str]], ...]:
    try:
        from detect_secrets.core.plugins.util import (  # noqa: PLC0415 - the extra `log` may be absent
            get_mapping_from_secret_type_to_class,
        )
        from detect_secrets.plugins.high_entropy_strings import (  # noqa: PLC0415 - as above
            HighEntropyStringsPlugin,
        )
        from detect_secrets.plugins.ip_public import IPPublicDetector  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        msg = (
            f"{package} is not installed, which finds secrets in texts of the log. Run `{install_extra('log')}`, or "
            'set redact = false or texts = "hash" under [log].'
        )
        raise MachineError(msg) from error
    kinds: Collection[type] = get_mapping_from_secret_type_to_class().values()
    left = (HighEntropyStringsPlugin, IPPublicDetector)
    return tuple(_finder(kind()) for kind in kinds if not issubclass(kind, left))


def _finder(detector: Any) -> Callable[[str], Iterator[str]]:
    """Where a detector is a list of patterns, all that one matches: its groups may be a mere prefix of the secret."""
    if "analyze_string" in type(detector).__dict__ or not hasattr(detector, "denylist"):
        found: Callable[[str], Iterator[str]] = detector.analyze_string
        return found
    return lambda line: (match.group() for pattern in detector.denylist for match in pattern.finditer(line))
