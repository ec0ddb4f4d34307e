"""The `tectum` command."""
