"""The members of an evaluation: networks' scores, fresh or from files, and submission files. No torch."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ssdet_cli.catalog import nearest
from ssdet_cli.config import rundir
from ssdet_cli.config.commands import EvaluateConfig
from ssdet_cli.config.rundir import checkpoint_file
from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.class_names import class_difference
from ssdet_cli.data.lengths import with_decoded_lengths
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.evaluation import ranks
from ssdet_cli.evaluation.ensemble import Averaged, Member, averaged, check_weights, refuse_unlike
from ssdet_cli.evaluation.facts import Facts, MemberFacts
from ssdet_cli.evaluation.interface import EvaluationProtocol, VideoScores
from ssdet_cli.evaluation.score_files import (
    NetworkScores,
    ScoreFile,
    is_saved_scores,
    is_score_file,
    read_scores,
    write_scores,
)
from ssdet_cli.files import refuse_unwritable
from ssdet_cli.recipes.screen import Screen

#: The prediction file that an evaluation leaves.
SUBMISSION = "submission.txt"
#: What it leaves.
WRITTEN = ("config.yaml", "metrics.json", SUBMISSION, "report.html", ranks.FILE)


@dataclass(frozen=True)
class Source:
    """Where one member's scores are from.

    Attributes:
        path: As it was given.
        kind: checkpoint, scores or submission.
        sha256: Of the file.
        network: What a network said; None of a submission file, whose content depends on the protocol.
        name: For messages; of several networks in one file it says which.
    """

    path: Path
    kind: str
    sha256: str
    network: NetworkScores | None = None
    name: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for members that say the same: the SHA-256 and, of a network, how it saw the videos."""
        if self.network is None:
            return (self.sha256,)
        return self.network.sha256, repr(sorted(self.network.sampling.items()))

    def facts(self, weight: float) -> MemberFacts:
        """What a result says of it."""
        network = self.network
        if network is None:
            return MemberFacts(str(self.path), self.sha256, self.kind, weight)
        if self.kind == "checkpoint":
            return MemberFacts(network.checkpoint, self.sha256, self.kind, weight, sampling=network.sampling)
        return MemberFacts(
            str(self.path), self.sha256, self.kind, weight, network.checkpoint, network.sha256, network.sampling
        )


@dataclass(frozen=True)
class Gathered:
    """All members under one protocol.

    Attributes:
        averaged: What is scored.
        facts: What it was made of.
        notes: Oddities of the files, and what single members lack.
    """

    averaged: Averaged
    facts: Facts
    notes: tuple[str, ...] = field(default=())


