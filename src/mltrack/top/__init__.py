"""`mltrack top`: a live screen of a store, as models that know nothing of a terminal, and Textual's widgets in tui."""
