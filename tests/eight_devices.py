"""What several devices change, and what not. Run by test_parallel.py with eight."""

import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax import compiled_steps, game, parallel, run_files, steps, train
from egan_jax import state as egan_state
from egan_jax.checkpoints import Checkpoints
from egan_jax.errors import UserError
from egan_jax.parallel import ROWS, Layout
from egan_jax.reporting import report
from tests import small_runs
from tests.comparing import assert_close

NUM_DEVICES = 8
NUM_FOLDS, NUM_MINORITY, NUM_MAJORITY, BATCH, NUM_EPOCHS = 3, 4, 11, 4, 3
COLLECTIVES = 'all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter'


@pytest.fixture(scope='module', autouse=True)
def eight_devices():
  assert len(jax.devices()) == NUM_DEVICES


def _on_one_device(num_rows, majority_devices=1):
  assert majority_devices == 1
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:1])[:, None], ('folds', 'majority'))
  return Layout(mesh, num_rows)


class TestLayOut:
  """Which devices a run uses."""

  @pytest.mark.parametrize(
    ('num_rows', 'majority_devices', 'shape'),
    [
      (1, 1, (1, 1)),
      (5, 1, (5, 1)),
      (8, 1, (8, 1)),
      (9, 1, (5, 1)),
      (16, 1, (8, 1)),
      (17, 1, (6, 1)),
      (5, 2, (3, 2)),
      (5, 3, (2, 3)),
      (5, 8, (1, 8)),
    ],
  )
  def test_as_few_as_give_the_shortest_time(self, num_rows, majority_devices, shape):
    mesh = parallel.lay_out(num_rows, majority_devices).mesh
    assert tuple(mesh.shape.items()) == (('folds', shape[0]), ('majority', shape[1]))

  def test_more_than_there_are(self):
    with pytest.raises(UserError, match=r'majority_devices=9 .* devices of a host: 8'):
      parallel.lay_out(5, 9)


@pytest.mark.parametrize('num_rows', [1, 3, 8, 9, 20])
def test_rows_come_back_as_they_went(num_rows):
  layout = parallel.lay_out(num_rows)
  rng = np.random.default_rng(0)
  tree = {'a': rng.normal(size=(num_rows, 2, 3)), 'b': np.arange(num_rows)}
  split = layout.split(tree)
  per_device = -(-num_rows // NUM_DEVICES)
  for leaf in jax.tree.leaves(split):
    assert {shard.data.shape[0] for shard in leaf.addressable_shards} == {per_device}
  back = layout.gather(split)
  jax.tree.map(np.testing.assert_array_equal, back, jax.tree.map(jnp.asarray, tree))

  keys = jax.random.split(jax.random.key(0), num_rows)
  draw = layout.jit(jax.vmap(jax.random.normal), in_specs=(ROWS,))
  np.testing.assert_array_equal(
    layout.gather(draw(layout.split(keys))), jax.vmap(jax.random.normal)(keys)
  )


class Setting:
  """A small game in float64, where rounding cannot hide a wrong number.

  Dropout, a last batch that is not full, and folds of which one has stopped.
  """

  def __init__(self, player):
    self.trunk = _in_double(player.trunk)
    rng = np.random.default_rng(0)

    def run(*shape):
      images = rng.random((*shape, 16, 16, 3))
      flat = jax.jit(lambda trunk, x: trunk(x))(
        self.trunk, images.reshape(-1, 16, 16, 3)
      )
      return jax.tree.map(lambda a: a.reshape(*shape, *a.shape[1:]), flat)

    self.majority, self.minority = run(NUM_MAJORITY), run(NUM_FOLDS, NUM_MINORITY)
    self.keys = jax.random.split(jax.random.key(3), NUM_FOLDS)
    self.active = np.array([True, False, True])
    create = functools.partial(
      egan_state.create_game_state,
      generator=player,
      discriminator=player,
      learning_rate=1e-2,
    )
    self.states = _in_double(jax.jit(jax.vmap(create))(self.keys))

  def train(self, epoch, states):
    for active in (np.ones(NUM_FOLDS, bool), self.active, self.active):
      states, terms = epoch(states, active)
    return states, terms


def _in_double(tree):
  return jax.tree.map(
    lambda a: np.asarray(a, np.float64 if a.dtype == jnp.float32 else None), tree
  )


@pytest.fixture(scope='module')
def setting(tiny_player):
  with jax.enable_x64(True):
    yield Setting(tiny_player)


@pytest.fixture(scope='module')
def expected(setting):
  """States, loss terms and scores on one device, without any of this."""
  train_epoch = jax.jit(steps.train_folds_epoch, static_argnums=6)
  states, terms = setting.train(
    lambda states, active: train_epoch(
      states,
      active,
      setting.trunk,
      setting.majority,
      setting.minority,
      setting.keys,
      BATCH,
    ),
    setting.states,
  )
  score = jax.jit(steps.score_folds, static_argnums=2)
  scores = score(states.discriminator, setting.majority, 512)
  score_own = jax.jit(jax.vmap(steps.score, (0, 0, None)), static_argnums=2)
  own = score_own(states.discriminator, setting.minority, 512)
  return states, terms, scores, {'fed_minority': own, 'fed_majority': scores}


class Played(NamedTuple):
  """What came of the setting on several devices, and the program of an epoch."""

  result: tuple
  program: str


def _play(setting, layout):
  programs = []
  compile_lowered = jax.stages.Lowered.compile

  def compile_and_keep(lowered):
    compiled = compile_lowered(lowered)
    programs.append(compiled.as_text())
    return compiled

  states = layout.split(setting.states)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax.stages.Lowered, 'compile', compile_and_keep)
    train_epoch = compiled_steps.compile_epoch(
      layout,
      states,
      setting.trunk,
      setting.majority,
      setting.minority,
      setting.keys,
      BATCH,
    )
    network = states.discriminator
    score = compiled_steps.compile_score(layout, network, setting.majority)
    score_fed = compiled_steps.compile_score_fed(
      layout, network, setting.minority, setting.majority
    )
  states, terms = setting.train(train_epoch, states)
  network = states.discriminator
  result = layout.gather((states, terms, score(network), score_fed(network)))
  return Played(result, programs[0])


