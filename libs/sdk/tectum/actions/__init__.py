"""The canonical action, its coordinate frames and its dialects."""
