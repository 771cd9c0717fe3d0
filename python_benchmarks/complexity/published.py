"""Times that the two papers print, with the machine they name. Seconds."""

from __future__ import annotations

from dataclasses import dataclass

FIG6_MACHINE = "two Intel Xeon Platinum 8383C at 2.70 GHz, NVIDIA GeForce RTX 4090 (WBM, section 5.1)"
TABLE3_MACHINE = "machine not named (ESCFR, Appendix)"


@dataclass(frozen=True)
class Mark:
    """A time that WBM section 5.6 states in words. ``bound``: stated as "under"."""

    batch: int
    tau: float
    seconds: float
    words: str
    bound: bool = False


FIG6_BY_BATCH = (Mark(512, 1e-9, 16.0, "k = 32: nearly 16 s"), Mark(512, 1e-9, 14.0, "k = 8: about 14 s"))
FIG6_BY_TAU = (Mark(64, 1e-9, 10.0, "nearly 10 s"), Mark(64, 1e-7, 1.0, "under 1 s", bound=True))

# ESCFR Table 3: mean and standard deviation of 100 runs. What the columns that do not vary hold is not stated.
Column = dict[float, tuple[float, float]]
TABLE3: dict[tuple[str, str], Column] = {
    ("batch", "Algorithm 1"): {
        32: (0.0266, 0.0102), 64: (0.0241, 0.0075), 128: (0.0326, 0.0088), 256: (0.0499, 0.0099),
        512: (0.0725, 0.0128), 1024: (0.1430, 0.0259),
    },
    ("batch", "Algorithm 2"): {
        32: (0.0050, 0.0004), 64: (0.0051, 0.0001), 128: (0.0065, 0.0002), 256: (0.0104, 0.0005),
        512: (0.0138, 0.0008), 1024: (0.0256, 0.0007),
    },
    ("epsilon", "Algorithm 1"): {
        0.1: (0.1683, 0.0038), 0.5: (0.1207, 0.0102), 1.0: (0.0699, 0.0095), 5.0: (0.0153, 0.0013),
        10.0: (0.0097, 0.0009), 100.0: (0.0072, 0.0009),
    },
    ("epsilon", "Algorithm 2"): {
        0.1: (0.0166, 0.0019), 0.5: (0.0068, 0.0010), 1.0: (0.0052, 0.0011), 5.0: (0.0047, 0.0010),
        10.0: (0.0045, 0.0011), 100.0: (0.0043, 0.0009),
    },
    ("kappa", "Algorithm 2"): {
        0.1: (0.0050, 0.0011), 0.5: (0.0059, 0.0008), 1.0: (0.0060, 0.0011), 5.0: (0.0112, 0.0014),
        10.0: (0.0162, 0.0016), 100.0: (0.1039, 0.0033),
    },
}  # fmt: skip
