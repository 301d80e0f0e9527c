"""Labelled tasks for training: built from the log and from files, looked over by people, labelled by an oracle."""
