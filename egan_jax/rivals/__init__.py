"""What eGAN has to beat: other ways to use the same images, draws and backbone.

table = rivals.compare(majority, minority, test, test_is_minority, training)
scorer = rivals.get('mahalanobis').fit(majority_features, minority_features)
"""

from egan_jax.rivals.comparison import compare
from egan_jax.rivals.head import HeadTraining
from egan_jax.rivals.held_out import leave_one_out_scores, split_majority
from egan_jax.rivals.registry import get, names
from egan_jax.rivals.rival import BOUNDARY, FEATURES, Rival, Scorer

__all__ = [
  'BOUNDARY',
  'FEATURES',
  'HeadTraining',
  'Rival',
  'Scorer',
  'compare',
  'get',
  'leave_one_out_scores',
  'names',
  'split_majority',
]
