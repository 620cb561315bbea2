"""Tools for plugin authors: new projects, builds, a development server, conformance tests and benchmarks."""
