"""What an engine was asked and answered, and what became of it, kept in one SQLite file."""
