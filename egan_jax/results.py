"""What a finished run leaves: summary, figures, scores, model and report."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from scipy import stats

from egan_jax import bundle, references, workdir
from egan_jax.backbones import preprocessing
from egan_jax.bundle import Bundle
from egan_jax.data.batches import padded_batches
from egan_jax.data.draws import Draws
from egan_jax.data.two_classes import TwoClasses, take
from egan_jax.evaluation import intervals, metrics
from egan_jax.game import Played
from egan_jax.outcome import Candidate, Outcome
from egan_jax.references import References
from egan_jax.reporting import html_report, mistakes, report, run_files
from egan_jax.reporting.environment import describe_environment

DECISION_LABEL = (
  'honest: method, epoch and threshold from training images, test labels read once'
)
ORACLE_DECISION_LABEL = 'oracle: stopped at Nash equilibrium, read off test labels'
_BATCH_SIZE = 64
_UNSAID_PRIOR = 0.5  # `config.prior` where nobody said how rare the minority is
_NUM_RESAMPLES = 300  # some seconds with thousands of test images


def write(
  folder: Path,
  config: dict,
  images: TwoClasses,
  draws: Draws,
  outcome: Outcome,
  played: Played | None,
) -> None:
  """Writes everything that a run leaves beside its records, the summary last.

  Args:
    folder: the workdir.
    config: as of `config.default`.
    images: of both classes.
    draws: which of them were used.
    outcome: what the run came to.
    played: the game of the run, if there was one.
  """
  summary = _summarise(config, images, outcome, played)
  if played is not None:
    records = run_files.read_records(folder / workdir.METRICS)
    summary |= report.summarise(
      records,
      config['nash_threshold'],
      config['stop_at_nash'],
      config['num_folds'],
    )
    report.draw_figures(
      folder / workdir.FIGURES,
      records,
      summary['protocols']['honest'],
      played.scores,
      images.test_is_minority,
      images.minority[draws.minority],
      played.generated,
    )
  report.write_scores(
    folder / workdir.SCORES,
    outcome.chosen.scores,
    images.test_is_minority,
    images.test_indices,
  )
  bundle.save(
    _make_bundle(config, images, draws, outcome, summary), folder / workdir.MODEL
  )
  html_report.write(folder, _find_mistakes(images, outcome), summary)
  # A workdir with a summary is a finished run.
  run_files.write_json(folder / workdir.SUMMARY, summary)


def _summarise(
  config: dict, images: TwoClasses, outcome: Outcome, played: Played | None
) -> dict:
  """What every method has to say."""
  summary = {
    'classes': {'minority': images.minority_class, 'majority': images.majority_class},
    'data': images.report,
    'weights_sha256': _describe_weights(outcome, played),
    'decision': describe_decision(
      outcome, images.test_is_minority, config['stop_at_nash'], config['prior']
    ),
    'rivals': _describe_candidates(outcome, images.test_is_minority),
    'seconds': outcome.seconds,
    'environment': describe_environment(),
  }
  if not images.missing_from_test:
    is_minority = images.test_is_minority
    summary['always_minority'] = metrics.constant_predictor_floor(
      int(is_minority.sum()), int((~is_minority).sum())
    )
  if played is not None:
    summary |= {
      'parameters': played.parameters,
      'resumed_from_epoch': played.first_epoch,  # the seconds are of this session alone
      'seconds': {
        **played.seconds,
        **outcome.seconds,
        'setup': played.seconds['setup'] + outcome.seconds['setup'],
      },
    }
  return summary


def describe_decision(
  outcome: Outcome, is_minority: np.ndarray, oracle: bool = False, prior: float = 0.5
) -> dict:
  """Method and threshold of every fold, and how they did on the test set.

  Test labels are read here, after everything was chosen.

  Args:
    outcome: what the run came to.
    is_minority: bool `[T]`, of the test images.
    oracle: whether test labels chose the last epoch.
    prior: share of the minority where decisions are made.

  Returns:
    `label` (the protocol), `method`, `backbones`, `why`, `threshold_rule`, `promise` (of the first
    fold, whose model is kept), `thresholds` (one per fold), `notes`, and `metrics`
    as of `intervals.over_draws`, over folds; None where the test set lacks a class. Of a
    single fold each also has the ends of its interval over test images, `low` and `high`.
    `prior`, and `metrics_at_prior` where it was asked for: the same where the minority is
    that share.
  """
  decisions = outcome.chosen.decisions
  notes = sorted({note for decision in decisions for note in decision.notes})
  return {
    'label': ORACLE_DECISION_LABEL if oracle else DECISION_LABEL,
    'method': outcome.method,
    'backbones': list(outcome.chosen.backbones),
    'why': outcome.why,
    'threshold_rule': decisions[0].threshold.rule,
    'promise': decisions[0].threshold.promise,
    'thresholds': [_to_json(decision.threshold.value) for decision in decisions],
    'notes': [*notes, *_compare_with_promise(outcome, is_minority)],
    'metrics': _evaluate(outcome.chosen, is_minority, with_intervals=True),
    'prior': prior,
    'metrics_at_prior': None
    if prior == _UNSAID_PRIOR
    else _evaluate(outcome.chosen, is_minority, prior),
  }


def _to_json(threshold: float) -> float | str:
  """In words where it is infinite, as JSON has no infinity."""
  return threshold if np.isfinite(threshold) else repr(float(threshold))


def _compare_with_promise(outcome: Outcome, is_minority: np.ndarray) -> list[str]:
  """A note where the test set's majority is called so less often than was promised.

  By Fisher's exact test at 0.001 against the held-out majority, at the threshold.
  """
  broken = []
  for decision, scores in zip(
    outcome.chosen.decisions, outcome.chosen.scores, strict=True
  ):
    tested = scores[~is_minority]
    held_out = decision.held_out_scores
    if decision.threshold.rule != 'target_specificity' or not len(tested):
      continue
    cut = decision.threshold.value
    table = [[np.sum(s >= cut), np.sum(s < cut)] for s in (tested, held_out)]
    if stats.fisher_exact(table, alternative='less').pvalue < 0.001:
      broken.append(np.mean(tested >= cut))
  if not broken:
    return []
  return [
    f'on the test set the specificity is {min(broken):.3f}, less than promised and than'
    ' chance explains: its majority images are unlike those trained on, and new ones'
    ' may be too'
  ]


def _evaluate(
  candidate: Candidate,
  is_minority: np.ndarray,
  prior: float | None = None,
  with_intervals: bool = False,
) -> dict | None:
  """Metrics over folds, each at its threshold; None where a class is missing.

  The prior is by default the test set's. Intervals are there of a single fold only.
  """
  if is_minority.all() or not is_minority.any():
    return None
  share = float(np.mean(is_minority)) if prior is None else prior
  arguments = []
  for decision, scores in zip(candidate.decisions, candidate.scores, strict=True):
    line = decision.calibration
    probabilities = None if line is None else line.probabilities(scores, share)
    arguments.append(
      (scores, is_minority, decision.threshold.value, prior, probabilities)
    )
  summary = intervals.over_draws([metrics.evaluate_scores(*a) for a in arguments])
  if with_intervals and len(arguments) == 1:
    ends = intervals.over_test_images(*arguments[0], num_resamples=_NUM_RESAMPLES)
    for name, of_metric in summary.items():
      of_metric |= {end: ends[name][end] for end in ('low', 'high')}
  return summary


def _describe_candidates(outcome: Outcome, is_minority: np.ndarray) -> list[dict]:
  """A row for each method there was a choice of."""
  if len(outcome.candidates) == 1:
    return []
  return [
    {
      'rival': name,
      'chosen': name == outcome.method,
      'threshold_rule': candidate.decisions[0].threshold.rule,
      'metrics': _evaluate(candidate, is_minority),
    }
    for name, candidate in outcome.candidates.items()
  ]


def _describe_weights(outcome: Outcome, played: Played | None) -> dict[str, str]:
  """SHA-256 of the backbones' weights before training."""
  if played is not None:
    return played.fingerprints
  return dict(outcome.chosen.backbones)


