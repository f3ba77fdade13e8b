"""Whole runs of a tiny network on digits: the workdir, resuming, stopping."""

import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from egan_jax import game, pretrained, run_files, train
from egan_jax.data import sources
from egan_jax.errors import UserError
from egan_jax.evaluation.metrics import METRICS
from egan_jax.reporting import report
from tests.comparing import assert_identical
from tests.small_runs import make_config, read_records, read_scores

NUM_FOLDS, NUM_EPOCHS, NUM_MINORITY, NUM_MAJORITY = 2, 5, 3, 20

pytestmark = pytest.mark.usefixtures('tiny_registered')

_make_config = functools.partial(
  make_config,
  num_folds=NUM_FOLDS,
  num_epochs=NUM_EPOCHS,
  num_minority=NUM_MINORITY,
  num_majority=NUM_MAJORITY,
  learning_rate=1e-2,
  seed=1,
)


@pytest.fixture(scope='module')
def finished(tiny_registered, tmp_path_factory):
  """The workdir of an uninterrupted run."""
  workdir = tmp_path_factory.mktemp('finished')
  train.train_and_evaluate(_make_config(), workdir)
  return workdir


def _read(workdir, name):
  return json.loads((workdir / name).read_text())


def _checkpoints(workdir):
  return sorted(int(p.name) for p in (workdir / 'checkpoints').iterdir())


def _snapshot(workdir):
  return {
    path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
    for path in workdir.rglob('*')
  }


def _assert_same_result(workdir, other, resumed_from=0):
  """Equal to the last bit, but for the time it took and where it began."""
  assert (workdir / 'metrics.jsonl').read_bytes() == (
    other / 'metrics.jsonl'
  ).read_bytes()
  summary, expected = _read(workdir, 'summary.json'), _read(other, 'summary.json')
  assert summary.pop('resumed_from_epoch') == resumed_from
  for key in ('seconds', 'resumed_from_epoch'):
    summary.pop(key, None), expected.pop(key)
  for either in (summary, expected):
    either['environment'].pop('commit')  # '-dirty' once a file is edited meanwhile
  assert summary == expected
  assert_identical(read_scores(workdir), read_scores(other))
  assert _read(workdir, 'draws.json') == _read(other, 'draws.json')
  figures = {path.name: path.read_bytes() for path in (other / 'figures').iterdir()}
  assert figures == {p.name: p.read_bytes() for p in (workdir / 'figures').iterdir()}
  assert _checkpoints(workdir) == _checkpoints(other)


@pytest.mark.usefixtures('without_figures')
def test_speed_settings_do_not_change_the_game(finished, tmp_path, monkeypatch):
  """On disk instead of in memory, in chunks, and watched by the profiler."""
  monkeypatch.setenv('EGAN_ACTIVATIONS_DIR', str(tmp_path / 'activations'))
  profile = tmp_path / 'profile'
  config = _make_config(images_at_once=4, activation_memory_share=0.0)
  train.train_and_evaluate(config, tmp_path / 'run', profile=str(profile))
  (trace,) = profile.rglob('*.xplane.pb')
  assert trace.stat().st_size > 0
  expected = read_scores(finished)['scores']
  np.testing.assert_allclose(
    read_scores(tmp_path / 'run')['scores'],
    expected,
    atol=1e-3 * np.abs(expected).max(),
  )


def _find_decided(records):
  """Each fold's record of the latest epoch with the highest AUROC of what it is fed."""
  return [
    max(
      (record for record in records if record['fold'] == fold),
      key=lambda record: (record['fed_auroc'], record['epoch']),
    )
    for fold in range(NUM_FOLDS)
  ]


def _losses(record):
  return {name: value for name, value in record.items() if name.endswith('loss')}


@pytest.mark.usefixtures('without_figures')
def test_bfloat16_trunk_plays_almost_the_same_game(finished, tmp_path):
  config = _make_config(trunk_dtype='bfloat16', num_epochs=1)
  train.train_and_evaluate(config, tmp_path)
  first, expected = (
    _losses(read_records(workdir)[0]) for workdir in (tmp_path, finished)
  )
  assert first != expected
  assert first == pytest.approx(expected, rel=0.02)


