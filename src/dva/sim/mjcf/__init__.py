"""Reading robots from MJCF files."""
