"""Measures of explanations: do they follow the model, and do they lie on the truth? Pure.

=================  ====================================================================
module             holds
=================  ====================================================================
``selfcheck``      the faithfulness check of one clip's maps: score, threshold, verdict
``faithfulness``   agreement of importances with the effects of removing frames
``deletion``       removal of frames and cells, deletion and insertion curves
``localization``   pointing game, energy, IoU, average precision against known masks
``randomization``  sanity checks: randomised models, similarity of explanations
``statistics``     accuracy, confusion, correlations, intervals over groups
``verify``         beta against its definition, by loops and finite differences
=================  ====================================================================

Import the modules themselves: ``from rgcam.metrics import selfcheck``.
"""
