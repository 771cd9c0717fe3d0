"""
Colours carried from picture to picture, without a matrix
=========================================================

Two pictures as clouds of colours, and the colours of one carried to the other by the transport between them.
:func:`wbm_ext.solve_points` makes no cost matrix between so many points, and looks only at the pairs that can carry
mass.
"""

import matplotlib.pyplot as plt
import torch

import wbm_ext

# %%
# Two pictures of 125 x 100 pixels: a hill at dawn and a sea by night.
rows, columns = torch.meshgrid(torch.linspace(0, 1, 100), torch.linspace(0, 1, 125), indexing="ij")
noise = torch.Generator().manual_seed(0)


def picture(red, green, blue):
    """(100, 125, 3) in [0, 1], with a grain."""
    image = torch.stack([red, green, blue], -1)
    return (image + 0.03 * torch.randn(image.shape, generator=noise)).clamp(0, 1)


hill = (rows > 0.75 - 0.3 * torch.exp(-((columns - 0.6) ** 2) / 0.05)).float()
dawn = picture(0.9 - 0.5 * rows - 0.4 * hill, 0.55 - 0.2 * rows + 0.1 * hill * columns, 0.35 + 0.4 * rows - 0.45 * hill)
waves = 0.5 + 0.5 * torch.sin(40 * rows + 6 * torch.sin(5 * columns))
night = picture(0.05 + 0.25 * waves * rows, 0.15 + 0.3 * waves, 0.35 + 0.4 * (1 - rows) + 0.1 * waves)

# %%
# Colours are points in three dimensions. epsilon = 0.002 blurs them by about 0.045.
x, y = dawn.reshape(-1, 3), night.reshape(-1, 3)
result = wbm_ext.solve_points(x, y, epsilon=0.002)
print(result.road, result.status_text(), f"cost {float(result.cost):.4f}", f"left out {result.left_out:.0e}")

# %%
# Each colour goes where its mass is sent on average.
carried = result.plan.barycentres().float().reshape(dawn.shape).clamp(0, 1)

figure, axes = plt.subplots(2, 3, figsize=(9, 6), height_ratios=[2, 3], layout="constrained")
for ax, image, title in zip(
    axes[0], (dawn, carried, night), ("dawn", "dawn in the colours of night", "night"), strict=True
):
    ax.imshow(image.numpy())
    ax.set_title(title)
    ax.axis("off")
shown = torch.randperm(len(x), generator=noise)[:4000]
for ax, image in zip(axes[1], (dawn, carried, night), strict=True):
    colours = image.reshape(-1, 3)[shown]
    ax.scatter(colours[:, 0], colours[:, 2], c=colours.numpy(), s=3)
    ax.set(xlabel="red", ylabel="blue", xlim=(0, 1), ylim=(0, 1), aspect="equal")
plt.show()
