"""The widgets of `mltrack top`: they draw a Board, and change it by keys and mouse."""
