"""Speech with words, phones and speakers."""
