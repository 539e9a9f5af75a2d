"""Other people's cases and recorded answers, one file a format."""
