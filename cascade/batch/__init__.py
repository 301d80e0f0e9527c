"""Many tasks at once: rows in, rows out, in a job that goes on where it stopped and does not end with one bad row."""
