"""What a service allows its callers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TOKEN_VARIABLE = "CASCADE_SERVE_TOKEN"  # noqa: S105 - the variable's name, not the token
"""Environment variable that holds the bearer token."""

ADMIN_VARIABLE = "CASCADE_ADMIN_TOKEN"
"""Environment variable that holds the bearer token of ``/v1/admin``, which is not there without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """Limits of a service, and who may use it.

    Attributes:
        max_body: Most bytes of a request's body.
        max_items: Most items of a request.
        max_text: Most characters of one text: all seeds of a task, a question, or any field of an item but its text.
        max_long_text: Most characters of a task or of an item's source text, which are read in full for evidence.
        max_calls: Most requests that are read or answered at once; more are told to come back.
        body_s: Seconds that a body may take to arrive.
        retry_after_s: Seconds after which a caller that was turned away should try again.
        aliases: Name that callers may give as a model -> the name of what it means.
        token: The bearer token that callers must show; None lets everybody in.
        admin_token: The one that callers of ``/v1/admin`` must show in its place; None for no such endpoints.
    """

    max_body: int = 8 * 1024 * 1024
    max_items: int = 10_000
    max_text: int = 8_000
    max_long_text: int = 1_000_000
    max_calls: int = 512
    body_s: float = 30.0
    retry_after_s: int = 1
    aliases: Mapping[str, str] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)
    admin_token: str | None = field(default=None, repr=False)
