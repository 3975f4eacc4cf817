"""What a prompt's text means: emphasis, variants and wildcards, tags of fine-tunes."""
