"""Text on its way out: made safe for a screen, without secrets, and printed in one place."""