@pytest.fixture(scope='module')
def whole(setting):
  return _play(setting, parallel.lay_out(NUM_FOLDS))


@pytest.fixture(scope='module')
def halved(setting):
  return _play(setting, parallel.lay_out(NUM_FOLDS, 2))


@pytest.mark.parametrize('name', ['whole', 'halved'])
def test_same_numbers_as_on_one_device(name, request, expected):
  ours = request.getfixturevalue(name).result
  assert jax.tree.structure(ours) == jax.tree.structure(expected)
  assert_close(ours, expected, 1e-7, smallest_scale=1.0)


def _find_collectives(program):
  assert 'while(' in program  # over the steps of the epoch
  return re.findall(rf'= .*(?:{COLLECTIVES})[\w-]*\(.*', program)


def test_folds_say_nothing_to_each_other(whole):
  assert _find_collectives(whole.program) == []


def test_halves_of_a_batch_meet_within_a_fold_only(halved):
  collectives = _find_collectives(halved.program)
  assert any('all-reduce' in line for line in collectives)  # of the gradients
  for line in collectives:
    assert re.search(r'replica_groups=(\[3,2\]<=\[6\]|{{0,1},{2,3},{4,5}})', line), line


_make_config = functools.partial(small_runs.make_config, num_folds=3, num_epochs=4)


class TestWholeRun:
  """Started on eight devices, resumed on one."""

  @pytest.fixture(autouse=True)
  def setting(self, tiny_registered, monkeypatch):
    monkeypatch.setattr(report, 'draw_figures', lambda *arguments: None)
    with jax.enable_x64(False):
      yield

  def test_resumes_on_another_number_of_devices(self, tmp_path, monkeypatch):
    append, used = run_files.append_records, []

    def append_and_stop(path, records):
      append(path, records)
      if records[0]['epoch'] == 3:
        raise KeyboardInterrupt

    def lay_out(*arguments):
      used.append(parallel.lay_out(*arguments))
      return used[-1]

    with monkeypatch.context() as patch:
      patch.setattr(run_files, 'append_records', append_and_stop)
      patch.setattr(game, 'lay_out', lay_out)
      with pytest.raises(KeyboardInterrupt):
        train.train_and_evaluate(_make_config(), tmp_path / 'run')
    assert used[0].mesh.shape['folds'] == 3

    monkeypatch.setattr(game, 'lay_out', _on_one_device)
    resumed = train.train_and_evaluate(_make_config(), tmp_path / 'run')
    assert resumed['resumed_from_epoch'] == 2
    train.train_and_evaluate(_make_config(), tmp_path / 'whole')
    ours, theirs = (
      small_runs.read_records(tmp_path / name) for name in ('run', 'whole')
    )
    assert len(ours) == len(theirs) == 3 * 4
    for a, b in zip(ours, theirs, strict=True):
      assert a == pytest.approx(b, rel=1e-3, abs=1e-3)


def test_checkpoint_does_not_know_the_devices(setting, tmp_path):
  """Every fold once, to the last bit."""
  fingerprints = {'generator': 'a', 'discriminator': 'b'}
  shapes = jax.eval_shape(lambda states: states, setting.states)
  saved = {}
  for name, lay_out in (('many', parallel.lay_out), ('one', _on_one_device)):
    layout = lay_out(NUM_FOLDS)
    states = layout.gather(layout.split(setting.states))
    with Checkpoints(tmp_path / name, fingerprints) as checkpoints:
      checkpoints.save(7, states, states.discriminator)
    with Checkpoints(tmp_path / name, fingerprints) as checkpoints:
      saved[name], epoch = checkpoints.restore(shapes)
    assert epoch == 7
  for restored in saved.values():
    expected = setting.states, setting.states.discriminator
    jax.tree.map(np.testing.assert_array_equal, restored, expected)