def _make_bundle(
  config: dict, images: TwoClasses, draws: Draws, outcome: Outcome, summary: dict
) -> Bundle:
  """The first fold's model."""
  candidate = outcome.chosen
  first = candidate.decisions[0]
  model = Bundle(
    method=outcome.method,
    backbones=tuple(candidate.backbones),
    fine_tune_layers=config['fine_tune_layers'],
    image_size=config['image_size'],
    preprocess=config['preprocess'],
    front=candidate.front,
    scorer=first.scorer,
    threshold=first.threshold,
    calibration=first.calibration,
    prior=config['prior'],
    minority_class=images.minority_class,
    majority_class=images.majority_class,
    training={
      'dataset': config['dataset'],
      'seed': config['seed'],
      'num_minority': draws.minority.shape[1],
      'num_majority': len(draws.majority),
      'data': summary['data'],
      'decision': summary['decision'],
    },
    held_out_scores=first.held_out_scores,
    held_out_folds=first.num_folds,
  )
  kept = _make_references(images, draws, model)
  return dataclasses.replace(model, references=kept)


def _make_references(images: TwoClasses, draws: Draws, model: Bundle) -> References:
  """Training images of the first fold."""
  run = jax.jit(lambda batch: model.features(preprocessing.to_unit_range(batch)))

  def compute_features(batch_of_any_size):
    parts = [
      np.asarray(run(batch))[:count]
      for batch, count in padded_batches(batch_of_any_size, _BATCH_SIZE)
    ]
    return np.concatenate(parts)

  def name(indices, paths):
    return [paths[i] if paths else f'training image {i}' for i in indices]

  minority, majority = draws.minority[0], draws.majority
  return references.make(
    compute_features,
    images.minority[minority],
    take(images.majority, majority),
    name(minority, images.minority_paths),
    name(majority, images.majority_paths),
  )


def _find_mistakes(images: TwoClasses, outcome: Outcome) -> list[dict] | None:
  """Of the first fold; None without test images of both classes."""
  if images.missing_from_test:
    return None
  return mistakes.find(
    outcome.chosen.scores[0],
    images.test_is_minority,
    outcome.chosen.decisions[0].threshold.value,
    images.test,
    images.test_paths or [f'test image {i}' for i in images.test_indices],
  )
