"""Guards: rules on what live runs log, and what is done when one of them finds something."""
