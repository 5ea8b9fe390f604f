"""What a score was made of: which networks and files, what each counted for, and what was done to their scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class MemberFacts:
    """One member of what was scored; a score of one network or file has one.

    Attributes:
        file: Checkpoint, file of saved scores, or submission file.
        sha256: Of that file.
        kind: checkpoint, scores or submission.
        weight: Its part of the mean; those of all members add up to 1.
        checkpoint: Whose scores they are, where they were saved.
        checkpoint_sha256: Of that checkpoint.
        sampling: How the network saw the videos: stride or seconds between frames, size, window, crops, shifts; empty
            for a submission file.
    """

    file: str
    sha256: str
    kind: str
    weight: float
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """Of all members.

    Attributes:
        members: In the order of their weights.
        average: What was averaged, probabilities or logits.
        smooth: Seconds over which scores were averaged in time; 0 is none.
    """

    members: tuple[MemberFacts, ...]
    average: str = "probabilities"
    smooth: float = 0.0


def told(facts: Facts | None) -> str:
    """One phrase about what is not usual: an ensemble, smoothing, crops, shifts. Empty where there is nothing."""
    if facts is None:
        return ""
    said = []
    if len(facts.members) > 1:
        weights = [member.weight for member in facts.members]
        alike = max(weights) - min(weights) < 1e-12
        parts = "" if alike else f" ({', '.join(f'{100 * weight:.3g} %' for weight in weights)})"
        said.append(f"{'mean' if alike else 'weighted mean'} of the {facts.average} of {len(weights)} members{parts}")
    if facts.smooth:
        said.append(f"smoothed over {facts.smooth:g} s")
    for kind in ("crops", "shifts"):
        counts = sorted({member.sampling.get(kind, 1) for member in facts.members})
        if counts != [1]:
            said.append(f"{' and '.join(map(str, counts))} {kind}")
    return "; ".join(said)
