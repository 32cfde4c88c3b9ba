r"""Do first frames tell which clips were cut from the same recording?

    python benchmarks/near_duplicates.py --videos=FOLDER [--pattern='_g(\d+)_']

FOLDER holds <Class>/<clip>, whose recording the pattern finds in its name. Prints, for the
recordings that choose the threshold of ``rgcam.data.near_duplicates`` (groups 8 to 25 of
UCF101) and for the others, which share of the clips begins like another one, and which does
if only the first clip of each recording is kept.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.data import near_duplicates, video

CHOOSE_FROM = 8  # groups from this number on choose the threshold
LEVELS = (0.8, 0.85, 0.9, 0.95, 0.98)


def main(arguments: list[str] | None = None) -> None:
    """Decode the first frames, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", required=True, help="folder of class folders")
    parser.add_argument(
        "--pattern", default=r"_g(\d+)_", help="of a recording's number"
    )
    options = parser.parse_args(arguments)
    match_of = {
        file: re.search(options.pattern, file.name)
        for file in sorted(Path(options.videos).glob("*/*.*"))
    }
    files = [file for file, match in match_of.items() if match]
    numbers = [int(match[1]) for match in match_of.values() if match]
    frames = [video.read_clip(file, 10.0, end=0.5).frames[0] for file in files]
    signatures = np.stack([near_duplicates.signature(frame) for frame in frames])
    recordings = [
        f"{file.parent.name} {n}" for file, n in zip(files, numbers, strict=True)
    ]
    print("| recordings | clips | correlation above | all | one of each recording |")
    print("|---|---|---|---|---|")
    for title, is_part in (
        (f"from {CHOOSE_FROM} on", np.array(numbers) >= CHOOSE_FROM),
        (f"below {CHOOSE_FROM}", np.array(numbers) < CHOOSE_FROM),
    ):
        part = signatures[is_part]
        names = np.array(recordings)[is_part]
        alone = part[np.unique(names, return_index=True)[1]]
        for level in LEVELS:
            shares = [
                f"{100 * share(part, level):.0f} %",
                f"{100 * share(alone, level):.0f} %",
            ]
            print(
                f"| {title} | {len(part)} | {level} | {' | '.join(shares)} |",
                flush=True,
            )


def share(signatures: Float[np.ndarray, "N D"], level: float) -> float:
    """Return the share of clips whose first frame correlates with another's above a level."""
    if len(signatures) < 2:
        return 0.0
    correlation = signatures @ signatures.T
    np.fill_diagonal(correlation, 0)
    return float((correlation.max(1) > level).mean())


if __name__ == "__main__":
    main()
