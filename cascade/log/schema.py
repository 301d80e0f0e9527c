"""Tables of the log, and how a file of an older version is brought up to this one."""

from __future__ import annotations

FIRST = """
CREATE TABLE bodies (
    hash TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE requests (
    id TEXT PRIMARY KEY, at REAL NOT NULL, cascade TEXT NOT NULL, tree TEXT NOT NULL, task TEXT NOT NULL,
    provenance TEXT NOT NULL, is_scoring INTEGER NOT NULL, error TEXT NOT NULL, stats TEXT NOT NULL,
    task_body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX requests_at ON requests (at);
CREATE INDEX requests_task ON requests (task);

CREATE TABLE decisions (
    request TEXT NOT NULL REFERENCES requests (id) ON DELETE CASCADE, place INTEGER NOT NULL,
    item TEXT NOT NULL, body TEXT NOT NULL, label TEXT NOT NULL, status TEXT NOT NULL, p_label REAL,
    cause TEXT NOT NULL,
    PRIMARY KEY (request, place)
) WITHOUT ROWID;
CREATE INDEX decisions_item ON decisions (item);

CREATE TABLE calls (
    request TEXT NOT NULL, place INTEGER NOT NULL, n INTEGER NOT NULL,
    stage TEXT NOT NULL, tier TEXT NOT NULL, question TEXT NOT NULL, adapter TEXT NOT NULL, made_by TEXT NOT NULL,
    model TEXT NOT NULL, threshold REAL NOT NULL, no_below REAL, p_yes REAL, p_calibrated REAL, other TEXT,
    answer TEXT NOT NULL,
    ms REAL, tokens REAL,
    PRIMARY KEY (request, place, n),
    FOREIGN KEY (request, place) REFERENCES decisions (request, place) ON DELETE CASCADE
) WITHOUT ROWID;

CREATE TABLE outcomes (
    id TEXT PRIMARY KEY, at REAL NOT NULL, task TEXT NOT NULL, item TEXT NOT NULL, what TEXT NOT NULL,
    label TEXT NOT NULL, value REAL NOT NULL, source TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX outcomes_task ON outcomes (task, item);

CREATE TABLE answers (
    key BLOB PRIMARY KEY, at REAL NOT NULL, logit REAL NOT NULL, other TEXT
) WITHOUT ROWID;

CREATE TABLE losses (at REAL NOT NULL, n INTEGER NOT NULL);
"""
"""Version 1.

``bodies`` has what many rows share, once, as JSON under its SHA-256: trees, provenances, questions, and where texts are
kept tasks and items. ``calls.other`` and ``answers.other`` have the probabilities, or logits, of the values of a choice
or score. ``losses`` says how many entries could not be written.
"""

SHADOWS = """
CREATE TABLE shadows (
    request TEXT NOT NULL, place INTEGER NOT NULL, stage TEXT NOT NULL, tier TEXT NOT NULL,
    adapter TEXT NOT NULL, made_by TEXT NOT NULL, p_yes REAL NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (request, place, stage, tier, made_by),
    FOREIGN KEY (request, place) REFERENCES decisions (request, place) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX shadows_made_by ON shadows (made_by);
"""
"""Version 2: what adapters in the shadow have answered beside the calls of the same request, place, stage and tier."""

SHADOW_VALUES = """
CREATE TABLE shadow_answers (
    request TEXT NOT NULL, place INTEGER NOT NULL, stage TEXT NOT NULL, tier TEXT NOT NULL,
    adapter TEXT NOT NULL, made_by TEXT NOT NULL, p_yes REAL, other TEXT, at REAL NOT NULL,
    PRIMARY KEY (request, place, stage, tier, made_by),
    FOREIGN KEY (request, place) REFERENCES decisions (request, place) ON DELETE CASCADE
) WITHOUT ROWID;
INSERT INTO shadow_answers SELECT request, place, stage, tier, adapter, made_by, p_yes, NULL, at FROM shadows;
DROP TABLE shadows;
ALTER TABLE shadow_answers RENAME TO shadows;
CREATE INDEX shadows_made_by ON shadows (made_by);
"""
"""Version 3: ``shadows.other`` has the probabilities of the values of a choice or score, which has no ``p_yes``, in the
order of those of the call beside."""

MIGRATIONS = (FIRST, SHADOWS, SHADOW_VALUES)
"""At place n: the statements that lead from version n to version n + 1."""

VERSION = len(MIGRATIONS)
"""The version that is written; a file has it as ``user_version``."""
