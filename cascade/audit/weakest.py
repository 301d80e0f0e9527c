"""The question of an audit that errs most, which another adapter may answer better. Pure."""

from __future__ import annotations

from collections.abc import Collection

from cascade.audit.audit import Audit, QuestionAudit


def weakest(found: Audit, adapters: Collection[str]) -> QuestionAudit | None:
    """The yes/no question with the highest balanced error, of those that surely err; None where none does.

    Balanced, because a question whose answer is mostly no errs seldom even if it finds nothing.

    Args:
        found: The audit.
        adapters: Those that may be trained; questions of others are passed over.
    """
    err = [each for each in found.questions if each.adapter in adapters and each.errors.error.low > 0]
    told = [(each.errors.balanced, each) for each in err]
    known = [(balanced, each) for balanced, each in told if balanced is not None]
    return max(known, key=lambda one: one[0])[1] if known else None