class TestWorkdir:
  """What one run leaves behind."""

  def test_holds_these_files(self, finished):
    assert {path.name for path in finished.iterdir()} == {
      'checkpoints',
      'config.json',
      'draws.json',
      'figures',
      'metrics.jsonl',
      'model',
      'report.html',
      'scores.npz',
      'summary.json',
      'tensorboard',
    }
    assert list((finished / 'tensorboard').glob('events.out.tfevents.*'))
    assert _checkpoints(finished) == [4, 5]

  def test_config(self, finished):
    assert _read(finished, 'config.json') == _make_config().to_dict()

  def test_metrics(self, finished):
    records = read_records(finished)
    assert [(r['fold'], r['epoch']) for r in records] == [
      (fold, epoch) for epoch in range(1, NUM_EPOCHS + 1) for fold in range(NUM_FOLDS)
    ]
    labels = read_scores(finished)['labels']
    for record in records:
      assert set(record) >= {
        *('fold', 'epoch', 'generator_loss', 'discriminator_loss', *METRICS),
        *('minority_correct', 'minority_total', 'majority_correct', 'majority_total'),
      }
      assert record['minority_total'] == labels.sum()
      assert record['majority_total'] == (1 - labels).sum()
      for name in METRICS:
        assert 0 <= record[name] <= 1
      assert record['discriminator_loss'] == pytest.approx(
        record['discriminator_majority_loss'] + record['discriminator_generated_loss'],
        rel=1e-6,
      )
    assert len({record['generator_loss'] for record in records}) == len(records)

  def test_summary(self, finished):
    summary = _read(finished, 'summary.json')
    records = read_records(finished)
    for network in ('generator', 'discriminator'):
      counts = summary['parameters'][network]
      assert 0 < counts['trainable'] < counts['total']
    paper, honest = summary['protocols']['paper'], summary['protocols']['honest']
    decided = _find_decided(records)
    assert honest['epochs'] == [record['epoch'] for record in decided]
    # Else the last epoch would do for this and the tests of resuming.
    assert min(honest['epochs']) < NUM_EPOCHS
    assert paper['label'].startswith('oracle')
    assert honest['label'].startswith('honest')
    for name in METRICS:
      curve = np.zeros(NUM_EPOCHS)
      for record in records:
        curve[record['epoch'] - 1] += record[name] / NUM_FOLDS
      assert paper['metrics'][name]['mean'] == pytest.approx(curve.max())
      mean = np.mean([record[name] for record in decided])
      assert honest['metrics'][name]['mean'] == pytest.approx(mean)
    assert set(summary['seconds']) == {*game.PHASES, 'decide', 'report'}
    # A threshold of 0 is decided in no time.
    assert all(summary['seconds'][phase] > 0 for phase in game.PHASES)
    assert set(summary['always_minority']) >= set(METRICS)

  def test_scores_are_those_of_the_epoch_that_decides(self, finished):
    file = read_scores(finished)
    scores, labels = file['scores'], file['labels']
    assert scores.shape == (NUM_FOLDS, len(labels))
    assert set(labels) == {0, 1}
    for record in _find_decided(read_records(finished)):
      minority = scores[record['fold']] < 0
      assert (minority & (labels == 1)).sum() == record['minority_correct']
      assert (~minority & (labels == 0)).sum() == record['majority_correct']

  def test_draws_are_disjoint_images_of_the_two_classes(self, finished):
    draws = _read(finished, 'draws.json')
    images = sources.load('digits', '', 8, 3)
    minority = np.array(draws['minority'])
    assert minority.shape == (NUM_FOLDS, NUM_MINORITY)
    assert len(set(minority.ravel())) == minority.size
    assert set(minority.ravel()) <= set(images.minority_indices)
    assert len(set(draws['majority'])) == NUM_MAJORITY
    assert set(draws['majority']) <= set(images.majority_indices)
    assert draws['test'] == images.test_indices.tolist()
    assert draws['test'] == read_scores(finished)['test_indices'].tolist()

  def test_figures_are_pngs(self, finished):
    figures = list((finished / 'figures').iterdir())
    assert len(figures) >= 5
    for path in figures:
      assert path.suffix == '.png'
      assert path.read_bytes().startswith(b'\x89PNG\r\n\x1a\n')

  def test_finished_run_is_not_run_again(self, finished, monkeypatch):
    monkeypatch.setattr(sources, 'load', None)
    before = _snapshot(finished)
    summary = train.train_and_evaluate(_make_config(), finished)
    assert summary == _read(finished, 'summary.json')
    assert _snapshot(finished) == before

  def test_another_config_is_refused(self, finished):
    before = _snapshot(finished)
    with pytest.raises(UserError, match=r'seed is 1 there and 2 now') as caught:
      train.train_and_evaluate(_make_config(seed=2), finished)
    assert str(finished) in str(caught.value)
    assert _snapshot(finished) == before


