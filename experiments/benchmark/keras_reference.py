"""The peer: the authors' training loop in Keras on TensorFlow, as a process to time.

  python -m experiments.benchmark.keras_reference

Written the way a good TensorFlow user would: one `tf.function` step holds both
networks, frozen layers have `trainable=False` and backbones run with
`training=False`, images stay in memory as tensors, metrics are read once an epoch.
It caches no activations: every step runs both whole networks, as the authors did.
It needs the extra `benchmark`, and imports neither JAX nor egan_jax.

Requests are lines of JSON on stdin, each answered by one line of JSON on stdout;
whatever else would be printed goes to stderr. Every answer has `peak_memory_bytes`,
of this process so far. A request that fails ends the process with a traceback, the
end of stdin without one. TensorFlow's threads and oneDNN are set where it is started:
TF_NUM_INTRAOP_THREADS, TF_NUM_INTEROP_THREADS, TF_ENABLE_ONEDNN_OPTS.

  {"command": "setup", "images": PATH, ...}
      Builds both networks; the other arguments are those of `Game`, and optional.
      Answers `seconds` and `parameters`. A second one replaces the first's game, of
      which TensorFlow keeps about 100 MB; peak memory wants a process of its own.
  {"command": "losses", "fold": 0, "batches": [[0, 1, ...], ...]}
      A training step with each of these majority images, by index. Answers
      `losses`, one dict of `majority`, `generated` and `generator` a step, from
      before its update, and `seconds` of each step; the first one traces.
  {"command": "epoch", "fold": 0}
      A training epoch with the minority images of a fold; answers `seconds` and
      `losses`. There is one pair of networks and it trains on, whatever the fold.
  {"command": "evaluate", "batch_size": 512}
      Answers `scores` of the test images and `seconds`; the first call traces.
  {"command": "trunk", "outputs": [NAME, ...], "image_size": 32, "batch_size": 128,
   "backward": false, "repeats": 5}
      Answers `seconds` of each run of a frozen backbone from random images to the
      outputs of these layers, or with `backward` of that and of the gradient of
      their sum with respect to the images. Takes `backbone` and `jit_compile` as
      well. Needs no setup, and tracing is not timed.

Images are an .npz file of uint8 arrays: `minority` `[F, n, H, W, 3]`, `majority`
`[M, H, W, 3]` and `test` `[T, H, W, 3]`. `keras_networks` describes that of weights.
"""

import functools
import gc
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

# Before they are imported.
os.environ['KERAS_BACKEND'] = 'tensorflow'
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import keras
import numpy as np
import tensorflow as tf

from experiments.benchmark import keras_networks
from experiments.benchmark.processes import serve

_FINE_TUNE_LAYERS = 5


class Game:
  """Both networks of one fold, their optimisers and all images."""

  def __init__(
    self,
    images: str,
    weights: str | None = None,
    backbone: str = 'DenseNet121',
    image_size: int = 32,
    batch_size: int = 128,
    learning_rate: float = 1e-4,
    dropout_rate: float = 0.2,
    jit_compile: bool = False,
  ):
    """Builds; nothing is traced before the first step and the first score.

    Args:
      images: the .npz file of images.
      weights: the .npz file of weights; random ones without it.
      backbone: of both networks, a name in `keras.applications`.
      image_size: side of the images the backbones see; others are resized in
        every step, the generated ones too.
      batch_size: majority images per step.
      learning_rate: of Adam, for both networks.
      dropout_rate: before the discriminator's last unit.
      jit_compile: whether XLA compiles the step and the scoring.
    """
    self._image_size = image_size
    self._batch_size = batch_size
    arrays = np.load(images)
    self._majority = tf.constant(arrays['majority'])
    self._minority = [tf.constant(fold) for fold in arrays['minority']]
    self._test = tf.constant(arrays['test'])

    def build_backbone():
      return keras_networks.build_backbone(backbone, image_size, _FINE_TUNE_LAYERS)

    self._generator = keras_networks.build_generator(build_backbone())
    self._discriminator = keras_networks.build_discriminator(
      build_backbone(), dropout_rate
    )
    self._models = self._generator, self._discriminator
    if weights is not None:
      _load_weights(weights, self._models)
    self._optimizers = [
      keras.optimizers.Adam(learning_rate, epsilon=1e-7) for _ in self._models
    ]
    for model, optimizer in zip(self._models, self._optimizers, strict=True):
      optimizer.build(model.trainable_variables)
    self._means = {
      name: keras.metrics.Mean(name) for name in ('majority', 'generated', 'generator')
    }
    # A signature, so that neither a smaller last batch nor another fold traces again.
    indices = tf.TensorSpec((None,), tf.int32)
    pixels = tf.TensorSpec((None, *self._majority.shape[1:]), tf.uint8)
    self._step = tf.function(self._train, (indices, pixels), jit_compile=jit_compile)
    self._score = tf.function(self._predict, (pixels,), jit_compile=jit_compile)

  def count_parameters(self) -> dict[str, dict[str, int]]:
    """`total` and `trainable` parameters by network."""

    def count(weights):
      return sum(int(np.prod(weight.shape)) for weight in weights)

    return {
      model.name: {
        'total': count(model.weights),
        'trainable': count(model.trainable_weights),
      }
      for model in self._models
    }

  def train_step(self, batch: Iterable[int], fold: int) -> dict[str, float]:
    """The loss terms of one step, with these majority images."""
    self._step(tf.constant(batch, tf.int32), self._minority[fold])
    return self._read_means()

  def train_epoch(self, fold: int) -> dict[str, float]:
    """The mean of each loss term over an epoch's examples."""
    order = tf.random.shuffle(tf.range(len(self._majority)))
    for start in range(0, len(order), self._batch_size):
      self._step(order[start : start + self._batch_size], self._minority[fold])
    return self._read_means()

  def score(self, batch_size: int) -> np.ndarray:
    """Scores `[T]` of the test images."""
    starts = range(0, len(self._test), batch_size)
    scores = [self._score(self._test[start : start + batch_size]) for start in starts]
    return tf.concat(scores, 0).numpy()

  def _train(self, indices: tf.Tensor, minority: tf.Tensor) -> None:
    majority = self._read(tf.gather(self._majority, indices))
    minority = self._read(minority)
    # By default a tape watches the variables of frozen layers too.
    tapes = [tf.GradientTape(watch_accessed_variables=False) for _ in self._models]
    with tapes[0], tapes[1]:
      for tape, model in zip(tapes, self._models, strict=True):
        tape.watch([variable.value for variable in model.trainable_variables])
      generated = self._resize(self._generator(minority, training=True))
      scores_of_majority = self._discriminator(majority, training=True)
      scores_of_generated = self._discriminator(generated, training=True)
      terms = {
        'majority': _cross_entropy(1, scores_of_majority),
        'generated': _cross_entropy(0, scores_of_generated),
        'generator': _cross_entropy(1, scores_of_generated),
      }
      means = {name: tf.reduce_mean(term) for name, term in terms.items()}
      losses = means['generator'], means['majority'] + means['generated']
    for tape, loss, model, optimizer in zip(
      tapes, losses, self._models, self._optimizers, strict=True
    ):
      gradients = tape.gradient(loss, model.trainable_variables)
      optimizer.apply(gradients, model.trainable_variables)
    for name, term in terms.items():
      self._means[name].update_state(term)

  def _predict(self, images: tf.Tensor) -> tf.Tensor:
    return self._discriminator(self._read(images), training=False)[:, 0]

  def _read(self, images: tf.Tensor) -> tf.Tensor:
    return self._resize(tf.cast(images, tf.float32) / 255)

  def _resize(self, images: tf.Tensor) -> tf.Tensor:
    """As `jax.image.resize` does it: antialiased where images shrink."""
    size = self._image_size
    if images.shape[1:3] == (size, size):
      return images
    return tf.image.resize(images, (size, size), antialias=images.shape[1] > size)

  def _read_means(self) -> dict[str, float]:
    means = {name: float(mean.result()) for name, mean in self._means.items()}
    for mean in self._means.values():
      mean.reset_state()
    return means


