"""The report of a study: tables, plots, and a sentence for each question."""