class TestSeed:
  def test_same_seed_same_run(self, finished, tmp_path):
    train.train_and_evaluate(_make_config(), tmp_path / 'new' / 'folder')
    _assert_same_result(tmp_path / 'new' / 'folder', finished)

  @pytest.mark.usefixtures('without_figures')
  def test_another_seed_is_another_run(self, finished, tmp_path):
    train.train_and_evaluate(_make_config(seed=2, num_epochs=1), tmp_path)
    expected = read_records(finished)[:NUM_FOLDS]
    for ours, theirs in zip(read_records(tmp_path), expected, strict=True):
      assert ours['generator_loss'] != theirs['generator_loss']
      assert ours['discriminator_loss'] != theirs['discriminator_loss']
    assert (
      _read(tmp_path, 'draws.json')['minority']
      != (_read(finished, 'draws.json')['minority'])
    )


def _run_until(epoch, workdir, torn_line=b'', **changes):
  """Runs until the metrics of an epoch are written; leaves an unfinished line."""
  append = run_files.append_records

  def append_and_stop(path, records):
    append(path, records)
    if records[0]['epoch'] == epoch:
      with open(path, 'ab') as file:
        file.write(torn_line)
      raise KeyboardInterrupt

  with pytest.MonkeyPatch.context() as monkeypatch:
    monkeypatch.setattr(run_files, 'append_records', append_and_stop)
    with pytest.raises(KeyboardInterrupt):
      train.train_and_evaluate(_make_config(**changes), workdir)
  assert not (workdir / 'summary.json').exists()


