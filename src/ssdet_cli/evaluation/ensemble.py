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
from ssdet_cli.evaluation.segments import smoothed_scores, smoothing_reaches

Average = Literal["probabilities", "logits"]
#: Where logits are averaged, a file's scores of 0 and 1 stand this far from them: logits of -20.7 and 20.7.
LEAST = 1e-9
#: Where scores are smoothed, a class and its absence have this probability at least.
_TINY = 1e-15
#: Rows of several members are the same time if they differ by less, seconds.
_SAME_TIME = 1e-3
#: A row that lies further than this, and than a step, outside of the time of a network's scores is told.
OUTSIDE = 1.0


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
        notes: What single members lack, rows that networks do not reach, and where smoothing did nothing.
        absent_frames: Rows that files leave out, as far as their times tell; see `row_times`.
    """

    predictions: dict[str, np.ndarray]
    seconds: dict[str, np.ndarray] | None
    notes: tuple[str, ...] = ()
    absent_frames: int = 0


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
    refuse_idle: bool = False,
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
        refuse_idle: Whether `smooth` that changes no row is refused; else it is told.

    Raises:
        ConfigError: Members hold different videos or rows without `allow_missing`, or scores that cannot be averaged;
            or `refuse_idle`, and there is nothing to smooth.
        DataError: They stand at different times.
    """
    parts = check_weights(weights, [member.name for member in members])
    refuse_unlike(members, average)
    if not allow_missing:
        _refuse_gaps(members)
    smoothing = _smoothing(protocol, video_set, members, smooth, refuse_idle) if smooth else ()
    outside = [_Outside(member.name) for member in members]
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
            for number in speaking:
                if members[number].scores is not None:
                    outside[number].look_at(members[number].scores[record.video_id], times)
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
    notes = (*_notes(members, lacking), *(said for one in outside for said in one.notes()), *smoothing)
    if any(member.scores is not None for member in members):
        return Averaged(predictions, seconds if timed else None, notes)  # a file has the rows that a network has
    absent = [member.submission.absent for member in members]
    count = sum(max(one.get(video_id, 0) for one in absent) for video_id in set().union(*absent))
    said = dict.fromkeys(note for member in members for note in member.submission.absent_notes)
    return Averaged(predictions, seconds if timed else None, (*said, *notes), count)


class _Outside:
    """Rows that lie outside of the time of a network's scores, where the first or last one is repeated."""

    def __init__(self, name: str) -> None:
        self._name, self._rows, self._videos, self._first = name, 0, 0, ""

    def look_at(self, score: VideoScores, times: np.ndarray) -> None:
        """Count those of a video, at (L,) times."""
        begin, end = float(score.seconds[0]), float(score.seconds[-1])
        step = float(np.median(np.diff(score.seconds))) if len(score.seconds) > 1 else 0.0
        far = max(step, OUTSIDE)
        odd = (times < begin - far) | (times > end + far)
        count = int(odd.sum())
        if not count:
            return
        self._first = self._first or (
            f"'{score.video_id}', {count:,} of whose {len(times):,} rows, from {times.min():.1f} to {times.max():.1f} "
            f"s, lie outside of its scores, from {begin:.1f} to {end:.1f} s"
        )
        self._rows, self._videos = self._rows + count, self._videos + 1

    def notes(self) -> tuple[str, ...]:
        """A sentence, where there are such rows."""
        if not self._rows:
            return ()
        return (
            f"{self._name}: {self._rows:,} rows of {self._videos:,} videos lie more than {OUTSIDE:g} s (and a step) "
            "before the first or behind the last score of their video, which they repeat: the file of the video may be "
            f"shorter than its annotation, or cut off; the first: {self._first}.",
        )


def _smoothing(
    protocol: EvaluationProtocol, video_set: VideoSetLike, members: Sequence[Member], width: float, refuse: bool
) -> tuple[str, ...]:
    """Sentences on the videos of each member that smoothing leaves as they are.

    Raises:
        ConfigError: `refuse`, and it leaves all of them.
    """
    said, idle = [], True
    for member in members:
        held = [record for record in video_set.records if record.video_id in member.held]
        times = [_member_times(protocol, member, record) for record in held]
        still = [one for one in times if not smoothing_reaches(one, width)]
        idle &= len(still) == len(times)
        steps = [float(np.median(np.diff(one))) for one in still if len(one) > 1]
        if still:
            why = "each has a single row"
            if steps:
                low, high = min(steps), max(steps)
                why = f"their rows are {low:.3g} {f'to {high:.3g} ' if f'{low:.3g}' != f'{high:.3g}' else ''}s apart"
                why += ", and an average takes in others from two such steps on"
            said.append(
                f"smooth={width:g} leaves {len(still):,} of {len(times):,} videos of {member.name} as they are: {why}."
            )
    if said and idle and refuse:
        raise ConfigError(f"{said[0].removesuffix('.')}; leave it out, or give more seconds.")
    return tuple(said)


def _member_times(protocol: EvaluationProtocol, member: Member, record: RecordLike) -> np.ndarray:
    """(T,) times at which a member's scores are smoothed."""
    if member.scores is not None:
        return member.scores[record.video_id].seconds
    own = _own_times(member, record.video_id)
    if own is not None:
        return own
    if len(member.submission.predictions[record.video_id]) < 2:
        return np.zeros(1)
    return protocol.frame_seconds(record, None)


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
        values = smoothed_scores(values, _member_times(protocol, member, record), smooth)
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
