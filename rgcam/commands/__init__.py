"""The command line: the only room with flags and printed text.

=========  ========================================================================
app        run a command: exit codes, errors in one sentence, the compilation cache
options    one typed record of options per command; flags and help derived from it
config     ``--config`` and ``--config.FIELD=VALUE`` of train and preview
explain    explain one video, a long one piece by piece, or many
train      train, resume, test and export a model
summarize  many explained videos as one page and a table
evaluate   measure attribution methods on clips: tables
prepare    make a tensorflow-datasets dataset
preview    draw augmented training clips
demo       upload a video in a browser and see its explanation
=========  ========================================================================

``rgcam COMMAND``, ``python -m rgcam COMMAND`` and the scripts ``explain.py`` and
``train.py`` of a checkout call ``app.main``. Nothing is imported here.
"""

COMMANDS = {
    "explain": "Explain which frames and regions of a video drove a model's prediction.",
    "train": "Train a frame CNN or an LRCN; the same command resumes an interrupted run.",
    "summarize": "Summarize many explained videos: accuracy, faithfulness, attribution.",
    "evaluate": "Measure attribution methods on clips: faithfulness, truth, sanity checks.",
    "prepare": "Make a dataset of UCF11, or of a folder with one sub-folder per class.",
    "preview": "Draw augmented training clips, as the model sees them.",
    "demo": "Serve a page in the browser: upload a video, see its explanation.",
}
"""Every command, with what it does in one sentence."""
