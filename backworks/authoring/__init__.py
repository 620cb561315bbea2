"""For who writes a plugin: a new project, its build, and a server that follows what is saved."""
