"""What ties symbols and files to a task: words, mentions, references and history, as facts that a model reads."""
