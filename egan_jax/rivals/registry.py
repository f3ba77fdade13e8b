"""The registry of rivals: what exists and how each is to be used."""

import functools
from collections.abc import Callable

import numpy as np

from egan_jax.errors import UserError
from egan_jax.rivals import distances, fusion, head, linear, objectives, plda
from egan_jax.rivals.rival import Rival, fit_each, repeat
from egan_jax.scorers import BOUNDARY, FEATURES

_MEAN = 'that image is its class mean'


def _on_features(
  name: str,
  fit: Callable,
  decides_at_zero: bool,
  from_one_image: str,
  measure: Callable = lambda majority: majority,
) -> Rival:
  return Rival(
    name,
    FEATURES,
    decides_at_zero,
    from_one_image,
    fit_each(fit),
    lambda majority: measure(np.asarray(majority, np.float64)),
  )


def _on_majority_features(name: str, fit: Callable) -> Rival:
  return Rival(
    name,
    FEATURES,
    False,
    'does not look at minority images',
    repeat,
    lambda majority: fit(np.asarray(majority, np.float64)),
    looks_at_minority=False,
  )


def _by_regression(from_one_image: str, fit_draws: Callable) -> Rival:
  name = fit_draws.__name__
  return Rival(name, FEATURES, True, from_one_image, fit_draws, linear.standardise)


def _on_boundary(
  name: str,
  objective: objectives.Objective,
  decides_at_zero: bool,
  from_one_image: str,
) -> Rival:
  fit_draws = functools.partial(head.fit_draws, objective)
  return Rival(name, BOUNDARY, decides_at_zero, from_one_image, fit_draws)


_REGISTRY = {
  rival.name: rival
  for rival in (
    Rival(
      'always_minority',
      FEATURES,
      decides_at_zero=True,
      from_one_image='the same as ever',
      fit_draws=repeat,
      measure=distances.always_minority,
      looks_at_minority=False,
      # Its scores are all alike: only the paper's cut makes it what it is.
      always_at_zero=True,
    ),
    _on_features('nearest_class_mean', distances.nearest_class_mean, True, _MEAN),
    _on_features(
      'class_mean_and_knn',
      distances.class_mean_and_knn,
      False,
      _MEAN,
      distances.measure_neighbors,
    ),
    _on_majority_features('one_class_knn', distances.one_class_knn),
    _on_majority_features('mahalanobis', distances.mahalanobis),
    _by_regression('it counts half of all', linear.logistic_balanced),
    _by_regression(
      'it is one image among all, and the cut moves by the log of their number',
      linear.logistic_logit_adjusted,
    ),
    _by_regression(
      'there is nothing to interpolate, so it is repeated', linear.smote_logistic
    ),
    *map(plda.rival, plda.NAMES),
    fusion.rival(),
    # The baseline of the paper's Table 6.
    _on_boundary('fine_tuned', objectives.FINE_TUNED, True, 'seen once an epoch'),
    _on_boundary('fine_tuned_focal', objectives.FOCAL, True, 'seen once an epoch'),
    _on_boundary(
      'fine_tuned_class_weighted',
      objectives.CLASS_WEIGHTED,
      True,
      'seen once an epoch, then with the weight of half of all images',
    ),
    _on_boundary(
      'deviation_network',
      objectives.DEVIATION_NETWORK,
      False,
      'it is half of every batch, again and again',
    ),
    _on_boundary('deep_sad', objectives.DEEP_SAD, False, 'seen once an epoch'),
  )
}


def names() -> tuple[str, ...]:
  """Names of the rivals that exist."""
  return tuple(_REGISTRY)


def get(name: str, class_directions: np.ndarray | None = None) -> Rival:
  """The rival called `name`.

  Args:
    name: of `names()`.
    class_directions: `[C, K]` of `feature_extractor.class_directions`, in which classes
      are known to differ; those rivals that can make use of it do.

  Raises:
    UserError: there is none of that name.
  """
  if name not in _REGISTRY:
    raise UserError(f'unknown rival {name!r}: choose one of {", ".join(_REGISTRY)}')
  if class_directions is not None and name in plda.NAMES:
    return plda.rival(name, class_directions)
  if class_directions is not None and name == fusion.NAME:
    return fusion.rival(class_directions)
  return _REGISTRY[name]
