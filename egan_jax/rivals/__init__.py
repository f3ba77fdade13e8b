"""What eGAN has to beat: other ways to use the same images, draws and backbone.

table = rivals.compare(majority, minority, test, test_is_minority, training)
scorer = rivals.get('mahalanobis').fit(majority_features, minority_features)
(decision,) = rivals.decide(rivals.get('plda_knn'), majority, minority[None], [seed])
name, why = rivals.choose({'plda_knn': decision, 'fusion': another})
"""

from egan_jax.evaluation.threshold_rule import (
  RULES,
  ThresholdRule,
  default_rule,
  make_rule,
)
from egan_jax.rivals.choice import choose
from egan_jax.rivals.comparison import compare
from egan_jax.rivals.decision import (
  Decision,
  decide,
  decide_from_scores,
  decide_game,
  split_majority_of_game,
)
from egan_jax.rivals.head import HeadTraining
from egan_jax.rivals.held_out import split_majority
from egan_jax.rivals.registry import get, names
from egan_jax.rivals.rival import Rival
from egan_jax.scorers import BOUNDARY, FEATURES

__all__ = [
  'BOUNDARY',
  'FEATURES',
  'RULES',
  'Decision',
  'HeadTraining',
  'Rival',
  'ThresholdRule',
  'choose',
  'compare',
  'decide',
  'decide_from_scores',
  'decide_game',
  'default_rule',
  'get',
  'make_rule',
  'names',
  'split_majority',
  'split_majority_of_game',
]
