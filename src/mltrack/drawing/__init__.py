"""Charts, sparklines and tables as HTML, SVG and Braille, from plain values: for reports, notebooks and terminals."""
