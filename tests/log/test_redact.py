"""Secrets in texts: none of many kinds reaches the file of a log, by whichever way it comes, and words stay."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cascade import DecisionLog, Group, Item, Task
from cascade.log.redact import REDACTED, SecretRedactor
from cascade.machine import install_extra
from tests.helpers.shipped import CASCADES
from tests.log.logs import bytes_of, requests_of, scripted

ROOT = Path(__file__).parents[2]
_LETTERS = "Zq7Wm2Xc9Vb4Nt6Ky1Lp8Rj3Hg5Fd0Sa"
"""Stands for what chance makes; the kinds are put together here, so that no scanner takes this file for a leak."""

KINDS = {
    "AWS key": ("AKIA" + "Q7WM2XC9VB4NT6KY", "{}"),
    "AWS secret": (_LETTERS + "Qw3Er5Ty", "aws_secret_access_key = '{}'"),
    "GitHub": ("ghp_" + _LETTERS + "abcd", "curl -H 'Authorization: token {}'"),
    "GitLab": ("glpat-" + _LETTERS[:20], "{}"),
    "Slack": ("xoxb-" + "123456789012-" + _LETTERS[:24], "slack said {} today"),
    "Stripe": ("sk_live_" + _LETTERS[:24], "{}"),
    "OpenAI": ("sk-" + _LETTERS[:20] + "T3BlbkFJ" + _LETTERS[:20], "{}"),
    "SendGrid": ("SG." + _LETTERS[:22] + "." + (_LETTERS * 2)[:43], "{}"),
    "Twilio": ("SK" + "0123456789abcdef" * 2, "{}"),
    "npm": ("npm_" + _LETTERS + "Qw3E", "//registry.npmjs.org/:_authToken={}"),
    "PyPI": ("pypi-AgEIcHlwaS5vcmc" + _LETTERS * 3, "{}"),
    "Azure": ((_LETTERS * 3)[:86] + "==", "AccountKey={}"),
    "JWT": ("eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + _LETTERS, "cookie {}"),
    "password": ("hunter2hunter2", "password = '{}'"),
    "address": ("s3cr3tpass", "postgres://admin:{}@db.example/x"),
    "bearer": (_LETTERS, "Authorization: Bearer {}"),
    "private key": (_LETTERS + _LETTERS, "-----BEGIN RSA " + "PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_secrets_are_taken_out_and_words_stay(kind: str) -> None:
    """In the middle of a text of several lines, and all of the secret."""
    secret, form = KINDS[kind]
    found = SecretRedactor()(f"first line of the task\n{form.format(secret)}\nlast line")
    assert secret not in found
    assert REDACTED in found
    assert found.startswith("first line of the task\n")
    assert found.endswith("\nlast line")


def test_no_way_leads_secrets_into_the_file(tmp_path: Path) -> None:
    """Tasks, seeds, every field of an item, its group, a caller's own question, and errors that quote any of them."""
    secrets = [(secret, form.format(secret)) for secret, form in KINDS.values()]

    def fail(_: object) -> None:
        raise ValueError("; ".join(text for _, text in secrets))

    precision = CASCADES["precision"]
    first = precision.first
    with DecisionLog(tmp_path / "log.sqlite3", texts="full") as log:
        with scripted(log) as engine:
            for at, (_, text) in enumerate(secrets):
                group = Group(name=f"a.py {text}", evidence=(text,))
                item = Item(
                    id=str(at), kind=text, name=text, signature=text, doc=text, text=text, evidence=(text,), group=group
                )
                engine.classify(Task(text=f"task {text}", seeds=(text,)), [item])
                asked = {tier: replace(question, wording=text) for tier, question in first.questions.items()}
                own = replace(precision, stages=(replace(first, questions=asked), *precision.stages[1:]))
                asyncio.run(engine.ascore("fix it", [item], own))
            with pytest.raises(ValueError, match="hunter2"):
                engine.classify("fix it", [Item(id="1", name="n")], on_decision=fail)
        held = bytes_of(log.path)
        texts = [request.task_body.value["text"] for request in requests_of(log.path)]
        assert log.n_lost == 0
    assert [secret for secret, _ in secrets if secret.encode() in held] == []
    assert len(texts) == 2 * len(secrets) + 1
    assert any(REDACTED in text and text.startswith("task ") for text in texts)


@pytest.mark.parametrize(
    "text",
    [
        "fix the parser when the token is at the end of a line",
        "def authenticate(user: User, password: str) -> Token:",
        "0b9c2f5d8e7a4c1b6f3e0d9a8b7c6d5e4f3a2b1c is the commit that broke it",
        "see https://docs.python.org/3/library/json.html#json.dumps and src/very_long_name_of_a_module.py",
        "SecretRedactor._redacted keeps api_key_of_the_config_file as it is",
    ],
)
def test_plain_texts_are_left_as_they_are(text: str) -> None:
    """Words about secrets, names, hashes of commits and addresses are none."""
    assert SecretRedactor()(text) == text


def test_long_texts_are_read_to_their_end() -> None:
    """A source of a megabyte, and lines of the worst kind for patterns."""
    redact, (secret, form) = SecretRedactor(), KINDS["password"]
    for text in (
        "def name(self):\n    return self.token.value\n" * 20_000,
        "eyJ" + "a" * 200_000,
        "password = " * 9_000,
    ):
        found = redact(f"{text}\n{form.format(secret)}")
        assert secret not in found
        assert len(found) > len(text) / 2


def test_a_function_of_ones_own_may_stand_in(tmp_path: Path) -> None:
    """It gets every text, and what it returns is written."""
    with DecisionLog(tmp_path / "log.sqlite3", texts="full", redact=str.upper) as log:
        with scripted(log) as engine:
            engine.classify("fix it", [Item(id="id", name="parse")])
        (request,) = requests_of(log.path)
    assert request.task_body.value == {"text": "FIX IT"}
    assert request.decisions[0].body.value["name"] == "PARSE"
    assert request.decisions[0].item == request.decisions[0].body.value["id"] == "id"


@pytest.mark.slow
def test_without_the_extra_the_message_says_what_to_install(tmp_path: Path) -> None:
    """Full texts need it; hashes, and texts as they are, do not."""
    code = (
        "import sys; sys.modules['detect_secrets'] = None; from cascade import DecisionLog\n"
        "DecisionLog(sys.argv[1]).close(); DecisionLog(sys.argv[1], texts='full', redact=str).close()\n"
        "DecisionLog(sys.argv[1], texts='full')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log.sqlite3")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "MachineError: detect_secrets is not installed" in done.stderr
    assert install_extra("log") in done.stderr
