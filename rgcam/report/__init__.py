"""One explained clip: its record, and everything that is shown of it.

==========  ======================================================================
record      the record of one clip: typed arrays, numbers and sentences; its
            summary.json and the text for the terminal
explain     ``explain_clip``: compute and check a record from a model and a clip
overlay     frames under heat maps, with a timeline; colour scales
plots       Matplotlib figures: the strip of frames, the matrix
explorer    the interactive page, one HTML file; its sources are in ``page/``
thumbnails  a few frames under their maps, for lists of videos
writer      the files of a record; PNG, GIF and MP4 files
notebook    the page in a notebook: ``rgcam.show``
summary     many explained videos: accuracy, faithfulness and attribution by class
overview    the page of a summary; its sources are in ``summary_page/``
long        one video of any length: explained piece by piece
==========  ======================================================================

Nothing is imported here, so that a model can be explained without Matplotlib and PyAV.
"""