def _load_weights(path: str, models: Iterable[keras_networks.Network]) -> None:
  with np.load(path) as file:
    for model in models:
      keys = [key for key in file if key.startswith(f'{model.name}/')]
      keras_networks.set_weights(model, {key: file[key] for key in keys})


def _cross_entropy(label: int, scores: tf.Tensor) -> tf.Tensor:
  """`[B]` from logits `[B, 1]`."""
  labels = tf.fill(tf.shape(scores), float(label))
  return keras.losses.binary_crossentropy(labels, scores, from_logits=True)


@functools.cache
def make_trunk(
  backbone: str,
  outputs: tuple[str, ...],
  image_size: int,
  batch_size: int,
  backward: bool,
  jit_compile: bool,
) -> Callable[[], Any]:
  """A traced function that runs a frozen backbone on a random batch of its own."""
  whole = keras_networks.build_backbone(backbone, image_size, fine_tune_layers=0)
  model = keras.Model(whole.input, [whole.get_layer(name).output for name in outputs])
  images = tf.random.uniform((batch_size, image_size, image_size, 3), seed=0)

  def run_backward(images):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(images)
      activations = model(images, training=False)
    return tape.gradient(activations, images)

  run = run_backward if backward else functools.partial(model, training=False)
  function = tf.function(run, jit_compile=jit_compile)
  function(images)
  return functools.partial(function, images)


class Worker:
  """Answers requests: a method for each command."""

  def __init__(self):
    self._game: Game | None = None

  def setup(self, **arguments: Any) -> dict:
    """A new game instead of the old one."""
    self._game = None
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(0)
    seconds, self._game = _time(lambda: Game(**arguments))
    return {'seconds': seconds, 'parameters': self._game.count_parameters()}

  def losses(self, batches: list[list[int]], fold: int = 0) -> dict:
    """A step per batch."""
    steps = [
      _time(functools.partial(self._game.train_step, batch, fold)) for batch in batches
    ]
    seconds, losses = zip(*steps, strict=True)
    return {'seconds': seconds, 'losses': losses}

  def epoch(self, fold: int = 0) -> dict:
    """A training epoch."""
    seconds, losses = _time(lambda: self._game.train_epoch(fold))
    return {'seconds': seconds, 'losses': losses}

  def evaluate(self, batch_size: int = 512) -> dict:
    """The test images."""
    seconds, scores = _time(lambda: self._game.score(batch_size))
    return {'seconds': seconds, 'scores': scores.tolist()}

  def trunk(
    self,
    outputs: list[str],
    image_size: int,
    batch_size: int,
    backward: bool = False,
    repeats: int = 1,
    backbone: str = 'DenseNet121',
    jit_compile: bool = False,
  ) -> dict:
    """A frozen backbone alone."""
    run = make_trunk(
      backbone, tuple(outputs), image_size, batch_size, backward, jit_compile
    )
    return {'seconds': [_time(run)[0] for _ in range(repeats)]}


def _time(function: Callable[[], Any]) -> tuple[float, Any]:
  """Seconds, and what it returns. On a CPU TensorFlow is done when it returns."""
  start = time.perf_counter()
  result = function()
  return time.perf_counter() - start, result


if __name__ == '__main__':
  serve(Worker())
