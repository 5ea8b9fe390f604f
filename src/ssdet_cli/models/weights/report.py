"""What loading a weights file did."""

from dataclasses import dataclass

from ssdet_cli.models.weights.layout import Normalization


@dataclass(frozen=True)
class LoadReport:
    """Outcome of `load_weights`, names as in the model's state dict.

    Attributes:
        path: The file.
        layout: Whose naming it uses.
        matched: Taken from the file.
        missing: Kept as the model had them: absent from the file, or there in another shape or for other classes.
        unexpected: In the file but not in the model, or there in another shape or for other classes.
        adapted: What was changed on the way, one phrase each: the classifier, shapes, statistics, normalisation.
        normalization: Mean and standard deviation of the input that the weights were trained with; None where the file
            does not tell.
        replaced: Prefixes of those missing and unexpected of which `adapted` speaks: the classifier, or the head.
    """

    path: str
    layout: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    adapted: tuple[str, ...]
    normalization: Normalization | None = None
    replaced: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return the outcome as one line; of what was replaced the phrase in `adapted` says enough."""
        parts = [f"{len(self.matched)} tensors loaded from {self.path} ({self.layout} layout)"]
        for label, listed in (("kept as initialised", self.missing), ("not used", self.unexpected)):
            if names := [name for name in listed if not name.startswith(self.replaced)]:
                parts.append(f"{len(names)} {label} ({names[0]}{', …' if len(names) > 1 else ''})")
        return "; ".join([*parts, *self.adapted]) + "."

    def details(self) -> str:
        """Return the summary and a line for every tensor and every adaptation."""
        kinds = {
            "adapted": self.adapted,
            "kept as initialised": self.missing,
            "not used": self.unexpected,
            "loaded": self.matched,
        }
        return "\n".join([self.summary(), *(f"  {kind}: {name}" for kind, names in kinds.items() for name in names)])


def in_words(normalization: Normalization) -> str:
    """Return `mean 0.45, 0.45, 0.45, std 0.225, 0.225, 0.225`."""
    mean, std = (", ".join(f"{value:.4g}" for value in part) for part in normalization)
    return f"mean {mean}, std {std}"
