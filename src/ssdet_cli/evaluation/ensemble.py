"""From what networks and files say of videos to one score per row: times, smoothing, weighted means.

Shape letters: T sampled frames of a video, L times that a protocol scores, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.evaluation.interface import (
    EvaluationProtocol,
    RecordLike,
    Submission,
    VideoScores,
    VideoSetLike,
    interpolate,
)
from ssdet_cli.evaluation.segments import smoothed_scores

Average = Literal["probabilities", "logits"]
#: Where logits are averaged, a file's scores of 0 and 1 stand this far from them: logits of -20.7 and 20.7.
LEAST = 1e-9
#: Where scores are smoothed, a class and its absence have this probability at least.
_TINY = 1e-15
#: Rows of several members are the same time if they differ by less, seconds.
_SAME_TIME = 1e-3


@dataclass(frozen=True)
class Member:
    """One voice of an ensemble: a network, or a submission file.

    Attributes:
        name: For messages.
        scores: Video id -> what the network said; None is a file's.
        submission: What the file says.
    """

    name: str
    scores: Mapping[str, VideoScores] | None = None
    submission: Submission | None = None

    @classmethod
    def of_network(cls, name: str, scores: Sequence[VideoScores]) -> "Member":
        """What a network said of some videos."""
        return cls(name, {score.video_id: score for score in scores})

    @property
    def held(self) -> Mapping[str, object]:
        """By video id; what is held matters to nobody."""
        return self.submission.predictions if self.scores is None else self.scores


@dataclass(frozen=True)
class Averaged:
    """What is scored.

    Attributes:
        predictions: Video id -> (L, K) float64; -inf in rows of which nobody says anything.
        seconds: Video id -> (L,); None where only files speak and do not say them.
        notes: What single members lack.
    """

    predictions: dict[str, np.ndarray]
    seconds: dict[str, np.ndarray] | None
    notes: tuple[str, ...] = ()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities, in float64: in float32 large logits would become ties at 1."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))


def check_weights(weights: Sequence[float], names: Sequence[str]) -> np.ndarray:
    """The members' parts of the whole, (M,); alike where none are given.

    Raises:
        ConfigError: They are not as many as the members.
    """
    if not weights:
        return np.full(len(names), 1 / len(names))
    if len(weights) != len(names):
        given = ",".join(f"{weight:g}" for weight in weights)
        count = f"{len(names)} numbers" if len(names) > 1 else "1 number"
        raise ConfigError(f"weights={given} must be {count}, one for each of: {', '.join(names)}.")
    return np.array(weights, dtype=np.float64) / np.sum(weights)


def averaged(
    protocol: EvaluationProtocol,
    video_set: VideoSetLike,
    members: Sequence[Member],
    *,
    weights: Sequence[float] = (),
    average: Average = "probabilities",
    smooth: float = 0.0,
    allow_missing: bool = False,
) -> Averaged:
    """Scores at the times of a protocol, over all members.

    A network's logits are interpolated to those times: of several networks, to the times that the first one gives them.
    Files speak at their own times, which must be the same.

    Args:
        protocol: Says the times.
        video_set: Annotations; predictions come in their order.
        members: At least one.
        weights: See `check_weights`.
        average: Mean of the probabilities, or the sigmoid of the mean of the logits.
        smooth: Every member's scores are first averaged over so many seconds, at its own times; see `smoothed_scores`.
        allow_missing: Where a member says nothing of a video or a row, take the mean of those that do.

    Raises:
        ConfigError: Members hold different videos or rows without `allow_missing`, or scores that cannot be averaged.
        DataError: They stand at different times.
    """
    parts = check_weights(weights, [member.name for member in members])
    refuse_unlike(members, average)
    if not allow_missing:
        _refuse_gaps(members)
    predictions: dict[str, np.ndarray] = {}
    seconds: dict[str, np.ndarray] = {}
    lacking = np.zeros((len(members), 2), dtype=np.int64)
    for record in video_set.records:
        speaking = [number for number, member in enumerate(members) if record.video_id in member.held]
        if not speaking:
            continue
        times = _times(protocol, record, [members[number] for number in speaking])
        if times is not None:
            seconds[record.video_id] = times
        lacking[[number for number in range(len(members)) if number not in speaking], 0] += 1
        if len(members) == 1:
            predictions[record.video_id] = _probabilities(*_said(protocol, members[0], record, times, smooth))
            continue
        said = [_said(protocol, members[number], record, times, smooth) for number in speaking]
        rows = np.stack([~np.isneginf(values).all(axis=1) for values, _ in said])
        lacking[speaking, 1] += (rows.any(axis=0) & ~rows).sum(axis=1)
        if not allow_missing and (rows.any(axis=0) != rows.all(axis=0)).any():
            without = members[speaking[int(np.argmin(rows.sum(axis=1)))]].name
            raise ConfigError(
                f"{without} lacks rows of {record.video_id} that another member holds; complete it, or give "
                "--allow-missing to average what there is."
            )
        predictions[record.video_id] = _mean(said, rows, parts[speaking], average)
    timed = any(member.scores is not None or member.submission.seconds is not None for member in members)
    return Averaged(predictions, seconds if timed else None, _notes(members, lacking))


def refuse_unlike(members: Sequence[Member], average: Average) -> None:
    """See that the scores of files are probabilities, or averaged with their like and as they are.

    Raises:
        ConfigError: They are not.
    """
    if average == "probabilities" and all(member.scores is None for member in members):
        return
    odd = next((member for member in members if member.scores is None and not _within(member.submission)), None)
    if odd is None:
        return
    if average == "logits":
        raise ConfigError(
            f"average=logits: {odd.name} holds scores outside 0 to 1, of which there are no logits; "
            "leave out --average logits."
        )
    networks = [member.name for member in members if member.scores is not None]
    if networks:
        raise ConfigError(
            f"{odd.name} holds scores outside 0 to 1, which cannot be averaged with the probabilities of {networks[0]}."
        )


def _within(submission: Submission) -> bool:
    for scores in submission.predictions.values():
        known = scores[~np.isneginf(scores).all(axis=1)]
        if known.size and not (known.min() >= 0 and known.max() <= 1):
            return False
    return True


def _refuse_gaps(members: Sequence[Member]) -> None:
    for member in members[1:]:
        odd = sorted(members[0].held.keys() ^ member.held.keys())
        if odd:
            first, other = members[0].name, member.name
            where = first if odd[0] in members[0].held else other
            raise ConfigError(
                f"{first} and {other} hold different videos: {len(odd)} are in one of them only, such as {odd[0]} in "
                f"{where}; give --allow-missing to average what there is."
            )


def _times(protocol: EvaluationProtocol, record: RecordLike, members: Sequence[Member]) -> np.ndarray | None:
    """(L,) times at which a video is scored, after all members were found to speak of the same ones."""
    network = next((member for member in members if member.scores is not None), None)
    times = protocol.frame_seconds(record, network.scores[record.video_id]) if network is not None else None
    first = network or members[0]
    for member in members:
        if member.scores is not None:
            continue
        own = _own_times(member, record.video_id)
        count = len(member.submission.predictions[record.video_id])
        expected = len(times) if times is not None else len(first.submission.predictions[record.video_id])
        if count != expected:
            raise DataError(
                f"{first.name} and {member.name} hold {record.video_id} at different times ({expected:,} rows "
                f"and {count:,})."
            )
        if times is None:
            times = own
        elif own is not None and (apart := np.abs(own - times) > _SAME_TIME).any():
            at = int(apart.argmax())
            raise DataError(
                f"{first.name} and {member.name} hold {record.video_id} at different times: row {at + 1} is at "
                f"{times[at]:.3f} s and {own[at]:.3f} s."
            )
    return times


def _own_times(member: Member, video_id: str) -> np.ndarray | None:
    return None if member.submission.seconds is None else member.submission.seconds[video_id]


def _said(
    protocol: EvaluationProtocol, member: Member, record: RecordLike, times: np.ndarray | None, smooth: float
) -> tuple[np.ndarray, bool]:
    """(L, K) of one member, and whether they are logits."""
    if member.scores is not None:
        score = member.scores[record.video_id]
        return interpolate(_smoothed_logits(score, smooth), score.seconds, times), True
    values = member.submission.predictions[record.video_id]
    if smooth and len(values) > 1:
        own = _own_times(member, record.video_id)
        values = smoothed_scores(values, protocol.frame_seconds(record, None) if own is None else own, smooth)
    return values, False


def _smoothed_logits(score: VideoScores, width: float) -> np.ndarray:
    """(T, K): of the probabilities' moving average. Class and absence are averaged apart, which keeps certain ones
    apart that are both 1 as numbers.
    """
    if not width:
        return score.logits
    present, absent = (
        np.maximum(smoothed_scores(sigmoid(sign * score.logits), score.seconds, width), _TINY) for sign in (1, -1)
    )
    return np.log(present) - np.log(absent)


def _probabilities(values: np.ndarray, logits: bool) -> np.ndarray:
    return sigmoid(values) if logits else values


def _mean(said: Sequence[tuple[np.ndarray, bool]], rows: np.ndarray, parts: np.ndarray, average: Average) -> np.ndarray:
    """(L, K) weighted mean over the members that hold a row; -inf where none does."""
    total = parts @ rows
    mean = np.zeros(said[0][0].shape)
    for (values, logits), held, part in zip(said, rows, parts, strict=True):
        if average == "probabilities":
            one = _probabilities(values, logits)
        elif logits:
            one = values.astype(np.float64)
        else:
            inside = np.clip(values, LEAST, 1 - LEAST)
            one = np.log(inside) - np.log1p(-inside)
        mean[held] += (part / total[held])[:, None] * one[held]
    mean = sigmoid(mean) if average == "logits" else mean
    mean[total == 0] = -np.inf
    return mean


def _notes(members: Sequence[Member], lacking: np.ndarray) -> tuple[str, ...]:
    said = []
    for member, (videos, rows) in zip(members, lacking.tolist(), strict=True):
        what = [f"{count:,} {kind}" for count, kind in ((videos, "videos"), (rows, "rows")) if count]
        if what:
            said.append(f"{member.name} lacks {' and '.join(what)} that other members hold: theirs alone are averaged.")
    return tuple(said)
