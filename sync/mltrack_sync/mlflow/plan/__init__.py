"""What is pending, and how it becomes bounded requests."""
