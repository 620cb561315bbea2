"""Does a plugin keep the contract? Almost eighty checks, each in a process of its own.

``checks/`` holds them, one module for each group; ``catalogue`` is their list. A check runs in a process (``child``)
that has nothing but the plugin (``subject``) in it, so that whatever the plugin does there is a verdict and no
accident: ``runner`` starts the processes by way of ``launch``, kills what does not end, and collects the results;
``report`` writes them down.

A check that cannot tell anything, because one that it builds on did not pass, is skipped: a defect is reported once.
"""
