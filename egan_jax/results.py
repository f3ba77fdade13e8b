"""What a finished run leaves: summary, figures, scores, model and report."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from egan_jax import bundle, decision_results, explain, run_files, workdir
from egan_jax.bundle import Bundle, references
from egan_jax.bundle.references import References
from egan_jax.data.draws import Draws
from egan_jax.data.two_classes import TwoClasses
from egan_jax.environment import describe_environment
from egan_jax.evaluation import metrics
from egan_jax.game import Played
from egan_jax.outcome import Outcome
from egan_jax.predictor import Predictor
from egan_jax.reporting import html_report, mistakes, report
from egan_jax.settings import Settings

_BATCH_SIZE = 64


def write(
  folder: Path,
  settings: Settings,
  images: TwoClasses,
  draws: Draws,
  outcome: Outcome,
  played: Played | None,
) -> None:
  """Writes everything that a run leaves beside its records, the summary last.

  The seconds of this, but for the HTML page that shows them, are its phase 'report'.

  Args:
    folder: the workdir.
    settings: of the run.
    images: of both classes.
    draws: which of them were used.
    outcome: what the run came to.
    played: the game of the run, if there was one.
  """
  start = time.perf_counter()
  summary = _summarise(settings, images, outcome, played)
  if played is not None:
    records = run_files.read_records(folder / workdir.METRICS)
    summary |= report.summarise(
      records,
      settings.game.nash_threshold,
      settings.game.stop_at_nash,
      settings.data.num_folds,
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
  bare = _make_bundle(settings, images, draws, outcome, summary)
  compute_features = Predictor(bare, batch_size=_BATCH_SIZE).features
  kept = _make_references(images, draws, outcome.chosen.features, compute_features)
  model = dataclasses.replace(bare, references=kept)
  bundle.save(model, folder / workdir.MODEL)
  wrong = _find_mistakes(images, outcome, model, compute_features)
  summary['seconds'] |= {'report': round(time.perf_counter() - start, 3)}
  html_report.write(folder, wrong, summary)
  # A workdir with a summary is a finished run.
  run_files.write_json(folder / workdir.SUMMARY, summary)


def _summarise(
  settings: Settings, images: TwoClasses, outcome: Outcome, played: Played | None
) -> dict:
  """What every method has to say."""
  oracle = settings.game.stop_at_nash
  summary = {
    'classes': {'minority': images.minority_class, 'majority': images.majority_class},
    'data': images.report,
    'weights_sha256': _describe_weights(outcome, played),
    'decision': decision_results.describe(
      outcome,
      images.test_is_minority,
      oracle,
      prior=settings.decision.rule.prior,
    ),
    'rivals': decision_results.describe_candidates(
      outcome, images.test_is_minority, oracle
    ),
    'seconds': dict(outcome.seconds),
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


def _describe_weights(outcome: Outcome, played: Played | None) -> dict[str, str]:
  """SHA-256 of the backbones' weights before training."""
  if played is not None:
    return played.fingerprints
  return dict(outcome.chosen.backbones)


def _make_bundle(
  settings: Settings,
  images: TwoClasses,
  draws: Draws,
  outcome: Outcome,
  summary: dict,
) -> Bundle:
  """The first fold's model, without references."""
  candidate = outcome.chosen
  first = candidate.decisions[0]
  return Bundle(
    method=outcome.method,
    backbones=tuple(candidate.backbones),
    fine_tune_layers=settings.networks.fine_tune_layers,
    image_size=settings.networks.image_size,
    preprocess=settings.networks.preprocess,
    front=candidate.front,
    scorer=first.scorer,
    threshold=first.threshold,
    calibration=first.calibration,
    prior=settings.decision.rule.prior,
    minority_class=images.minority_class,
    majority_class=images.majority_class,
    training={
      'dataset': settings.data.dataset,
      'seed': settings.data.seed,
      'num_minority': draws.minority.shape[1],
      'num_majority': len(draws.majority),
      'data': summary['data'],
      'decision': summary['decision'],
    },
    held_out_scores=first.held_out_scores,
    held_out_folds=first.num_folds,
  )


def _make_references(
  images: TwoClasses,
  draws: Draws,
  features: tuple[np.ndarray, np.ndarray] | None,
  compute_features: Callable[[np.ndarray], np.ndarray],
) -> References:
  """Training images of the first fold; their features, if not known, are computed."""

  def name(indices, paths, of_split):
    return [paths[i] if paths else f'training image {of_split[i]}' for i in indices]

  kept = references.choose_majority(len(draws.majority))
  minority, majority = draws.minority[0], draws.majority[kept]
  shown = np.concatenate([images.minority[minority], images.majority[majority]])
  if features is None:
    of_shown = compute_features(shown)
  else:
    of_shown = np.concatenate([features[0][0], features[1][kept]])
  return references.make(
    of_shown,
    shown,
    np.arange(len(shown)) < len(minority),
    [
      *name(minority, images.minority_paths, images.minority_indices),
      *name(majority, images.majority_paths, images.majority_indices),
    ],
  )


def _find_mistakes(
  images: TwoClasses,
  outcome: Outcome,
  model: Bundle,
  compute_features: Callable[[np.ndarray], np.ndarray],
) -> list[dict] | None:
  """Of the first fold, with their evidence; None without test images of both classes."""
  if images.missing_from_test:
    return None
  found = mistakes.find(
    outcome.chosen.scores[0],
    images.test_is_minority,
    outcome.chosen.decisions[0].threshold.value,
    images.test,
    images.test_paths or [f'test image {i}' for i in images.test_indices],
  )
  if not found:
    return []
  features = compute_features(np.stack([mistake['image'] for mistake in found]))
  return [
    {**mistake, 'evidence': explain.describe_evidence(model, of_image)}
    for mistake, of_image in zip(found, features, strict=True)
  ]
