"""The thesis's tables, its numbers beside ours."""
