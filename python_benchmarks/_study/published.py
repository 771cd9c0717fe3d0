"""Ours beside published figures: how far apart, and a sentence where that is more than stated beforehand."""

from __future__ import annotations

from dataclasses import dataclass

from python_benchmarks._study.statistics import Summary


@dataclass(frozen=True)
class Beside:
    """One figure of ours and the published one.

    Attributes
    ----------
    what : str
        E.g. "AUC of ips on coat".
    ours : Summary
    published : float
    tolerance : float
        Difference from which it is told.
    higher_is_better : bool
    """

    what: str
    ours: Summary
    published: float
    tolerance: float
    higher_is_better: bool = True

    @property
    def difference(self) -> float:
        """Ours minus published."""
        return self.ours.mean - self.published

    @property
    def apart(self) -> bool:
        return abs(self.difference) > self.tolerance

    @property
    def reached(self) -> bool:
        """Ours is better, or worse by at most the tolerance."""
        gain = self.difference if self.higher_is_better else -self.difference
        return gain >= -self.tolerance

    def sentence(self) -> str:
        spread = "" if self.ours.sd is None else f" ± {self.ours.sd:.3f}"
        side = "above" if self.difference > 0 else "below"
        outcome = "better than published" if self.reached else "the published figure is not reached"
        return (
            f"{self.what}: {self.ours.mean:.3f}{spread} over {self.ours.n} seed(s) against {self.published:.3f} "
            f"published, {abs(self.difference):.3f} {side}, more than {self.tolerance:g}: {outcome}."
        )


def sentences(figures: list[Beside]) -> list[str]:
    """A sentence for each figure that is apart, the farthest first, after one that counts them."""
    if not figures:
        return ["No published figure stands beside any of these."]
    apart = sorted((one for one in figures if one.apart), key=lambda one: -abs(one.difference))
    missed = sum(not one.reached for one in figures)
    limits = sorted({one.tolerance for one in figures})
    head = (
        f"{len(figures)} figures have a published one beside them; {len(apart)} differ from it by more than "
        f"{' or '.join(f'{limit:g}' for limit in limits)}, {missed} of these for the worse."
    )
    return [head, *(one.sentence() for one in apart)]
