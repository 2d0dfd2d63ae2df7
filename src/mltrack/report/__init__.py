"""Reports: what runs have in common and where they differ, collected as values and written as HTML, Markdown, PNG."""
