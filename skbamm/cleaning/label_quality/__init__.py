"""Label quality: how probable it is that a given label is right."""
