"""What loading a weights file did."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadReport:
    """Outcome of `load_weights`, names as in the model's state dict.

    Attributes:
        path: The file.
        layout: Whose naming it uses.
        matched: Taken from the file as they are.
        missing: Kept as the model had them: absent from the file, or there in another shape.
        unexpected: In the file but not in the model, or there in another shape.
        adapted: What was done about the classifier, one phrase each.
    """

    path: str
    layout: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    adapted: tuple[str, ...]

    def summary(self) -> str:
        """Return the outcome as one line."""
        parts = [f"{len(self.matched)} tensors loaded from {self.path} ({self.layout} layout)"]
        for label, names in (("kept as initialised", self.missing), ("not used", self.unexpected)):
            if names:
                parts.append(f"{len(names)} {label} ({names[0]}{', …' if len(names) > 1 else ''})")
        return "; ".join([*parts, *self.adapted]) + "."
