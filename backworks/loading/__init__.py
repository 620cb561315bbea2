"""From a path to a library that is found, read, copied, checked and opened. Nothing here starts a plugin."""
