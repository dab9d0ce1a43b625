"""Policy files, shipped as data beside the code (see README.md)."""
