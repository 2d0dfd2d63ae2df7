"""This process and its children: its limits, how it ends, and servers it runs."""