class TestResuming:
  def test_resumed_equals_uninterrupted(self, finished, tmp_path):
    """Checkpoints are at 2 and 4: none yet, one epoch behind, and just behind."""
    _run_until(1, tmp_path)
    _run_until(3, tmp_path, torn_line=b'{"fold": 0, "epo')
    _run_until(5, tmp_path, torn_line=b'{"fold": 0, "epoch": 6}')
    train.train_and_evaluate(_make_config(), tmp_path)
    _assert_same_result(tmp_path, finished, resumed_from=4)

  def test_only_with_the_same_images(self, tmp_path, monkeypatch):
    """Also where their number and their names are the same."""
    _run_until(3, tmp_path)
    before = _snapshot(tmp_path / 'checkpoints'), read_records(tmp_path)
    load = sources.load

    def load_changed(*arguments, **options):
      images = load(*arguments, **options)
      test = images.test.copy()
      test[0] = 255 - test[0]
      return dataclasses.replace(images, test=test)

    monkeypatch.setattr(sources, 'load', load_changed)
    with pytest.raises(UserError, match='began with other images'):
      train.train_and_evaluate(_make_config(), tmp_path)
    assert (_snapshot(tmp_path / 'checkpoints'), read_records(tmp_path)) == before

  def test_interrupted_while_it_reports(self, finished, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
      patch.setattr(report, 'draw_figures', None)
      with pytest.raises(TypeError):
        train.train_and_evaluate(_make_config(), tmp_path)
    assert not (tmp_path / 'summary.json').exists()
    train.train_and_evaluate(_make_config(), tmp_path)
    _assert_same_result(tmp_path, finished, resumed_from=NUM_EPOCHS)

  @pytest.mark.usefixtures('without_figures')
  def test_only_with_the_same_weights(self, tmp_path, tiny_variables, monkeypatch):
    """A network from a file against one from scratch: the switches are independent."""
    variables, asked = tiny_variables, []

    def load(name, path):
      asked.append((name, path))
      return variables

    monkeypatch.setattr(pretrained, 'load', load)
    changes = {'discriminator_weights': '/some/file.h5'}
    _run_until(3, tmp_path, **changes)
    assert asked == [('Tiny', '/some/file.h5')]

    before = _snapshot(tmp_path / 'checkpoints'), read_records(tmp_path)
    variables = jax.tree.map(lambda leaf: leaf * 1.5, tiny_variables)
    with pytest.raises(UserError, match='weights of the discriminator are not'):
      train.train_and_evaluate(_make_config(**changes), tmp_path)
    assert (_snapshot(tmp_path / 'checkpoints'), read_records(tmp_path)) == before

    variables = tiny_variables
    summary = train.train_and_evaluate(_make_config(**changes), tmp_path)
    assert summary['weights_sha256']['discriminator'] == (
      pretrained.fingerprint(tiny_variables)
    )
    assert (
      summary['weights_sha256']['generator']
      != (summary['weights_sha256']['discriminator'])
    )


class TestLossThatIsNotFinite:
  def test_names_it_and_keeps_the_last_checkpoint(self, tmp_path, monkeypatch):
    compile_epoch = game.compile_epoch

    def compile_what_goes_wrong(*arguments):
      train_epoch = compile_epoch(*arguments)

      def train_wrongly(states, active):
        bad = states.generator.step[1] >= 3 * 3  # three steps make an epoch
        states, terms = train_epoch(states, active)
        worse = terms['generator'].at[1].add(jnp.where(bad, jnp.nan, 0))
        return states, {**terms, 'generator': worse}

      return train_wrongly

    monkeypatch.setattr(game, 'compile_epoch', compile_what_goes_wrong)
    with pytest.raises(UserError) as caught:
      train.train_and_evaluate(_make_config(), tmp_path)
    message = str(caught.value)
    for part in ('epoch 4', 'fold 1', 'generator loss', 'config.learning_rate'):
      assert part in message
    assert '\n' not in message
    assert _checkpoints(tmp_path) == [2]
    assert [record['epoch'] for record in read_records(tmp_path)] == [1, 1, 2, 2, 3, 3]
    assert not (tmp_path / 'summary.json').exists()

  def test_learning_rate_far_too_large(self, tmp_path):
    with pytest.raises(UserError, match=r'epoch 1, fold \d: the \w+ (loss|score)'):
      train.train_and_evaluate(_make_config(learning_rate=1e30), tmp_path)
    assert read_records(tmp_path) == []


class TestNashEquilibrium:
  @pytest.mark.usefixtures('without_figures')
  def test_all_folds_stop(self, finished, tmp_path):
    config = _make_config(stop_at_nash=True, nash_threshold=1000)
    summary = train.train_and_evaluate(config, tmp_path)
    assert read_records(tmp_path) == read_records(finished)[:NUM_FOLDS]
    assert summary['nash']['first_epochs'] == [1, 1]
    honest = summary['protocols']['honest']
    assert honest['label'].startswith('oracle')
    assert honest['selected_on_test_labels']
    assert honest['epochs'] == [1, 1]
    # What was trained is not lost.
    assert _checkpoints(tmp_path) == [1]

  def test_without_stopping_it_is_only_reported(self, finished):
    summary = _read(finished, 'summary.json')
    assert summary['nash']['threshold'] == _make_config().nash_threshold
    assert len(summary['nash']['first_epochs']) == NUM_FOLDS
    assert not summary['protocols']['honest']['selected_on_test_labels']


@pytest.mark.parametrize('place', ['train/common/run', 'train/run', 'linked/run'])
def test_a_workdir_among_the_images(place, tmp_path):
  for label, number in (('rare', 2), ('common', 4)):
    for i in range(number):
      path = tmp_path / 'train' / label / f'{i}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.new('RGB', (8, 8), (40 * i, number, 0)).save(path)
  (tmp_path / 'linked').symlink_to('train/rare')
  config = _make_config(
    dataset='folder', data_dir=str(tmp_path), minority_class='', majority_class=''
  )
  with pytest.raises(UserError, match='would be taken for images'):
    train.train_and_evaluate(config, tmp_path / place)
  assert not (tmp_path / place).exists()


def test_images_of_a_user_there_is_not(tmp_path):
  config = _make_config(
    dataset='folder', data_dir='~nobody_there/x', minority_class='', majority_class=''
  )
  with pytest.raises(UserError, match='there is no folder or CSV file'):
    train.train_and_evaluate(config, tmp_path / 'run')


def test_a_profile_that_has_no_folder(tmp_path):
  (tmp_path / 'file').write_text('in the way')
  for profile in (tmp_path / 'file', tmp_path / 'file' / 'below'):
    with pytest.raises(UserError, match='cannot be made'):
      train.train_and_evaluate(_make_config(), tmp_path / 'run', str(profile))
  assert not (tmp_path / 'run').exists()


def test_a_game_needs_a_name_in_utf8(tmp_path):
  folder = tmp_path / 'r\udce4n'
  with pytest.raises(UserError, match='a name in UTF-8: choose another workdir'):
    train.train_and_evaluate(_make_config(), folder)
  assert not folder.exists()


@pytest.mark.usefixtures('without_figures')
def test_a_fold_does_not_depend_on_the_others(finished, tmp_path):
  train.train_and_evaluate(_make_config(num_folds=1), tmp_path)
  first = [record for record in read_records(finished) if record['fold'] == 0]
  for alone, together in zip(read_records(tmp_path), first, strict=True):
    assert alone == pytest.approx(together, rel=1e-3, abs=1e-3)
  summary = _read(tmp_path, 'summary.json')
  assert summary['protocols']['honest']['metrics']['f1']['std'] is None


@pytest.mark.slow
def test_paper_networks_from_a_published_weights_file(tmp_path, write_legacy):
  """DenseNet121 end to end: Keras's weights in a file as those it publishes."""
  import keras

  keras.utils.clear_session()
  model = keras.applications.DenseNet121(
    include_top=False, weights=None, input_shape=(32, 32, 3)
  )
  path = write_legacy(
    tmp_path / 'densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5',
    [
      # The first layers have a slash in their published names.
      (
        re.sub('^conv1_', 'conv1/', layer.name),
        [(f'{weight.name}:0', np.asarray(weight.value)) for weight in layer.weights],
      )
      for layer in model.layers
    ],
  )
  config = _make_config(
    generator_backbone='DenseNet121',
    discriminator_backbone='DenseNet121',
    generator_weights=str(path),
    discriminator_weights=str(path),
    image_size=32,
    fine_tune_layers=5,
    num_epochs=2,
  )
  summary = train.train_and_evaluate(config, tmp_path / 'run')
  assert summary['parameters'] == {
    'generator': {'total': 7_453_391, 'trainable': 454_665},
    'discriminator': {'total': 7_038_529, 'trainable': 39_937},
  }
  assert (
    summary['weights_sha256']['generator']
    == (summary['weights_sha256']['discriminator'])
  )
  assert len(read_records(tmp_path / 'run')) == 2 * NUM_FOLDS
  assert _read(tmp_path / 'run', 'summary.json') == summary
  assert _checkpoints(tmp_path / 'run') == [2]
