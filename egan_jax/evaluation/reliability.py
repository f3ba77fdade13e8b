"""Does P = 0.8 happen in 8 of 10 cases? The reliability diagram and its error."""

from collections.abc import Mapping

import numpy as np

NUM_BINS = 15


def diagram(
  probabilities: np.ndarray,
  is_minority: np.ndarray,
  weights: np.ndarray | None = None,
  num_bins: int = NUM_BINS,
) -> dict[str, np.ndarray]:
  """Bins of equal width over P(minority); those without images are left out.

  scikit-learn's `calibration_curve` knows neither weights nor how full a bin is,
  without which there is no expected calibration error.

  Args:
    probabilities: `[N]` P(minority), in [0, 1].
    is_minority: bool `[N]`.
    weights: `[N]`, as of `metrics.weigh_classes`, for another prior than the
      test set's.
    num_bins: 15 as in Guo et al., "On calibration of modern neural networks", 2017.

  Returns:
    Per bin `[K]`: `probability`, its mean P(minority); `minority_share`, how many
    of its images are; `weight`, its share of all images (of sum 1).

  Raises:
    ValueError: shapes differ, or a probability is outside [0, 1].
  """
  probabilities = np.asarray(probabilities, np.float64)
  is_minority = np.asarray(is_minority, bool)
  if probabilities.ndim != 1 or probabilities.shape != is_minority.shape:
    raise ValueError(
      f'probabilities {probabilities.shape} and is_minority {is_minority.shape} must'
      ' both be [N]'
    )
  if not ((probabilities >= 0) & (probabilities <= 1)).all():
    raise ValueError('probabilities must be in [0, 1]')
  weights = np.ones(len(probabilities)) if weights is None else weights
  bins = np.minimum((probabilities * num_bins).astype(int), num_bins - 1)
  total, probability, minority = (
    np.bincount(bins, values * weights, num_bins)
    for values in (np.ones(len(bins)), probabilities, is_minority)
  )
  filled = total > 0
  return {
    'probability': probability[filled] / total[filled],
    'minority_share': minority[filled] / total[filled],
    'weight': total[filled] / total.sum(),
  }


def expected_calibration_error(diagram: Mapping[str, np.ndarray]) -> float:
  """Mean distance of a `diagram` from the diagonal, bins weighted by their images.

  Guo et al. 2017. It depends on the bins and is biased upwards on few images.
  """
  gaps = np.abs(diagram['probability'] - diagram['minority_share'])
  return float(np.sum(diagram['weight'] * gaps))
