"""Tests a plugin against the ABI contract: nearly 80 checks, each in its own process.

``checks/`` has one module for each group of checks; ``catalogue`` lists them. Each check runs in a process (``child``)
with nothing but the plugin (``subject``) in it, so that even a crash is a result. ``runner`` starts the processes
through ``launch``, kills those that time out, and collects the results; ``report`` formats them.

A check is skipped if one that it depends on did not pass, so that each defect is reported once.
"""
