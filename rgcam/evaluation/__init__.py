"""Methods x measures on clips: how explanation methods compare, as tables.

=============  ==========================================================================
module         holds
=============  ==========================================================================
``clips``      the clips to measure on, with their ground truth
``controls``   corrupted explanations, and references that a method must beat
``measure``    one clip, all methods: every measure of ``rgcam.metrics``
``tables``     many clips: means and paired margins with intervals over groups
``detection``  how well the faithfulness check tells genuine from corrupted explanations
=============  ==========================================================================

The command is ``python -m rgcam evaluate``.
"""
