"""What a person reads: a page, Markdown, CSV and LaTeX, drawn from stored scores only."""
