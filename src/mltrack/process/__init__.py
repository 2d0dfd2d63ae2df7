"""This process and its children: what it may still take, how it ends, and servers it runs."""
