"""Charts, sparklines and tables as HTML and SVG, from plain values: for reports and notebooks."""
