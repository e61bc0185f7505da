"""Words: pronunciations, synonyms, pair lists."""