def sha256_of(path: Path) -> str:
    """Of a file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error


def from_checkpoint(path: Path, network: NetworkScores) -> Source:
    """A network that has just been run; `path` is how it was named."""
    return Source(path, "checkpoint", network.sha256, network, str(path))


def read_files(paths: Sequence[Path], videos: VideoSet) -> list[Source]:
    """The members in prediction files: a file of saved scores has one for each of its networks.

    Raises:
        DataError: A file of scores cannot be read, or its classes or videos are not those of the annotations.
    """
    found = []
    for path in paths:
        if not is_score_file(path):
            found.append(Source(path, "submission", sha256_of(path), name=str(path)))
            continue
        content, digest = read_scores(path), sha256_of(path)
        _refuse_foreign(path, content, videos)
        several = len(content.networks) > 1
        found += [
            Source(path, "scores", digest, network, f"{path} ({network.checkpoint})" if several else str(path))
            for network in content.networks
        ]
    return found


def _refuse_foreign(path: Path, content: ScoreFile, videos: VideoSet) -> None:
    if other := class_difference(content.classes, videos.classes):
        raise DataError(f"{path} holds scores of other classes than {videos.source} ({other}).")
    known = {record.video_id for record in videos.records}
    held = {score.video_id for network in content.networks for score in network.scores}
    if not held:
        raise DataError(f"{path} holds no predictions.")
    if unknown := sorted(held - known):
        hint = nearest(unknown[0], known)
        raise DataError(
            f"{path} holds scores of {len(unknown)} videos that {videos.source} ({videos.name}) does not hold, the "
            f"first: '{unknown[0]}'.{hint}"
        )


def gathered(
    cfg: EvaluateConfig, protocol: EvaluationProtocol, videos: VideoSet, sources: Sequence[Source]
) -> Gathered:
    """Bring all members to the times of a protocol and average them as the configuration says.

    Raises:
        ConfigError: They cannot be averaged; see `averaged`.
        DataError: A submission file cannot be read, or is of other times.
    """
    members, notes = [], []
    for source in sources:
        if source.network is not None:
            members.append(Member.of_network(source.name, source.network.scores))
            continue
        submission = protocol.read_submission(source.path, videos)
        notes += submission.notes
        members.append(Member(source.name, submission=submission))
    found = averaged(
        protocol,
        videos,
        members,
        weights=cfg.weights,
        average=cfg.average,
        smooth=cfg.smooth,
        allow_missing=cfg.allow_missing,
        # Hours of passing videos through a network are not thrown away for it.
        refuse_idle=all(source.kind != "checkpoint" for source in sources),
    )
    weights = check_weights(cfg.weights, [source.name for source in sources])
    members_told = tuple(source.facts(weight) for source, weight in zip(sources, weights.tolist(), strict=True))
    return Gathered(found, Facts(members_told, cfg.average, cfg.smooth), (*notes, *found.notes, *_twice(sources)))


def _twice(sources: Sequence[Source]) -> list[str]:
    """A sentence for each member that is there before; the same network at another sampling is another one."""
    said: list[str] = []
    known: dict[tuple[str, ...], Source] = {}
    for source in sources:
        first = known.setdefault(source.identity, source)
        if first is not source:
            both = first.name if first.name == source.name else f"{first.name} and {source.name}"
            said.append(f"{both}: the same member twice (SHA-256 {source.identity[0][:12]}), which counts twice.")
    return said


def check_files(cfg: EvaluateConfig) -> None:
    """See that prediction files can be read several times: what they are, their SHA-256, their lines.

    Raises:
        ConfigError: One is a folder or a pipe.
    """
    for path in cfg.predictions:
        if path.is_dir():
            raise ConfigError(f"predictions={path} is a folder; give a file.")
        if path.exists() and not path.is_file():
            raise ConfigError(f"predictions={path} is a pipe, which can be read only once; write it to a file first.")


def check_output(cfg: EvaluateConfig) -> None:
    """See that what an evaluation leaves in `run.output` takes the place of nothing but an earlier evaluation.

    Raises:
        ConfigError: A file is read here, or is where the scores are to be kept, or is of another origin.
        CheckpointError: A checkpoint is not there.
    """
    folder = cfg.run.output
    places = [folder / name for name in WRITTEN]
    if cfg.save_predictions is not None and _place(cfg.save_predictions) in map(_place, places):
        raise ConfigError(
            f"save_predictions={cfg.save_predictions} would be lost: the evaluation writes a file of that name itself; "
            "give another file."
        )
    there = [place for place in places if os.path.lexists(place)]
    if not there:
        return
    for key, file in _inputs(cfg):
        read = [place for place in there if place.exists() and file.exists() and file.samefile(place)]
        if read and not (as_it_is(cfg) and read[0].name == SUBMISSION):
            raise ConfigError(f"{read[0]} is read here ({key}) and would be lost; give another --output.")
        there = [place for place in there if place not in read]
    if there and rundir.command_of(folder) != cfg.command:
        raise ConfigError(
            f"run.output={folder} holds a {there[0].name} that is of no earlier evaluation and would be lost; give "
            "another --output."
        )


def as_it_is(cfg: EvaluateConfig) -> bool:
    """Whether what is scored is one submission file, unchanged, which is then what is left as the submission."""
    return (
        len(cfg.predictions) == 1 and not cfg.checkpoints and not cfg.smooth and not is_score_file(cfg.predictions[0])
    )


def _place(path: Path) -> Path:
    """Where a file is or would be, whichever way it is written."""
    return path.parent.resolve() / path.name


def check_save(cfg: EvaluateConfig) -> None:
    """See that the scores that are to be kept can be written, before anything is computed.

    Raises:
        ConfigError: The place is a folder, cannot be written, or holds a file that would be lost: one that this
            evaluation reads, or one that holds no saved scores.
        CheckpointError: A checkpoint is not there.
    """
    path = cfg.save_predictions
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"save_predictions={path} is a folder; give a file, such as {path / 'scores.npz'}.")
    refuse_unwritable(path.parent, "the folder of save_predictions")
    if not os.path.lexists(path):
        return
    for key, file in _inputs(cfg):
        if file.exists() and path.exists() and file.samefile(path):
            raise ConfigError(f"save_predictions={path} is read here ({key}) and would be lost; give another file.")
    if not is_saved_scores(path):
        raise ConfigError(
            f"save_predictions={path} is there already and holds no scores of --save-predictions; give another file."
        )


def _inputs(cfg: EvaluateConfig) -> list[tuple[str, Path]]:
    """Key -> file that an evaluation reads."""
    found = [("checkpoints", checkpoint_file(path)) for path in cfg.checkpoints]
    found += [("predictions", path) for path in cfg.predictions]
    if cfg.data is not None and cfg.data.annotations is not None:
        found.append(("data.annotations", cfg.data.annotations))
    if cfg.fine.weights is not None:
        found.append(("fine.weights", checkpoint_file(cfg.fine.weights)))
    return found


def check_before_passing(
    cfg: EvaluateConfig, protocols: Sequence[EvaluationProtocol], videos: VideoSet, files: Sequence[Source]
) -> None:
    """See that files go with the checkpoints before a video goes through those.

    Raises:
        ConfigError: Weights are missing, or scores cannot be averaged or saved with what networks say.
        DataError: A submission file is none of a protocol.
    """
    check_weights(cfg.weights, [*map(str, cfg.checkpoints), *(source.name for source in files)])
    _refuse_to_save_lines(cfg, files)
    networks = [Member.of_network(str(path), ()) for path in cfg.checkpoints]
    for protocol in protocols:
        lines = [
            Member(source.name, submission=protocol.read_submission(source.path, videos))
            for source in files
            if source.network is None
        ]
        refuse_unlike([*networks, *lines], cfg.average)


def _refuse_to_save_lines(cfg: EvaluateConfig, sources: Sequence[Source]) -> None:
    text = next((source for source in sources if source.network is None), None)
    if cfg.save_predictions is not None and text is not None:
        raise ConfigError(
            f"save_predictions keeps what networks said, and {text.path} is a submission file; leave one of them out."
        )


def beside_earlier(path: Path) -> Path:
    """Where scores go that are not all that was asked for: earlier ones, which may be, stay."""
    return path.with_name(f"{path.stem}.partial{path.suffix}") if os.path.lexists(path) else path


def save(cfg: EvaluateConfig, videos: VideoSet, sources: Sequence[Source], path: Path | None = None) -> None:
    """Write what all networks said, if that is asked for; `path` is where, in place of `save_predictions`.

    Raises:
        ConfigError: A submission file is among the members.
        SsdetError: It cannot be written.
    """
    path = path or cfg.save_predictions
    if path is None:
        return
    _refuse_to_save_lines(cfg, sources)
    order = {record.video_id: place for place, record in enumerate(videos.records)}
    networks = tuple(
        replace(source.network, scores=tuple(sorted(source.network.scores, key=lambda score: order[score.video_id])))
        for source in sources
    )
    origin = {"annotations": str(videos.source), "annotations_sha256": videos.sha256, "split": cfg.split}
    write_scores(path, ScoreFile(videos.classes, networks, origin))
    count = max(len(network.scores) for network in networks)
    Screen(stderr=True).print(
        f"Wrote {path}: scores of {count:,} videos by {len(networks)} network(s).",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def with_lengths(videos: VideoSet, sources: Sequence[Source]) -> VideoSet:
    """Fill in the lengths of the files where the annotations tell none, and note it."""
    lengths: Mapping[str, Any] = {
        score.video_id: score.duration_seconds
        for source in reversed(sources)
        if source.network is not None
        for score in source.network.scores
    }
    filled, count = with_decoded_lengths(videos, lengths)
    if not count:
        return videos
    told = f"{count} videos have no annotated duration that holds: that of their files is taken."
    return replace(filled, notes=(*videos.notes, told))


def readers_of(scores: Iterable[VideoScores]) -> dict[str, int]:
    """Video reader -> videos that it read; members of an ensemble read the same ones."""
    return dict(Counter(backend for _, backend in sorted({(score.video_id, score.backend) for score in scores})))


def all_readers(sources: Sequence[Source]) -> dict[str, int] | None:
    """The video readers of all networks; None where there is no network."""
    networks = [source.network for source in sources if source.network is not None]
    return readers_of(score for network in networks for score in network.scores) if networks else None
